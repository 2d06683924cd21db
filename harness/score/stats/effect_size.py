"""Computes effect sizes, power, and the number of studies that a difference needs.

Effect size, per key of a paired comparison:
    per study   the key is a mean of per-study values (ROUGE-L, CIDEr, RadGraph F1): the mean of the
                differences over their standard deviation, Cohen's d_z (J. Cohen, Statistical Power
                Analysis, 2nd ed. 1988, section 2.3; D. Lakens, Front. Psychol. 4:863, 2013)
    corpus      the key is a ratio or a product of sums (BLEU, micro and macro F1), so a study has
                no value: difference / (√n · SE), with the bootstrap standard error SE of the
                difference (B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993,
                chapter 6). √n · SE is the standard deviation of one study's influence, so for a
                mean the two definitions agree up to the noise of the bootstrap; for clustered
                studies it also contains the design effect.

Power is the normal approximation of a two-sided test: Δ̂ ~ N(Δ, SE²·n₀/n), where SE is that of n₀
studies. Where patients have several studies, SE comes from resampled patients, and n counts studies
of patients with as many studies each as here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from reportcard.api import Array
from reportcard.score.stats.paired_difference import Difference, in_common
from reportcard.score.stats.resampling import Scores

ALPHA, POWER = 0.05, 0.8
# With fewer studies no sign pattern of a randomisation test is rare enough: 2 / 2**5 > 0.05.
FEWEST = 6
PROBES = 16
NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Effect:
    """An effect size, in standard deviations of one study's difference.

    size  None where the difference does not vary
    """

    size: float | None
    kind: Literal["per study", "corpus"]


def effects(a: Array, b: Array, scores: Scores, found: dict[str, Difference]) -> dict[str, Effect]:
    """Compute the effect size of each key of a comparison.

    Args:
        a, b: the rows that were compared, (draws, n, k), a NaN row is unscored.
        scores: turns summed rows into the metric's keys.
        found: what `paired_difference.compare` found for them.
    """
    scored = ~(np.isnan(a).any(axis=(0, 2)) | np.isnan(b).any(axis=(0, 2)))
    a, b, _ = in_common(a, b)
    left, right = (_per_study(x[:, scored], scores) for x in (a, b))
    return {name: _effect(d, left.get(name), right.get(name)) for name, d in found.items()}


def _effect(found: Difference, a: Array | None, b: Array | None) -> Effect:
    if a is not None and b is not None and len(a) > 1:
        return Effect(_ratio(found.value, float((a - b).std(ddof=1))), "per study")
    return Effect(_ratio(found.value, math.sqrt(found.n) * found.se), "corpus")


def _ratio(difference: float, deviation: float) -> float | None:
    # A deviation in the size of rounding errors counts as none.
    size = difference / deviation if deviation > 1e-12 * max(1.0, abs(difference)) else math.nan
    return size if math.isfinite(size) else None


def _per_study(rows: Array, scores: Scores) -> dict[str, Array]:
    """Return the per-study values (n,), averaged over draws, of the keys that are means of them.

    A metric does not say which of its keys are means. So resamples are drawn: a key is a mean if
    the score of every resample is the mean of its studies' scores.
    """
    n = rows.shape[1]
    if not n:
        return {}
    with np.errstate(all="ignore"):
        alone = scores(rows)
        weights = np.random.default_rng(0).integers(0, 3, (PROBES, n)).astype(np.float64)
        weights[:, 0] += 1  # so that no resample is empty
        resampled = scores(np.einsum("wn,dnk->wdk", weights, rows))
        means = {
            name: np.einsum("wn,dn->wd", weights, values) / weights.sum(axis=1)[:, None]
            for name, values in alone.items()
        }
    return {
        name: values.mean(axis=0)
        for name, values in alone.items()
        if np.allclose(means[name], resampled[name], rtol=1e-9, atol=1e-12)
    }


def power(difference: float, se: float) -> float:
    """Return the chance that a two-sided test at 5 % rejects, given the true difference."""
    if se <= 0:
        return 1.0 if difference else ALPHA
    shift, z = abs(difference) / se, NORMAL.inv_cdf(1 - ALPHA / 2)
    return NORMAL.cdf(shift - z) + NORMAL.cdf(-shift - z)


def studies_needed(difference: float, se: float, n: int, wanted: float = POWER) -> int | None:
    """Return how many studies a test needs for the wanted power.

    None where the difference is 0 or undefined, so that no number of studies can confirm it.

    Args:
        difference: the true difference.
        se: its standard error with n studies.
        n: studies.
        wanted: the power.
    """
    if not (math.isfinite(difference) and math.isfinite(se)) or not difference:
        return None
    ratio = _reach(wanted) * se / abs(difference)
    return max(FEWEST, math.ceil(n * ratio**2))


def detectable(se: float, wanted: float = POWER) -> float:
    """Return the smallest difference that a test with this standard error finds."""
    return _reach(wanted) * se


def _reach(wanted: float) -> float:
    """Return z(1 − α/2) + z(power); the other tail adds less than 1e-6 from a power of 80 % on."""
    return NORMAL.inv_cdf(1 - ALPHA / 2) + NORMAL.inv_cdf(wanted)
