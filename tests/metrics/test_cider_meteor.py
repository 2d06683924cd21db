"""CIDEr-D against pycocoevalcap; METEOR of NLTK, or the reason why it is not run."""

from __future__ import annotations

import random

import numpy as np
import pytest

from reportcard.api import Pair
from reportcard.metrics.annotators.meteor_nltk import MeteorNltkAnnotator as Annotator
from reportcard.metrics.cider import Cider
from reportcard.metrics.meteor_nltk import MeteorNltk

WORDS = ["heart", "lungs", "clear", "effusion", ".", "no", "left", "right", "stable", "opacity"]


def make_pairs(n: int = 60) -> list[Pair]:
    rng = random.Random(3)

    def text() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(0, 25)))

    pairs = [Pair(str(i), text(), text()) for i in range(n)]
    pairs.append(Pair("same", "No effusion is seen .", "No effusion is seen ."))
    pairs.append(Pair("one word", "Clear", "Clear"))
    pairs.append(Pair("empty", "", "No effusion ."))
    return pairs


def package_cider(pairs) -> np.ndarray:
    package = pytest.importorskip("pycocoevalcap.cider.cider", reason="needs pycocoevalcap")
    found = package.Cider().compute_score(
        {p.study_id: [p.reference] for p in pairs}, {p.study_id: [p.candidate] for p in pairs}
    )
    return np.asarray(found[1])


def test_cider_equals_pycocoevalcap():
    pairs = make_pairs()
    rows = Cider().rows(pairs)
    assert rows[:, 0] == pytest.approx(package_cider(pairs), abs=1e-9)
    assert rows[-3, 0] > 1
    assert Cider().scores(rows.sum(axis=0))["cider_d"] == pytest.approx(rows[:, 0].mean())


def test_cider_equals_pycocoevalcap_on_open_i(real_texts):
    texts = real_texts[:300]
    others = random.Random(0).sample(texts, len(texts))
    pairs = [Pair(str(i), *both) for i, both in enumerate(zip(others, texts, strict=True))]
    assert Cider().rows(pairs)[:, 0] == pytest.approx(package_cider(pairs), abs=1e-9)


def test_cider_of_a_single_reference_is_unscored_and_not_zero():
    # Upstream answers 0 for an identical pair: every document frequency is 1 of 1.
    pair = Pair("s", "Lungs are clear", "Lungs are clear")
    assert np.isnan(Cider().rows([pair])).all()
    assert Cider().rows([]).shape == (0, 2)


def test_meteor_says_what_is_missing_or_runs():
    annotator = Annotator()
    reason = annotator.missing()
    if reason:
        assert "python -m nltk.downloader wordnet punkt_tab" in reason
        pytest.skip(f"METEOR is not run: {reason}")
    notes = annotator.annotate([("Clear lungs.", "Clear lungs."), ("", "Clear lungs.")])
    assert notes[0]["meteor"] > 0.9
    assert notes[1]["meteor"] == 0


def test_meteor_metric_is_the_mean_of_the_notes():
    metric = MeteorNltk()
    values = [0.2, 0.6, None]
    notes = [None if v is None else {"meteor": v} for v in values]
    pairs = [Pair(str(i), "a", "b", {"meteor_nltk": (n, None)}) for i, n in enumerate(notes)]
    rows = metric.rows(pairs)
    assert np.isnan(rows[2]).all()
    assert metric.scores(rows[:2].sum(axis=0))["meteor_nltk"] == pytest.approx(0.4)
    assert metric.rows([]).shape == (0, 2)
