"""Says how many studies a test needs, and how far the pilot that was scored pins that down.

A pilot's difference is itself uncertain. Put into the formula of the power as if it were the true
one, it promises too few studies whenever it came out too large by chance. So the power with m
studies is averaged over bootstrap resamples of the pilot, each with its own difference and its own
standard error (*assurance*: A. O'Hagan, J. Stevens and M. Campbell, Pharm. Stat. 4:187, 2005):

    power(m) = mean over resamples of power(difference*, SE* · √(n/m))
    needed   = the smallest m with power(m) ≥ the wanted power
    interval = percentiles, over resamples, of the studies that each by itself says are needed

SE* of a resample is the standard error of the pilot times the ratio of standard deviations of the
studies' influences (jackknife values) in the resample and in the pilot. At a difference that the
user names, only SE* varies. `benchmarks/power.py` measures whether the promise is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from reportcard.api import Array
from reportcard.score.stats.effect_size import FEWEST, POWER, power, studies_needed
from reportcard.score.stats.paired_difference import standard_error
from reportcard.score.stats.resampling import Resampler, Scores, replicate_scores

SMALL = 200  # studies; from smaller pilots the promised power was missed (benchmarks/power.py)
FAR = 10  # times the pilot; beyond, the promised power was missed
MOST = 10**9  # studies


@dataclass(frozen=True, eq=False, slots=True)
class Pilot:
    """What n studies say of a difference: its bootstrap replicates and their standard errors.

    differences, errors: (resamples,); replicates without a score are left out. doubt: why the
    standard errors are not to be relied on, in which case there is no answer.
    """

    n: int
    differences: Array
    errors: Array
    doubt: str | None = None

    def at(self, difference: float) -> Pilot:
        """The same pilot for a difference that is given, and not estimated."""
        return replace(self, differences=np.full(self.errors.shape, difference))

    def assuming(self, correlation: float) -> Pilot:
        """The pilot of one system, for its difference from another with this correlation."""
        return replace(self, errors=self.errors * math.sqrt(2 * (1 - correlation)))

    def power_at(self, m: int) -> float:
        """Return the power of a test on m studies, averaged over what the pilot leaves open."""
        scale = math.sqrt(self.n / m)
        each = [
            power(float(d), float(se) * scale)
            for d, se in zip(self.differences, self.errors, strict=True)
        ]
        return float(np.mean(each)) if each else math.nan

    def needed(self, wanted: float = POWER) -> int | None:
        """Return the studies for the wanted power; None where the pilot cannot say."""
        if self.doubt:
            return None
        low, high = FEWEST, FEWEST
        while not self.power_at(high) >= wanted:
            low, high = high, 2 * high
            if high > MOST or not len(self.errors):
                return None
        while high - low > max(1, low // 1000):
            middle = (low + high) // 2
            low, high = (low, middle) if self.power_at(middle) >= wanted else (middle, high)
        return low if self.power_at(low) >= wanted else high

    def interval(
        self, wanted: float = POWER, confidence: float = 0.95
    ) -> tuple[int, int | None] | None:
        """Return the fewest and the most studies that the pilot leaves open.

        The most is None where the pilot does not even fix the sign of the difference.
        """
        if self.doubt or not len(self.errors):
            return None
        sign = math.copysign(1.0, float(np.median(self.differences)))
        each = [
            studies_needed(float(d), float(se), self.n, wanted) if d * sign > 0 else None
            for d, se in zip(self.differences, self.errors, strict=True)
        ]
        ordered = sorted(math.inf if m is None else float(m) for m in each)
        tail = (1 - confidence) / 2
        low, high = (ordered[round(at * (len(ordered) - 1))] for at in (tail, 1 - tail))
        return None if math.isinf(low) else (int(low), None if math.isinf(high) else int(high))

    def caution(self, wanted: float = POWER) -> str | None:
        """Say why the answer should not be planned with; None where nothing is against it."""
        if self.doubt:
            return f"{self.doubt}: their part of the variance cannot be seen, so there is no answer"
        if self.n < SMALL:
            return (
                f"a pilot of {self.n:,} studies is too small to plan with (below {SMALL});"
                " its answer can be several times too low"
            )
        needed = self.needed(wanted)
        if needed is not None and needed > FAR * self.n:
            return f"more than {FAR} times the pilot's {self.n:,} studies: score a larger pilot"
        return None


def pilots(
    a: Array,
    b: Array | None,
    scores: Scores,
    resampler: Resampler,
    n: int,
    doubts: Mapping[str, str] | None = None,
) -> dict[str, Pilot]:
    """Return what the rows say of the difference a − b per key, or of a alone where b is None.

    Args:
        a, b: rows (draws, n, k), zeros where either is unscored (`resampling.in_common`).
        scores: turns summed rows into the metric's keys.
        resampler: the bootstrap weights.
        n: the studies that both have scored.
        doubts: key → why the sample cannot support its interval (`SampleMetric.doubts`).
    """
    found = _of(a, scores, resampler)
    if b is not None:
        others = _of(b, scores, resampler)
        found = {
            key: (replicates - others[key][0], without - others[key][1])
            for key, (replicates, without) in found.items()
        }
    weights = _unit_weights(resampler)
    return {
        key: replace(_pilot(n, replicates, without, weights), doubt=(doubts or {}).get(key))
        for key, (replicates, without) in found.items()
    }


def _of(rows: Array, scores: Scores, resampler: Resampler) -> Mapping[str, tuple[Array, Array]]:
    """Return bootstrap replicates (resamples,) and jackknife values (units,) per key."""
    draws, n, k = rows.shape
    rows = np.broadcast_to(rows, (draws, n, k))
    flat = np.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(n, draws * k)
    replicates = replicate_scores(rows, scores, resampler)
    parts = [scores(block.reshape(-1, draws, k)) for block in resampler.without_each(flat)]
    return {
        key: (values, np.concatenate([part[key].mean(axis=-1) for part in parts]))
        for key, values in replicates.items()
    }


def _unit_weights(resampler: Resampler) -> Array:
    """Return how often each study (patient) is in each resample: (resamples, units)."""
    if resampler.clusters is None:
        return resampler.weights
    first = np.unique(resampler.clusters, return_index=True)[1]
    return np.concatenate([block[:, first] for block in resampler.blocks()])


def _pilot(n: int, replicates: Array, without: Array, weights: Array) -> Pilot:
    known = without[~np.isnan(without)]
    # A unit without which nothing has a score is given no influence.
    influence = np.where(np.isnan(without), 0.0, (known.mean() if len(known) else 0.0) - without)
    units = max(1, len(influence))
    whole = float(influence.std())
    spread = np.sqrt(
        np.maximum(0.0, weights @ influence**2 / units - (weights @ influence / units) ** 2)
    )
    ratio = spread / whole if whole > 0 else np.ones(len(replicates))
    scored = ~np.isnan(replicates)
    return Pilot(n, replicates[scored], standard_error(replicates) * ratio[scored])
