"""BERTScore against the bert-score package on the same random weights, and what it survives."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

from harness.api import ReportCardError
from metrics.annotators.bertscore import Bertscore
from metrics.annotators.idf import IdfCorpus

torch = pytest.importorskip("torch", reason="needs the clinical extra: torch")
transformers = pytest.importorskip("transformers", reason="needs the clinical extra: transformers")

SENTENCES = [  # invented
    "The heart is normal in size.",
    "No focal consolidation, pleural effusion or pneumothorax is seen.",
    "There is mild atelectasis at the left base.",
    "A right chest tube is in place; its tip projects over the apex.",
    "Stable cardiomegaly with a small left effusion and XXXX opacity ___.",
    "Lungs are clear.",
]
AWKWARD = [
    "",
    "   \n ",
    "Normal.",
    "lungs   are    clear",
    "opacity " * 700,
    "effusion, " * 10_000,
    "clear 🫁🩻 lungs",
    "bell\x07 null\x00 escape\x1b text",
    "\x00\x01",
    "a </s> token and a [SEP]",
    "XXXX ___ XXXX",
    "half a pair \ud83e of surrogates",
]


def make_roberta(folder: Path) -> Path:
    """A random RoBERTa in the layout of distilroberta-base, with byte-pair tokens of its own."""
    from tokenizers import ByteLevelBPETokenizer

    tokens = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokens.train_from_iterator(SENTENCES, vocab_size=400, special_tokens=special)
    folder.mkdir(parents=True)
    tokens.save_model(str(folder))
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    config = transformers.RobertaConfig(
        vocab_size=tokens.get_vocab_size(),
        hidden_size=48,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=514,
        type_vocab_size=1,
        initializer_range=0.06,
    )
    torch.manual_seed(1)
    transformers.RobertaForMaskedLM(config).save_pretrained(folder)
    return folder


def make_distilbert(folder: Path) -> Path:
    """A random DistilBERT in the layout of distilbert-base-uncased, with word pieces."""
    from tokenizers import BertWordPieceTokenizer

    tokens = BertWordPieceTokenizer(lowercase=True)
    tokens.train_from_iterator(SENTENCES, vocab_size=300, min_frequency=1, show_progress=False)
    folder.mkdir(parents=True)
    tokens.save_model(str(folder))
    (folder / "tokenizer_config.json").write_text(
        '{"model_max_length": 512, "do_lower_case": true}'
    )
    config = transformers.DistilBertConfig(
        vocab_size=tokens.get_vocab_size(),
        dim=48,
        n_layers=6,
        n_heads=4,
        hidden_dim=96,
        initializer_range=0.06,
    )
    torch.manual_seed(2)
    transformers.DistilBertForMaskedLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("weights")
    return {
        "distilroberta-base": make_roberta(root / "distilroberta-base"),
        "distilbert-base-uncased": make_distilbert(root / "distilbert-base-uncased"),
    }


@pytest.fixture
def make(models, monkeypatch, tmp_path):
    """Bertscore on the tiny weights; whatever it caches goes to a folder of the test."""
    monkeypatch.setenv("REPORTCARD_CACHE", str(tmp_path / "cache"))

    def build(model: str = "distilroberta-base", **options) -> Bertscore:
        options = {"weights": str(models[model]), "device": "cpu", "store": None} | options
        return Bertscore(model, **options)

    return build


def open_i_findings() -> list[str]:
    from harness.datasets.openi import OpenI

    source = OpenI("data/openi")
    if source.missing():
        pytest.skip(f"no Open-I reports here: {source.missing()}")
    return [study.reference.findings for study in source.select().test]


def upstream(monkeypatch, folder: Path, pairs, idf=False, batch_size=64):
    """bert-score on a folder. Two repairs for transformers 5: it lost a tokenizer method that the
    package calls, and its tokenizers take add_prefix_space only when they are made."""
    pytest.importorskip("bert_score", reason="needs the clinical extra: bert-score")
    package = sys.modules["bert_score.score"]

    def tokenizer(path, use_fast=False):
        made = transformers.AutoTokenizer.from_pretrained(path, add_prefix_space=True)
        monkeypatch.setattr(
            type(made),
            "build_inputs_with_special_tokens",
            lambda self, ids: [self.cls_token_id, *ids, self.sep_token_id],
            raising=False,
        )
        return made

    monkeypatch.setattr(package, "get_tokenizer", tokenizer)
    found = package.score(
        [collapsed(candidate) for candidate, _ in pairs],
        [collapsed(reference) for _, reference in pairs],
        model_type=str(folder),
        num_layers=5,
        idf=idf,
        nthreads=0,
        device="cpu",
        batch_size=batch_size,
    )
    return torch.stack(found, dim=1).double()


def collapsed(text: str) -> str:
    return " ".join(part for part in text.split(" ") if part)


def as_tensor(notes) -> torch.Tensor:
    return torch.tensor([[note["p"], note["r"], note["f"]] for note in notes]).double()


@pytest.mark.parametrize("model", ["distilroberta-base", "distilbert-base-uncased"])
def test_equals_the_bert_score_package_on_open_i(model, make, models, monkeypatch):
    findings = list(dict.fromkeys(open_i_findings()))[:220]
    candidates = random.Random(0).sample(findings, len(findings))
    pairs = list(zip(candidates, findings, strict=True))
    taken_upstream = [t for t in AWKWARD if "\ud83e" not in t]
    awkward = [(text, findings[0]) for text in taken_upstream]
    awkward += [(findings[1], text) for text in taken_upstream]
    awkward += [(text, text) for text in (*taken_upstream, *findings[:3])]

    ours = as_tensor(make(model).annotate(pairs + awkward))
    theirs = [
        upstream(monkeypatch, models[model], part, batch_size=size)
        # A word with no similar word has a negative maximum; beside a longer text in its batch the
        # package raises it to 0 (the padding's). Alone, it does not: that is what we equal.
        for part, size in ((pairs, 64), (awkward, 1))
    ]

    assert len(pairs) == 220
    assert (ours - torch.cat(theirs)).abs().max() < 1e-5
    assert ours[:220, 2].std() > 0.01  # the random encoder tells reports apart


def test_equals_the_package_with_idf_over_a_corpus(make, models, monkeypatch):
    pairs = list(zip(SENTENCES[1:] + SENTENCES[:1], SENTENCES, strict=True))
    corpus = IdfCorpus("invented", tuple(SENTENCES))

    ours = as_tensor(make(idf_corpus=corpus).annotate(pairs))
    theirs = upstream(monkeypatch, models["distilroberta-base"], pairs, idf=True)

    assert (ours - theirs).abs().max() < 1e-5
    assert (ours - as_tensor(make().annotate(pairs))).abs().max() > 1e-4


def test_the_package_falls_into_the_single_reference_trap_and_we_cannot(make, models, monkeypatch):
    text = SENTENCES[0]
    theirs = upstream(monkeypatch, models["distilroberta-base"], [(text, text)], idf=True)
    assert theirs[0, 2] == 0  # a report beside itself

    with pytest.raises(ReportCardError, match="at least two different references"):
        IdfCorpus("one", (text,))
    with pytest.raises(ReportCardError, match="at least two different references"):
        IdfCorpus("same", (text, text + " ", ""))
    with pytest.raises(ReportCardError, match="name"):
        IdfCorpus("", tuple(SENTENCES))
    with pytest.raises(ReportCardError, match="idf_corpus takes a name and a path"):
        make(idf_corpus={"name": "refs"})
    # IDF is a property of the annotator: what it is asked to score does not reach it.
    corpus = IdfCorpus("invented", tuple(SENTENCES))
    alone = make(idf_corpus=corpus).annotate([(text, text)])
    among = make(idf_corpus=corpus).annotate([(text, text), (SENTENCES[1], SENTENCES[2])])
    assert alone[0] == pytest.approx(among[0], abs=1e-6)
    assert alone[0]["f"] == pytest.approx(1, abs=1e-5)


def test_idf_corpus_from_a_file(make, tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(SENTENCES) + "\n\n")
    annotator = make(idf_corpus={"name": "invented", "path": str(path)})
    assert annotator.id == "bertscore_distilroberta_idf_invented"
    assert IdfCorpus("invented", tuple(SENTENCES)).fingerprint in annotator.version
    path.write_text(SENTENCES[0])
    with pytest.raises(ReportCardError, match="at least two"):
        make(idf_corpus={"name": "invented", "path": str(path)})
    with pytest.raises(ReportCardError, match=r"none\.txt"):
        make(idf_corpus={"name": "invented", "path": str(tmp_path / "none.txt")})


@pytest.mark.parametrize("model", ["distilroberta-base", "distilbert-base-uncased"])
def test_survives_awkward_texts(model, make):
    pairs = [(text, other) for text in AWKWARD for other in (SENTENCES[0], text)]
    notes = make(model).annotate(pairs)
    for (candidate, reference), note in zip(pairs, notes, strict=True):
        assert all(abs(value) <= 1.00001 for value in note.values())
        if not candidate.strip():
            assert note == {"p": 0, "r": 0, "f": 0}
        elif candidate == reference and "\x00\x01" not in candidate:
            assert note["f"] == pytest.approx(1, abs=1e-5)
        json.dumps(note, allow_nan=False)
    assert make(model).annotate([]) == []


def test_each_text_is_embedded_once_and_the_order_is_kept(make, monkeypatch):
    annotator = make()
    encoder = annotator._load()
    seen: list[tuple[int, ...]] = []
    forward = encoder._forward
    monkeypatch.setattr(
        encoder, "_forward", lambda ids: seen.extend(map(tuple, ids)) or forward(ids)
    )
    monkeypatch.setattr("metrics.annotators.bertscore.PAIRS_HELD", 2)
    pairs = [(SENTENCES[0], s) for s in SENTENCES] + [(s, SENTENCES[0]) for s in SENTENCES]
    notes = annotator.annotate(pairs)
    assert len(seen) == len(set(seen)) == len(SENTENCES)
    for pair, note in zip(pairs, notes, strict=True):
        assert note == pytest.approx(make().annotate([pair])[0], abs=1e-5)
    forth, back = notes[1], notes[len(SENTENCES) + 1]
    assert (forth["p"], forth["r"]) == pytest.approx((back["r"], back["p"]), abs=1e-6)


def test_references_are_read_from_the_store_by_the_next_model(make, monkeypatch, tmp_path):
    store = tmp_path / "store"
    first = make(store=str(store))
    pairs = list(zip(SENTENCES, SENTENCES[::-1], strict=True))
    fresh = first.annotate(pairs)
    (file,) = store.glob("*.sqlite")
    assert file.stat().st_mode & 0o077 == 0
    assert all(s.encode() not in file.read_bytes() for s in SENTENCES)

    second = make(store=str(store))
    encoder = second._load()
    seen: list[list[int]] = []
    forward = encoder._forward
    monkeypatch.setattr(encoder, "_forward", lambda ids: seen.extend(ids) or forward(ids))
    again = second.annotate([("Clear lungs.", r) for _, r in pairs])
    assert len(seen) == 1  # the new candidate, and no reference
    assert again == [
        pytest.approx(note, abs=1e-6)
        for note in make().annotate([("Clear lungs.", r) for _, r in pairs])
    ]
    assert second.annotate(pairs) == [pytest.approx(note, abs=1e-6) for note in fresh]


def test_the_store_is_the_cpu_default_and_a_damaged_one_is_named(make, tmp_path):
    make(store="auto").annotate([(SENTENCES[0], SENTENCES[1])])
    (file,) = (tmp_path / "cache" / "embeddings").glob("distilroberta-base-*.sqlite")
    file.write_bytes(b"not a database" * 1000)
    with pytest.raises(ReportCardError, match="delete it"):
        make(store="auto").annotate([(SENTENCES[0], SENTENCES[1])])


def test_a_store_that_cannot_be_written_costs_no_score(make, tmp_path):
    (tmp_path / "file").write_text("")
    pairs = [(SENTENCES[0], SENTENCES[1])]
    assert make(store=str(tmp_path / "file" / "store")).annotate(pairs) == make().annotate(pairs)


def test_out_of_cuda_memory_halves_the_batch(make, monkeypatch):
    pairs = [(a, b) for a in SENTENCES for b in SENTENCES]
    expected = make().annotate(pairs)
    annotator = make()
    encoder = annotator._load()
    forward, sizes = encoder._forward, []

    def small(ids):
        sizes.append(len(ids))
        if len(ids) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return forward(ids)

    monkeypatch.setattr(encoder, "_forward", small)
    notes = annotator.annotate(pairs)
    assert max(sizes) > 2
    assert sizes[-1] <= 2
    assert notes == [pytest.approx(note, abs=1e-5) for note in expected]

    def never(ids):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(encoder, "_forward", never)
    with pytest.raises(ReportCardError, match="device=cpu"):
        annotator.annotate(pairs)


def test_prefix_space_matters_and_is_part_of_the_identity(make):
    with_blank, without = make(), make(add_prefix_space=False)
    pair = [("Lungs are clear.", "The heart is normal in size.")]
    assert with_blank.annotate(pair)[0]["f"] != pytest.approx(
        without.annotate(pair)[0]["f"], abs=1e-6
    )
    assert (with_blank.id, without.id) == (
        "bertscore_distilroberta",
        "bertscore_distilroberta_noprefix",
    )
    assert with_blank.version != without.version
    assert make("distilbert-base-uncased").id == "bertscore_distilbert"
    assert make("distilbert-base-uncased").weights != with_blank.weights


def test_missing_weights_name_the_command(monkeypatch, tmp_path, models):
    monkeypatch.setenv("REPORTCARD_CACHE", str(tmp_path))
    annotator = Bertscore()
    assert annotator.missing().startswith(
        "weights missing, run: reportcard fetch weights bertscore"
    )
    assert annotator.weights is None
    with pytest.raises(ReportCardError, match="weights missing"):
        annotator.annotate([("a", "b")])
    # The other model's weights do not run under this model's name.
    other = str(models["distilbert-base-uncased"])
    assert "no distilroberta-base in" in Bertscore(weights=other).missing()
    # One folder may hold both.
    both = str(models["distilbert-base-uncased"].parent)
    assert Bertscore(weights=both).missing() is None
    assert Bertscore("distilbert-base-uncased", weights=both).missing() is None
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "bertscore").symlink_to(both)
    assert Bertscore().missing() is None


class _Code:
    def __reduce__(self):
        return (sys.exit, ("code in a pickle ran",))


@pytest.mark.parametrize(
    "damage", ["html", "truncated", "pickle", "missing", "vocabulary", "layers"]
)
def test_a_bad_checkpoint_is_refused_with_its_path(damage, models, tmp_path):
    import pickle
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(models["distilroberta-base"], folder)
    weights = folder / "model.safetensors"
    options = {}
    if damage == "html":
        weights.write_text("<!DOCTYPE html><title>Login</title>")
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif damage == "pickle":
        weights.unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"x": _Code()}))
    elif damage == "missing":
        from safetensors.torch import load_file, save_file

        tensors = load_file(weights)
        del tensors["roberta.encoder.layer.2.output.dense.weight"]
        save_file(tensors, weights, metadata={"format": "pt"})
    elif damage == "vocabulary":
        vocabulary = json.loads((folder / "vocab.json").read_text())
        vocabulary |= {f"extra{i}": len(vocabulary) + i for i in range(50)}
        (folder / "vocab.json").write_text(json.dumps(vocabulary))
    else:
        options["layer"] = 9
    annotator = Bertscore(weights=str(folder), store=None, device="cpu", **options)
    with pytest.raises(ReportCardError, match=str(folder)) as caught:
        annotator.annotate([("a", "b")])
    expected = {"missing": "layer.2.output", "vocabulary": "wrong vocabulary", "layers": "6 layers"}
    assert expected.get(damage, "cannot be read as weights") in str(caught.value)


def test_the_metric_reads_the_annotators_notes(make):
    from harness.api import Pair
    from metrics.bertscore import BertScore

    metric = BertScore()
    annotator = make()
    assert metric.spec.annotators == (annotator.id,)
    note = annotator.annotate([(SENTENCES[0], SENTENCES[0])])[0]
    pair = Pair("s", SENTENCES[0], SENTENCES[0], {annotator.id: (note, None)})
    found = metric.scores(metric.rows([pair]).sum(axis=0))
    assert found["f1"] == pytest.approx(1, abs=1e-4)
    assert found["f1_raw"] == pytest.approx(1, abs=1e-5)


def test_close_frees_the_model_and_it_loads_again(make):
    annotator = make()
    pair = [(SENTENCES[0], SENTENCES[1])]
    first = annotator.annotate(pair)
    annotator.close()
    annotator.close()
    assert annotator._encoder is None
    assert annotator.annotate(pair) == first


def test_the_plugin_is_found_by_its_name():
    from harness import registry

    assert registry.annotators.get("bertscore") is Bertscore
    assert Bertscore.scope == "pair"
