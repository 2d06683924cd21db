"""Computes agreement with radiologists' error counts: Kendall's tau-b, and MAD with one rater out.

Resamples draw studies, not pairs: the four candidates of a ReXVal study share a reference, so an
interval over pairs is too narrow. A resample is a vector of integer weights per pair, as in
score/stats/resampling.py. Every statistic here takes weights (1 + resamples, n) whose first row is
all ones: its first value is that of the data, the others are the replicates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reportcard.api import Array
from reportcard.score.stats.resampling import Clusters, Estimate, Resampler


def draw_weights(n: int, resamples: int, seed: int, clusters: Clusters | None) -> Array:
    """Return the weights of the data (ones) and of each resample: (1 + resamples, n).

    Args:
        n: the number of pairs.
        resamples: how many resamples are drawn.
        seed: of the draw.
        clusters: the study of each pair; None: each pair is a study of its own.
    """
    drawn = Resampler(n, resamples, seed, clusters).weights
    return np.vstack([np.ones(n), drawn])


def tau_b(x: Array, y: Array, weights: Array) -> Array:
    """Return Kendall's tau-b of n pairs of numbers, each repeated by its weight (…, n) → (…).

    tau_b = Σ w_i w_j sign(x_i − x_j) sign(y_i − y_j) / sqrt(untied in x · untied in y). Repeats of
    a pair are ties, which add nothing, so this equals scipy.stats.kendalltau of the repeated pairs
    (a test compares them). NaN where either side is constant.
    """
    of_x, of_y = (np.sign(v[:, None] - v[None, :]) for v in (x, y))

    def summed(signs: Array) -> Array:
        total: Array = ((weights @ signs) * weights).sum(axis=-1)
        return total

    signed, scale = summed(of_x * of_y), np.sqrt(summed(np.abs(of_x)) * summed(np.abs(of_y)))
    found: Array = np.divide(signed, scale, out=np.full_like(scale, np.nan), where=scale > 0)
    return found


def weighted_mean(values: Array, weights: Array) -> Array:
    """Return the mean of values (n,) under weights (…, n); NaN where all weights are zero."""
    total = weights.sum(axis=-1)
    sums = weights @ values
    mean: Array = np.divide(sums, total, out=np.full_like(total, np.nan), where=total > 0)
    return mean


def with_interval(statistic: Array, confidence: float = 0.95) -> Estimate:
    """Return the first value of a statistic (1 + resamples,) and the others' percentile interval.

    A replicate without a value (where one side is constant) is left out, as in
    score/stats/resampling.py.
    """
    replicates = statistic[1:][~np.isnan(statistic[1:])]
    tail = (1 - confidence) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail]) if len(replicates) else (np.nan, np.nan)
    return Estimate(float(statistic[0]), float(low), float(high))


def tau_with_interval(values: Array, errors: Array, weights: Array) -> Estimate:
    """Return tau-b of a metric's values (n,), higher = worse, and mean errors (n,).

    Unscored pairs (NaN) are left out.
    """
    scored = ~np.isnan(values)
    return with_interval(tau_b(values[scored], errors[scored], weights[:, scored]))


@dataclass(frozen=True, slots=True)
class JudgeStatistics:
    """A judge against the mean of all raters but one; mad and tau are (1 + resamples,).

    `p` is the two-sided paired t-test between the judge's and the rater's absolute differences, as
    in the LLaVA-Rad paper. It treats pairs as independent, which those of one study are not.
    """

    mad: Array
    tau: Array
    p: float | None


@dataclass(frozen=True, slots=True)
class RaterLeftOut:
    """One rater against the mean of the others, and a judge against the same mean.

    mad and tau are (1 + resamples,).
    """

    rater: str
    mad: Array
    tau: Array
    judge: JudgeStatistics | None = None


def leave_one_out(
    errors: Array, raters: tuple[str, ...], weights: Array, judge: Array | None = None
) -> list[RaterLeftOut]:
    """Compare every rater with the mean of the other raters.

    The MAD of rater r is the mean over pairs of |e_r − mean of the others|. The judge's MAD uses
    the same mean, on the pairs that the judge scored. tau-b likewise compares a rater, and the
    judge, with the mean of the others.

    Args:
        errors: (n, m) counts of m raters.
        raters: their m names.
        weights: (1 + resamples, n).
        judge: (n,) counts of a judge, NaN where unscored, or None.
    """
    scored = np.ones(len(errors), bool) if judge is None else ~np.isnan(judge)
    errors, weights = errors[scored], weights[:, scored]
    found = []
    for r, rater in enumerate(raters):
        others = np.delete(errors, r, axis=1).mean(axis=1)
        own = np.abs(errors[:, r] - others)
        mad, tau = weighted_mean(own, weights), tau_b(errors[:, r], others, weights)
        if judge is None:
            found.append(RaterLeftOut(rater, mad, tau))
            continue
        theirs = np.abs(judge[scored] - others)
        judged = JudgeStatistics(
            mad=weighted_mean(theirs, weights),
            tau=tau_b(judge[scored], others, weights),
            p=paired_t(theirs, own),
        )
        found.append(RaterLeftOut(rater, mad, tau, judged))
    return found


def paired_t(a: Array, b: Array) -> float | None:
    """Return the two-sided p of the paired t-test.

    It is None for fewer than two pairs, and where all differences are equal.
    """
    from scipy.stats import ttest_rel

    if len(a) < 2 or np.ptp(a - b) == 0:
        return None
    return float(ttest_rel(a, b).pvalue)
