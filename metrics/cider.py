"""CIDEr-D is computed as pycocoevalcap's `Cider` does: mean over reports, 0-10, higher is better.

For n = 1..4, where g(t) are the n-gram counts of a text, each weighted by log N − log max(1, df),
df is the number of the N references that contain the n-gram, and l is the number of bigrams:

    cos_n = Σ_k min(g_k(c), g_k(r)) g_k(r) / (|g(c)| |g(r)|)      over n-grams k of order n
    CIDEr-D = 10 · exp(−(l_c − l_r)² / 72) · mean_n cos_n

Papers of the R2Gen family call it "CIDEr". Texts are split at white space and keep their case;
upstream's PTB tokenizer is a separate step that R2Gen's code leaves out.

The document frequencies are those of all references of a call. The harness calls `rows` once with
the whole cohort, so they stay fixed while rows are resampled. Therefore values on different cohorts
cannot be compared. One reference alone has log 1 = 0 everywhere, so it is left unscored.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from reportcard.api import Array, Key, MetricSpec, Pair

ORDERS = 4
SIGMA = 6.0  # pycocoevalcap cider/cider_scorer.py

Ngram = tuple[str, ...]


def ngrams(text: str) -> Counter[Ngram]:
    """Count the n-grams, n = 1..4, of the words between white space."""
    words = text.split()
    return Counter(
        tuple(words[i : i + n]) for n in range(1, ORDERS + 1) for i in range(len(words) - n + 1)
    )


class Cider:
    """CIDEr-D has the rows [CIDEr-D, 1]."""

    def __init__(self) -> None:
        self.spec = MetricSpec(
            version="1",
            keys={"cider_d": Key(high=10.0, unit="score")},
            signature="pycocoevalcap|cider-d|n:4|sigma:6|tok:space|case:mixed|df:references",
            whole_corpus=True,
            group="lexical",
        )

    def rows(self, pairs: Sequence[Pair]) -> Array:
        if len(pairs) < 2:
            return np.full((len(pairs), 2), np.nan)
        references = [ngrams(pair.reference) for pair in pairs]
        frequency = Counter(ngram for counts in references for ngram in counts)
        idf = _Idf({k: math.log(len(pairs)) - math.log(df) for k, df in frequency.items()})
        idf.unseen = math.log(len(pairs))
        values = [
            _similarity(ngrams(pair.candidate), reference, idf)
            for pair, reference in zip(pairs, references, strict=True)
        ]
        return np.column_stack([values, np.ones(len(pairs))])

    def scores(self, total: Array) -> dict[str, Array]:
        n = total[..., 1]
        return {"cider_d": np.divide(total[..., 0], n, out=np.full_like(n, np.nan), where=n > 0)}


class _Idf(dict[Ngram, float]):
    unseen: float

    def __missing__(self, key: Ngram) -> float:
        return self.unseen


def _similarity(
    candidate: Mapping[Ngram, int], reference: Mapping[Ngram, int], idf: Mapping[Ngram, float]
) -> float:
    product, have, want = ([0.0] * ORDERS for _ in range(3))
    for ngram, count in candidate.items():
        weight = idf[ngram]
        have[len(ngram) - 1] += (count * weight) ** 2
        if ngram in reference:
            clipped = min(count, reference[ngram]) * weight
            product[len(ngram) - 1] += clipped * reference[ngram] * weight
    for ngram, count in reference.items():
        want[len(ngram) - 1] += (count * idf[ngram]) ** 2
    cosines = [
        p / math.sqrt(h * w) if h > 0 and w > 0 else 0.0
        for p, h, w in zip(product, have, want, strict=True)
    ]
    bigrams = [
        sum(c for k, c in counts.items() if len(k) == 2) for counts in (candidate, reference)
    ]
    penalty = math.exp(-((bigrams[0] - bigrams[1]) ** 2) / (2 * SIGMA**2))
    return 10.0 * penalty * sum(cosines) / ORDERS
