"""Tests every pair of systems on some keys; all pairs share their random numbers.

A bootstrap replicate and a randomised total are both linear in the rows. So n systems need n matrix
products and not n²: W @ rows and mask @ rows per system, of which a pair takes the difference. This
holds for systems without unscored studies; a pair with an unscored study is computed on its own,
over the studies that both systems have scored.

The test is that of paired_difference.py (approximate randomisation, two-sided) with fewer trials.
Its p cannot fall below 1 / (1 + trials), and Holm multiplies that by the number of pairs. So where
no trial reached the observed difference, p is the tail of a normal distribution with the standard
deviation of the randomised differences, if that is smaller (for a mean of signed differences the
tail is bounded by Hoeffding's inequality; the idea: T. Knijnenburg et al., Bioinformatics 25:i161,
2009), and never below the rarest sign pattern, 2 / 2^units. Such a p is marked `tail`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import NormalDist
from typing import Literal

import numpy as np

from reportcard.api import Array
from reportcard.score.stats.paired_difference import difference_interval, in_common
from reportcard.score.stats.resampling import Resampler, Scores, replicate_scores

TRIALS = 2_000
ROUNDING = 1e-12
NORMAL = NormalDist()


Family = Literal["models", "with a floor"]


@dataclass(frozen=True, slots=True)
class PairTest:
    """The difference a − b of two systems over the studies that both have scored.

    low, high   its interval; None where no resample has both scores
    tail        whether p is the tail of a normal distribution (see above)
    p_holm      p, adjusted over the pair's family
    family      the comparisons that it is adjusted with (family.py)
    told_apart  whether the difference is significant: the one verdict on the pair
    """

    a: str
    b: str
    difference: float
    low: float | None
    high: float | None
    p: float
    tail: bool
    p_holm: float = 1.0
    family: Family = "models"
    told_apart: bool = False

    def turned(self, a: str, b: str) -> PairTest:
        """The same test of b − a, under other names."""
        low, high = (None if end is None else -end for end in (self.high, self.low))
        return replace(self, a=a, b=b, difference=-self.difference, low=low, high=high)


def pair_tests(
    rows: Mapping[str, Array],
    scores: Scores,
    keys: Sequence[str],
    resampler: Resampler,
    trials: int = TRIALS,
    confidence: float = 0.95,
) -> dict[str, list[PairTest]]:
    """Test every pair, in the order of `rows`, without any adjustment of p.

    A pair in which a side has no score is left out.

    Args:
        rows: system → (draws, n, k), a NaN row is unscored.
        scores: turns summed rows into the metric's keys.
        keys: the keys that are compared.
        resampler: the bootstrap weights and the seed.
        trials: swaps of the randomisation test.
        confidence: of the intervals.
    """

    def only(total: Array) -> dict[str, Array]:
        found = scores(total)
        return {key: found[key] for key in keys}

    whole = {m: x for m, x in rows.items() if not np.isnan(x).any()}
    shared = _Shared(whole, only, resampler, trials)
    found: dict[str, list[PairTest]] = {key: [] for key in keys}
    for a, b in combinations(rows, 2):
        if a in whole and b in whole:
            tests = shared.tests(a, b, confidence)
        else:
            left, right, n = in_common(rows[a], rows[b])
            alone = _Shared({a: left, b: right}, only, resampler, trials)
            tests = alone.tests(a, b, confidence) if n else {}
        for key, test in tests.items():
            found[key].append(test)
    return found


class _Shared:
    """The replicates and randomised totals of systems whose studies are all scored."""

    def __init__(
        self, rows: Mapping[str, Array], scores: Scores, resampler: Resampler, trials: int
    ) -> None:
        self._scores, self._trials = scores, trials
        self._units = resampler.units
        self._totals = {m: x.sum(axis=1) for m, x in rows.items()}
        self._replicates = {m: replicate_scores(x, scores, resampler) for m, x in rows.items()}
        self._moved = _moved(rows, resampler, trials)

    def tests(self, a: str, b: str, confidence: float) -> dict[str, PairTest]:
        """Return the test of each key on which both have a score."""
        observed = self._delta(self._totals[a], self._totals[b])
        # A swap moves the rows of some studies from A to B, and those of B to A.
        swapped = self._moved[b] - self._moved[a]
        random = self._delta(self._totals[a] + swapped, self._totals[b] - swapped)
        return {
            key: self._test(a, b, key, float(value), random[key], confidence)
            for key, value in observed.items()
            if not math.isnan(value)
        }

    def _test(
        self, a: str, b: str, key: str, observed: float, random: Array, confidence: float
    ) -> PairTest:
        interval = difference_interval(
            self._replicates[a][key], self._replicates[b][key], confidence
        )
        extreme = int((~(np.abs(random) < abs(observed) - ROUNDING)).sum())
        p, tail = (1 + extreme) / (1 + self._trials), False
        if not extreme and (normal := self._normal_tail(observed, random)) < p:
            p, tail = normal, True
        low, high = interval or (None, None)
        return PairTest(a, b, observed, low, high, p, tail)

    def _delta(self, a: Array, b: Array) -> dict[str, Array]:
        """Return score of A − score of B per key, averaged over draws."""
        left, right = self._scores(a), self._scores(b)
        return {key: (left[key] - right[key]).mean(axis=-1) for key in left}

    def _normal_tail(self, observed: float, random: Array) -> float:
        spread = float(np.sqrt(np.mean(random**2)))
        rarest = 2.0 ** (1 - self._units)
        return max(rarest, 2 * NORMAL.cdf(-abs(observed) / spread), 1e-300) if spread else 1.0


def _moved(rows: Mapping[str, Array], resampler: Resampler, trials: int) -> dict[str, Array]:
    """Return, per system, the totals of random halves of its studies: (trials, draws, k)."""
    parts: dict[str, list[Array]] = {m: [] for m in rows}
    flat = {
        m: np.ascontiguousarray(x.transpose(1, 0, 2)).reshape(resampler.n, -1)
        for m, x in rows.items()
    }
    for mask in resampler.swap_masks(trials) if rows else ():
        for m, x in flat.items():
            parts[m].append(mask @ x)
    shapes = {m: (trials, x.shape[0], x.shape[2]) for m, x in rows.items()}
    return {m: np.concatenate(part).reshape(shapes[m]) for m, part in parts.items()}
