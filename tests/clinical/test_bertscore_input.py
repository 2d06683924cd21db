"""BERTScore with awkward texts, bad checkpoints, missing weights and too little memory."""

from __future__ import annotations

import json
import sys

import pytest

from reportcard.api import ReportCardError
from reportcard.metrics.annotators.bertscore import BertscoreAnnotator
from tests.clinical.bertscore_fixtures import (
    AWKWARD,
    SENTENCES,
    make,
    models,
    torch,
)

__all__ = ["make", "models"]  # fixtures, found by name


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


def test_missing_weights_name_the_command(monkeypatch, tmp_path, models):
    monkeypatch.setenv("REPORTCARD_CACHE", str(tmp_path))
    annotator = BertscoreAnnotator()
    assert annotator.missing().startswith(
        "weights missing, run: reportcard fetch weights bertscore"
    )
    assert annotator.weights is None
    with pytest.raises(ReportCardError, match="weights missing"):
        annotator.annotate([("a", "b")])
    # The other model's weights do not run under this model's name.
    other = str(models["distilbert-base-uncased"])
    assert "no distilroberta-base in" in BertscoreAnnotator(weights=other).missing()
    # One folder may hold both.
    both = str(models["distilbert-base-uncased"].parent)
    assert BertscoreAnnotator(weights=both).missing() is None
    assert BertscoreAnnotator("distilbert-base-uncased", weights=both).missing() is None
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "bertscore").symlink_to(both)
    assert BertscoreAnnotator().missing() is None


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
    annotator = BertscoreAnnotator(weights=str(folder), store=None, device="cpu", **options)
    with pytest.raises(ReportCardError, match=str(folder)) as caught:
        annotator.annotate([("a", "b")])
    expected = {"missing": "layer.2.output", "vocabulary": "wrong vocabulary", "layers": "6 layers"}
    assert expected.get(damage, "cannot be read as weights") in str(caught.value)
