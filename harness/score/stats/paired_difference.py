"""Tests whether two systems differ: a paired bootstrap and approximate randomisation.

Both systems are resampled and swapped with the same random numbers, study by study (or patient by
patient), so that what is easy or hard for both cancels out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reportcard.api import Array
from reportcard.score.stats.resampling import Resampler, Scores, quantiles, replicate_scores


@dataclass(frozen=True, slots=True)
class Difference:
    """A − B for one key: the difference, its paired bootstrap interval, and a p-value.

    a, b: the two scores over the n studies that both have; their difference is `value`. se: its
    standard error, the standard deviation of its bootstrap replicates.
    """

    value: float
    low: float
    high: float
    p: float
    a: float
    b: float
    n: int
    se: float


def compare(
    a: Array,
    b: Array,
    scores: Scores,
    resampler: Resampler,
    trials: int = 10_000,
    confidence: float = 0.95,
) -> dict[str, Difference]:
    """Compare two systems by a paired bootstrap of A − B and by approximate randomisation.

    p = (1 + #{|Δ*| ≥ |Δ|}) / (1 + trials), two-sided, where Δ* swaps the two systems' rows of a
    random half of the studies (of the patients, where they are clusters). The +1 keeps p > 0.
    A study that is unscored (NaN) on either side counts on neither; a key without a score on a
    side has the difference NaN and p = 1.

    Args:
        a, b: rows (draws, n, k); a side with one draw is compared with each draw of the other.
        scores: turns summed rows into the metric's keys.
        resampler: the bootstrap weights and the seed.
        trials: swaps of the randomisation test.
        confidence: of the interval.

    Raises ValueError when the two matrices do not have the same studies and columns.
    """
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"not the same studies and columns: {a.shape} and {b.shape}")
    a, b, n = in_common(a, b)
    draws = max(len(a), len(b))
    a, b = (np.broadcast_to(x, (draws, *x.shape[1:])) for x in (a, b))
    tail = (1 - confidence) / 2
    ours, theirs = (replicate_scores(x, scores, resampler) for x in (a, b))
    each = [{k: float(v.mean(-1)) for k, v in scores(x.sum(axis=1)).items()} for x in (a, b)]
    observed = _delta(a.sum(axis=1), b.sum(axis=1), scores)
    extreme = dict.fromkeys(observed, 0)
    for swapped_a, swapped_b in _swaps(a, b, resampler, trials):
        for name, delta in _delta(swapped_a, swapped_b, scores).items():
            # A swap that leaves a side without a score counts as extreme, which raises p.
            extreme[name] += int((~(np.abs(delta) < abs(observed[name]) - 1e-12)).sum())
    found = {}
    for name, value in observed.items():
        replicates = ours[name] - theirs[name]
        low, high = quantiles(replicates, [tail, 1 - tail])
        p = (1 + extreme[name]) / (1 + trials)
        left, right = (side[name] for side in each)
        about = (float(value), float(low), float(high), p, left, right, n)
        found[name] = Difference(*about, standard_error(replicates))
    return found


def in_common(a: Array, b: Array) -> tuple[Array, Array, int]:
    """Return two systems' rows with zeros where either is unscored, and the number of the others.

    a, b: rows (draws, n, k).
    """
    unscored = np.asarray(np.isnan(a).any(axis=(0, 2)) | np.isnan(b).any(axis=(0, 2)))
    a, b = (np.where(np.expand_dims(unscored, -1), 0.0, x) for x in (a, b))
    return a, b, int((~unscored).sum())


def standard_error(replicates: Array) -> float:
    """Return the standard deviation of the replicates that have a score; NaN if fewer than two."""
    defined = replicates[~np.isnan(replicates)]
    return float(defined.std(ddof=1)) if len(defined) > 1 else float("nan")


def difference_interval(a: Array, b: Array, confidence: float) -> list[float] | None:
    """Return the percentile interval of paired replicates a − b where both have a score.

    None where no replicate has both.
    """
    tail = (1 - confidence) / 2
    low, high = quantiles(a - b, [tail, 1 - tail])
    return None if np.isnan(low) else [float(low), float(high)]


def _delta(a: Array, b: Array, scores: Scores) -> dict[str, Array]:
    """Return score of A − score of B, averaged over draws (the second last axis of the totals)."""
    left, right = scores(a), scores(b)
    return {name: (left[name] - right[name]).mean(axis=-1) for name in left}


def _swaps(a: Array, b: Array, resampler: Resampler, trials: int) -> Iterator[tuple[Array, Array]]:
    """Yield the totals of A and B after random swaps, in blocks: (block, draws, k) each."""
    draws, n, k = a.shape
    difference = np.ascontiguousarray((a - b).transpose(1, 0, 2)).reshape(n, draws * k)
    total_a, total_b = a.sum(axis=1), b.sum(axis=1)
    for mask in resampler.swap_masks(trials, width=draws * k):
        moved = (mask @ difference).reshape(-1, draws, k)
        yield total_a - moved, total_b + moved


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust a family of p-values with Holm's step-down method, in the order given."""
    m = len(p_values)
    adjusted, running = [0.0] * m, 0.0
    for rank, i in enumerate(sorted(range(m), key=lambda j: p_values[j])):
        running = max(running, min(1.0, (m - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted
