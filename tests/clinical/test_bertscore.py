"""BERTScore against the bert-score package on the same random weights, IDF and the store."""

from __future__ import annotations

import random

import pytest

from reportcard.api import ReportCardError
from reportcard.metrics.annotators._idf import IdfCorpus
from reportcard.metrics.annotators.bertscore import BertscoreAnnotator
from tests.clinical.bertscore_fixtures import (
    AWKWARD,
    SENTENCES,
    as_tensor,
    make,
    models,
    torch,
    upstream,
)

__all__ = ["make", "models"]  # fixtures, found by name


@pytest.mark.parametrize("model", ["distilroberta-base", "distilbert-base-uncased"])
def test_equals_the_bert_score_package_on_open_i(model, make, models, monkeypatch, real_texts):
    findings = list(dict.fromkeys(real_texts))[:220]
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


def test_each_text_is_embedded_once_and_the_order_is_kept(make, monkeypatch):
    annotator = make()
    encoder = annotator._load()
    seen: list[tuple[int, ...]] = []
    forward = encoder._forward
    monkeypatch.setattr(
        encoder, "_forward", lambda ids: seen.extend(map(tuple, ids)) or forward(ids)
    )
    monkeypatch.setattr("reportcard.metrics.annotators.bertscore.PAIRS_HELD", 2)
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


def test_the_metric_reads_the_annotators_notes(make):
    from reportcard.api import Pair
    from reportcard.metrics.bertscore import BertScore

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
    from reportcard.core import registry

    assert registry.annotators.get("bertscore") is BertscoreAnnotator
    assert BertscoreAnnotator.scope == "pair"
