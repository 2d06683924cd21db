"""How well numbers agree with radiologists' error counts: Kendall's tau-b, and MAD with one rater
left out. NumPy, and SciPy for the paired t-test.

Resamples draw studies, not pairs: the four candidates of a ReXVal study share a reference, and an
interval over pairs is too narrow. A resample is a vector of integer weights per pair (harness/
stats.py), and every statistic here takes weights (1 + resamples, n), the first row all ones: its
first value is that of the data, the others are the replicates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reportcard.api import Array
from reportcard.score.stats.resampling import Clusters, Estimate, Resampler


def draw_weights(n: int, resamples: int, seed: int, clusters: Clusters | None) -> Array:
    """Ones, then how often each pair stands in each resample: (1 + resamples, n)."""
    drawn = Resampler(n, resamples, seed, clusters).weights
    return np.vstack([np.ones(n), drawn])


def tau_b(x: Array, y: Array, weights: Array) -> Array:
    """Kendall's tau-b of n pairs of numbers, repeated as the weights (…, n) say: (…).

    tau_b = Σ w_i w_j sign(x_i − x_j) sign(y_i − y_j) / sqrt(untied in x · untied in y). Repeats of
    a pair are ties, which add nothing, so this equals scipy.stats.kendalltau of the repeated pairs
    (tested). NaN where either side is constant.
    """
    of_x, of_y = (np.sign(v[:, None] - v[None, :]) for v in (x, y))

    def summed(signs: Array) -> Array:
        total: Array = ((weights @ signs) * weights).sum(axis=-1)
        return total

    signed, scale = summed(of_x * of_y), np.sqrt(summed(np.abs(of_x)) * summed(np.abs(of_y)))
    found: Array = np.divide(signed, scale, out=np.full_like(scale, np.nan), where=scale > 0)
    return found


def weighted_mean(values: Array, weights: Array) -> Array:
    """Mean of values (n,) under weights (…, n); NaN where nothing is left."""
    total = weights.sum(axis=-1)
    sums = weights @ values
    mean: Array = np.divide(sums, total, out=np.full_like(total, np.nan), where=total > 0)
    return mean


def with_interval(statistic: Array, confidence: float = 0.95) -> Estimate:
    """(1 + resamples,) → the first value, and the percentile interval of the others.

    A replicate without a value (a constant side) is left out, as in harness/stats.py.
    """
    replicates = statistic[1:][~np.isnan(statistic[1:])]
    tail = (1 - confidence) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail]) if len(replicates) else (np.nan, np.nan)
    return Estimate(float(statistic[0]), float(low), float(high))


def tau_with_interval(values: Array, errors: Array, weights: Array) -> Estimate:
    """tau-b of a metric's values (n,), more = worse, and mean errors (n,). Unscored pairs (NaN)
    weigh nothing."""
    scored = ~np.isnan(values)
    return with_interval(tau_b(values[scored], errors[scored], weights[:, scored]))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One rater against the mean of the others, and a judge against the same mean.

    Each statistic is (1 + resamples,). `p` is the paired t-test of the two absolute differences,
    two-sided, as in the paper: it takes pairs for independent, which those of one study are not.
    """

    rater: str
    mad: Array
    tau: Array
    judge_mad: Array | None = None
    judge_tau: Array | None = None
    p: float | None = None


def leave_one_out(
    errors: Array, raters: tuple[str, ...], weights: Array, judge: Array | None = None
) -> list[LeftOut]:
    """Every rater against the mean of the other raters.

    errors: (n, m) counts; judge: (n,) or None. MAD of rater r is the mean over pairs of
    |e_r − mean of the others|; the judge's uses the same mean and the same pairs, those that it
    scored. tau-b likewise: a rater against the others, the judge against the same others.
    """
    scored = np.ones(len(errors), bool) if judge is None else ~np.isnan(judge)
    errors, weights = errors[scored], weights[:, scored]
    found = []
    for r, rater in enumerate(raters):
        others = np.delete(errors, r, axis=1).mean(axis=1)
        own = np.abs(errors[:, r] - others)
        mad, tau = weighted_mean(own, weights), tau_b(errors[:, r], others, weights)
        if judge is None:
            found.append(LeftOut(rater, mad, tau))
            continue
        theirs = np.abs(judge[scored] - others)
        judge_mad = weighted_mean(theirs, weights)
        judge_tau = tau_b(judge[scored], others, weights)
        found.append(LeftOut(rater, mad, tau, judge_mad, judge_tau, paired_t(theirs, own)))
    return found


def paired_t(a: Array, b: Array) -> float | None:
    """Two-sided p of the paired t-test; None without pairs, or where every difference is equal."""
    from scipy.stats import ttest_rel

    if len(a) < 2 or np.ptp(a - b) == 0:
        return None
    return float(ttest_rel(a, b).pvalue)
