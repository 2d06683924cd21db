"""BLEU equals the packages that papers used, to 1e-9, on thousands of real pairs."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportcard.api import Pair, ReportCardError
from reportcard.metrics.bleu import Bleu, tokens_13a

# Characters that tokenisers treat specially, so that hypothesis finds the corners.
ODD = st.text(alphabet="ab AB.,-0123456789&;quotampltg<>/()'\"\n\t %é_XXXX", max_size=60)
TEXT = st.one_of(ODD, st.text(max_size=40))


def pairs_of(candidates: list[str], references: list[str]) -> list[Pair]:
    return [Pair(str(i), c, r) for i, (c, r) in enumerate(zip(candidates, references, strict=True))]


@pytest.fixture(scope="module")
def real_pairs(real_texts: list[str]) -> list[Pair]:
    """Each real report beside another, a few beside themselves, and a few empty candidates."""
    rng = random.Random(0)
    candidates = real_texts[:]
    rng.shuffle(candidates)
    candidates[:50] = real_texts[:50]
    candidates[50:60] = [""] * 10
    return pairs_of(candidates, real_texts)


def corpus(metric: Bleu, pairs: list[Pair]) -> dict[str, float]:
    return {k: float(v) for k, v in metric.scores(metric.rows(pairs).sum(axis=0)).items()}


def sacrebleu_score(pairs: list[Pair], order: int) -> float:
    from sacrebleu.metrics import BLEU

    score = BLEU(max_ngram_order=order).corpus_score(
        [p.candidate for p in pairs], [[p.reference for p in pairs]]
    )
    return float(score.score)


def hf_score(pairs: list[Pair], order: int) -> float:
    """tensorflow/nmt compute_bleu over 13a tokens, as Hugging Face's `evaluate` runs it."""
    from collections import Counter

    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenize = Tokenizer13a()
    match, possible, lengths = [0] * order, [0] * order, [0, 0]
    for pair in pairs:
        c, r = (tokenize(t.rstrip()).split() for t in (pair.candidate, pair.reference))
        lengths[0] += len(c)
        lengths[1] += len(r)
        for n in range(1, order + 1):
            a = Counter(tuple(c[i : i + n]) for i in range(len(c) - n + 1))
            b = Counter(tuple(r[i : i + n]) for i in range(len(r) - n + 1))
            match[n - 1] += sum((a & b).values())
            possible[n - 1] += max(0, len(c) - n + 1)
    if min(match) == 0:
        return 0.0
    mean = np.mean([np.log(m / p) for m, p in zip(match, possible, strict=True)])
    ratio = lengths[0] / lengths[1]
    return float(np.exp(mean) * (1.0 if ratio > 1 else np.exp(1 - 1 / ratio)))


def coco_scores(pairs: list[Pair]) -> list[float]:
    from pycocoevalcap.bleu.bleu import Bleu as CocoBleu

    references = {i: [p.reference] for i, p in enumerate(pairs)}
    candidates = {i: [p.candidate] for i, p in enumerate(pairs)}
    return [float(v) for v in CocoBleu(4).compute_score(references, candidates, verbose=0)[0]]


def nltk_bleu2(pair: Pair) -> float:
    """NLTK with smoothing method 1 is what fast_bleu re-implements; RadCliQ tokens."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    def tokens(text: str) -> list[str]:
        return list(filter(None, text.lower().replace(".", " .").split(" ")))

    value = sentence_bleu(
        [tokens(pair.reference)],
        tokens(pair.candidate),
        weights=(0.5, 0.5),
        smoothing_function=SmoothingFunction().method1,
    )
    return float(value)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_sacre_equals_sacrebleu_on_the_real_corpus(real_pairs: list[Pair], order: int) -> None:
    ours = corpus(Bleu("sacre"), real_pairs)[f"bleu_{order}"]
    assert ours == pytest.approx(sacrebleu_score(real_pairs, order), abs=1e-9)


@pytest.mark.parametrize("order", [1, 4])
def test_hf_equals_its_formula_on_the_real_corpus(real_pairs: list[Pair], order: int) -> None:
    ours = corpus(Bleu("hf"), real_pairs)[f"bleu_{order}"]
    assert ours == pytest.approx(hf_score(real_pairs, order), abs=1e-9)


def test_coco_equals_pycocoevalcap_on_the_real_corpus(real_pairs: list[Pair]) -> None:
    ours = list(corpus(Bleu("coco"), real_pairs).values())
    assert ours == pytest.approx(coco_scores(real_pairs), abs=1e-9)


def test_single_pairs_equal_their_packages(real_pairs: list[Pair]) -> None:
    """Single pairs have zero counts, where the variants differ most."""
    sacre, coco, radcliq = Bleu("sacre"), Bleu("coco"), Bleu("radcliq")
    single = radcliq.rows(real_pairs)[:, 0]
    for i in range(0, len(real_pairs), 8):
        pair = real_pairs[i]
        assert corpus(sacre, [pair])["bleu_4"] == pytest.approx(
            sacrebleu_score([pair], 4), abs=1e-9
        )
        assert single[i] == pytest.approx(nltk_bleu2(pair), abs=1e-9)
        if pair.candidate:
            assert corpus(coco, [pair])["bleu_4"] == pytest.approx(coco_scores([pair])[3], abs=1e-9)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4))
def test_sacre_equals_sacrebleu_on_any_text(texts: list[tuple[str, str]]) -> None:
    pairs = pairs_of([c for c, _ in texts], [r for _, r in texts])
    ours = corpus(Bleu("sacre"), pairs)
    for order in (1, 4):
        assert ours[f"bleu_{order}"] == pytest.approx(sacrebleu_score(pairs, order), abs=1e-9)


@settings(max_examples=300, deadline=None)
@given(TEXT)
def test_13a_tokens_equal_sacrebleu(text: str) -> None:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    assert tokens_13a(text) == Tokenizer13a()(text.rstrip()).split()


@settings(max_examples=200, deadline=None)
@given(TEXT, TEXT)
def test_radcliq_equals_nltk_on_any_text(candidate: str, reference: str) -> None:
    pair = Pair("1", candidate, reference)
    ours = Bleu("radcliq").rows([pair])[0, 0]
    if candidate.replace(".", " .").strip(" ") and reference.strip(" "):
        assert ours == pytest.approx(nltk_bleu2(pair), abs=1e-9)
    else:
        assert ours == 0


@pytest.mark.parametrize("variant", ["sacre", "hf", "coco", "radcliq"])
@pytest.mark.parametrize(
    ("candidate", "reference"), [("", "a b c d"), ("a b c d", ""), ("", ""), (" \n", "a")]
)
def test_an_empty_side_scores_zero(variant: str, candidate: str, reference: str) -> None:
    scores = corpus(Bleu(variant), [Pair("1", candidate, reference)])
    assert list(scores.values()) == [0.0] * len(scores)


@pytest.mark.parametrize(
    ("variant", "expected"), [("sacre", 100.0), ("hf", 1.0), ("coco", 0.0316227766)]
)
def test_identical_reports_of_three_words(variant: str, expected: float) -> None:
    # 13a makes four tokens of "no acute disease."; coco has three and no 4-gram.
    pair = Pair("1", "no acute disease.", "no acute disease.")
    assert corpus(Bleu(variant), [pair])["bleu_4"] == pytest.approx(expected, rel=1e-6)


def test_chunks_do_not_change_rows(real_pairs: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Bleu().rows(real_pairs)
    monkeypatch.setattr("reportcard.metrics._ngrams.CHUNK", 100)
    assert np.array_equal(Bleu().rows(real_pairs), whole)


def test_unknown_variant_names_the_known_ones() -> None:
    with pytest.raises(ReportCardError, match="sacre, hf, coco, radcliq"):
        Bleu("nltk")
