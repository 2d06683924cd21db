"""ROUGE equals rouge_score and pycocoevalcap, to 1e-9, on thousands of real pairs."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportcard.api import Array, Pair
from reportcard.metrics.rouge import Rouge

TEXT = st.one_of(
    st.text(alphabet="ab AB.,-01 \n'", max_size=60),
    st.lists(
        st.sampled_from(["clear", "lungs", "effusions", "The", "heart-size"]), max_size=12
    ).map(" ".join),
    st.text(max_size=40),
)


@pytest.fixture(scope="module")
def real_pairs(real_texts: list[str]) -> list[Pair]:
    candidates = real_texts[:]
    random.Random(1).shuffle(candidates)
    candidates[:10] = [""] * 10
    return [Pair(str(i), c, r) for i, (c, r) in enumerate(zip(candidates, real_texts, strict=True))]


def google(pairs: list[Pair], stem: bool) -> Array:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=stem)
    scores = [scorer.score(p.reference, p.candidate) for p in pairs]
    return np.array([[s[key].fmeasure for key in ("rouge1", "rouge2", "rougeL")] for s in scores])


def coco(pair: Pair) -> float:
    from pycocoevalcap.rouge.rouge import Rouge as CocoRouge

    return float(CocoRouge().calc_score([pair.candidate], [pair.reference]))


@pytest.mark.parametrize("stem", [False, True])
def test_equals_rouge_score_on_the_real_corpus(real_pairs: list[Pair], stem: bool) -> None:
    pairs = real_pairs if not stem else real_pairs[:800]
    ours = Rouge(stem=stem).rows(pairs)
    np.testing.assert_allclose(ours[:, :3], google(pairs, stem), atol=1e-9)
    assert (ours[:, 3] == 1).all()


def test_equals_pycocoevalcap_on_the_real_corpus(real_pairs: list[Pair]) -> None:
    ours = Rouge("coco").rows(real_pairs)[:, 0]
    theirs = [coco(p) if p.candidate else 0.0 for p in real_pairs]
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


@settings(max_examples=300, deadline=None)
@given(TEXT, TEXT, st.booleans())
def test_equals_rouge_score_on_any_text(candidate: str, reference: str, stem: bool) -> None:
    pairs = [Pair("1", candidate, reference)]
    ours = Rouge(stem=stem).rows(pairs)[:, :3]
    np.testing.assert_allclose(ours, google(pairs, stem), atol=1e-9)


@settings(max_examples=200, deadline=None)
@given(TEXT, TEXT)
def test_coco_equals_pycocoevalcap_on_any_text(candidate: str, reference: str) -> None:
    pair = Pair("1", candidate, reference)
    expected = coco(pair) if candidate and reference else 0.0
    assert Rouge("coco").rows([pair])[0, 0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("variant", ["rouge_score", "coco"])
@pytest.mark.parametrize(("candidate", "reference"), [("", "a b"), ("a b", ""), ("", "")])
def test_an_empty_side_scores_zero(variant: str, candidate: str, reference: str) -> None:
    rows = Rouge(variant).rows([Pair("1", candidate, reference)])
    assert rows[0, :-1].tolist() == [0.0] * (rows.shape[1] - 1)


def test_vocabularies_past_the_surrogates_keep_their_lcs() -> None:
    """More than 0xD800 different words in one chunk: characters must not be surrogates."""
    words = [f"w{i}" for i in range(0xD800 + 500)]
    pair = Pair("1", " ".join(words), " ".join(words[-450:]))
    precision, recall = 450 / len(words), 1.0
    expected = 2 * precision * recall / (precision + recall)
    assert Rouge().rows([pair])[0, 2] == pytest.approx(expected, abs=1e-12)
