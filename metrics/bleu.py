"""Computes BLEU-1..4 in the variants of the papers from one table of clipped n-gram counts.

    sacre     sacreBLEU 2.x BLEU(max_ngram_order=n): 13a tokens, cased, exponential smoothing, 0-100
              (LLaVA-Rad with intervals: LLaVA-Rad rrg_eval run.py)
    hf        Hugging Face `evaluate` bleu (tensorflow/nmt compute_bleu): 13a, no smoothing, 0-1
    coco      pycocoevalcap Bleu(n): split on white space, (c + 1e-15) / (t + 1e-9), 0-1
              (the R2Gen family, RadEval)
    radcliq   RadCliQ's sub-metric, fast_bleu with weights (1/2, 1/2): per-sample BLEU-2, lower
              case, "." split off, NLTK's smoothing method 1, mean over studies, 0-1
              (CXR-Report-Metric CXRMetric/run_eval.py)

All variants but radcliq are corpus level. An empty text scores 0 (upstream: 0, ZeroDivisionError or
1e-16).
BLEU-n = BP · exp(mean over k ≤ n of log p_k), BP = exp(1 − R/H) where the candidate is shorter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from reportcard.api import Array, Key, MetricSpec, Pair, ReportCardError
from reportcard.metrics._ngrams import Tokeniser, chunks, clipped_matches, ngram_totals

ORDERS = 4

# sacreBLEU tokenizers/tokenizer_13a.py and tokenizer_re.py: the mteval-v13a rules.
_RULES_13A = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)


def tokens_13a(text: str) -> list[str]:
    """Split a text into mteval-v13a tokens, as sacreBLEU and Hugging Face's tokenizer_13a do.

    >>> tokens_13a("No effusion, 2.5 cm nodule.")
    ['No', 'effusion', ',', '2.5', 'cm', 'nodule', '.']
    """
    return _tokens_mteval(text.rstrip())


def tokens_hf(text: str) -> list[str]:
    """The same rules without sacreBLEU's rstrip: Hugging Face's "-" before a last line end goes.

    >>> tokens_hf("no effusion-\\n"), tokens_13a("no effusion-\\n")
    (['no', 'effusion'], ['no', 'effusion-'])
    """
    return _tokens_mteval(text)


def _tokens_mteval(text: str) -> list[str]:
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    if "&" in text:
        for entity, character in (("quot", '"'), ("amp", "&"), ("lt", "<"), ("gt", ">")):
            text = text.replace(f"&{entity};", character)
    return [token for word in text.split() for token in _split_13a(word)]


@lru_cache(maxsize=2**18)
def _split_13a(word: str) -> list[str]:
    """Apply the rules within one word: they look at one neighbour, and a blank is not a digit."""
    word = f" {word} "
    for pattern, replacement in _RULES_13A:
        word = pattern.sub(replacement, word)
    return word.split()


def tokens_radcliq(text: str) -> list[str]:
    """Split a text in lower case at single blanks, with full stops split off."""
    return [t for t in text.lower().replace(".", " .").split(" ") if t]


@dataclass(frozen=True, slots=True)
class Variant:
    """One implementation of BLEU: its tokens, its formula on summed counts, and its signature."""

    tokenise: Callable[[str], list[str]]
    combine: Callable[[Array, Array, Array, Array], list[Array]]
    high: float
    signature: str


def _geometric(precisions: Array) -> list[Array]:
    """Geometric means of the first n precisions, n = 1..4, which are 0 where one of them is 0."""
    with np.errstate(divide="ignore"):
        logs = np.log(precisions)
    return [np.exp(logs[..., :n].mean(axis=-1)) for n in range(1, ORDERS + 1)]


def _brevity(hyp: Array, ref: Array) -> Array:
    """The brevity penalty: exp(1 − R/H) for a shorter candidate, 0 for an empty one, else 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(hyp < ref, np.exp(1 - ref / hyp), np.where(hyp > 0, 1.0, 0.0))


def _sacre(hyp: Array, ref: Array, correct: Array, total: Array) -> list[Array]:
    # The k-th order without a match counts as 1 / (2^k · total); without any match the score is 0.
    zeros = (correct == 0) & (total > 0)
    smoothed = 1.0 / np.exp2(np.cumsum(zeros, axis=-1))
    precisions = np.divide(
        np.where(zeros, smoothed, correct), total, out=np.zeros_like(total), where=total > 0
    )
    bp, matched = _brevity(hyp, ref), correct[..., 0] > 0
    return [np.where(matched, 100 * bp * mean, 0.0) for mean in _geometric(precisions)]


def _hf(hyp: Array, ref: Array, correct: Array, total: Array) -> list[Array]:
    precisions = np.divide(correct, total, out=np.zeros_like(total), where=total > 0)
    return [_brevity(hyp, ref) * mean for mean in _geometric(precisions)]


def _coco(hyp: Array, ref: Array, correct: Array, total: Array) -> list[Array]:
    means = _geometric((correct + 1e-15) / (total + 1e-9))
    ratio = (hyp + 1e-15) / (ref + 1e-9)
    bp = np.where(ratio < 1, np.exp(1 - 1 / ratio), 1.0)
    present = (hyp > 0) & (ref > 0)
    return [np.where(present, bp * mean, 0.0) for mean in means]


def _radcliq(hyp: Array, ref: Array, correct: Array, total: Array) -> list[Array]:
    precisions = np.where(correct > 0, correct, 0.1) / np.maximum(total, 1)
    bleu_2 = _brevity(hyp, ref) * _geometric(precisions)[1]
    return [np.where(correct[..., 0] > 0, bleu_2, 0.0)]


VARIANTS = {
    "sacre": Variant(tokens_13a, _sacre, 100.0, "sacrebleu|tok:13a|case:mixed|smooth:exp"),
    "hf": Variant(tokens_hf, _hf, 1.0, "hf_evaluate|tok:13a|case:mixed|smooth:none"),
    "coco": Variant(str.split, _coco, 1.0, "pycocoevalcap|tok:space|case:mixed|smooth:tiny"),
    "radcliq": Variant(
        tokens_radcliq, _radcliq, 1.0, "fast_bleu|tok:space+stop|case:lower|smooth:nltk1|mean"
    ),
}


class Bleu:
    """BLEU has corpus-level rows [H, R, c1..c4, t1..t4]; radcliq has rows [BLEU-2, 1].

    H and R are the lengths of candidate and reference, c_k the clipped k-gram matches, t_k the
    k-grams of the candidate.
    """

    def __init__(self, variant: str = "sacre") -> None:
        if variant not in VARIANTS:
            raise ReportCardError(f"BLEU has no variant '{variant}'; {', '.join(VARIANTS)}.")
        self.variant = VARIANTS[variant]
        self.per_sample = variant == "radcliq"
        orders = (2,) if self.per_sample else range(1, ORDERS + 1)
        key = Key(high=self.variant.high, unit="percent" if self.variant.high > 1 else "fraction")
        self.spec = MetricSpec(
            # hf's 2: "-" before a last line end is removed, as the Hugging Face package does.
            version="2" if variant == "hf" else "1",
            keys={f"bleu_{n}": key for n in orders},
            signature=self.variant.signature,
            group="lexical",
        )
        self._tokeniser = Tokeniser(self.variant.tokenise)

    def rows(self, pairs: Sequence[Pair]) -> Array:
        if not pairs:
            return np.empty((0, 2 if self.per_sample else 2 + 2 * ORDERS))
        return np.concatenate([self._rows(chunk) for chunk in chunks(pairs)])

    def _rows(self, pairs: Sequence[Pair]) -> Array:
        candidate = self._tokeniser.encode([pair.candidate for pair in pairs])
        reference = self._tokeniser.encode([pair.reference for pair in pairs])
        matches = clipped_matches(candidate, reference, ORDERS, len(self._tokeniser.vocabulary))
        totals = ngram_totals(candidate.lengths, ORDERS)
        counts = np.column_stack([candidate.lengths, reference.lengths, matches, totals])
        counts = counts.astype(np.float64)
        if not self.per_sample:
            return counts
        return np.column_stack([self._combine(counts)[0], np.ones(len(pairs))])

    def scores(self, total: Array) -> dict[str, Array]:
        if self.per_sample:
            n = total[..., 1]
            return {"bleu_2": np.divide(total[..., 0], n, out=np.full_like(n, np.nan), where=n > 0)}
        return {f"bleu_{n}": v for n, v in enumerate(self._combine(total), start=1)}

    def _combine(self, counts: Array) -> list[Array]:
        correct, total = counts[..., 2 : 2 + ORDERS], counts[..., 2 + ORDERS :]
        return self.variant.combine(counts[..., 0], counts[..., 1], correct, total)
