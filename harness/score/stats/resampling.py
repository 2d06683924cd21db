"""Computes bootstrap intervals from additive rows, with NumPy.

Every score is a function of a sum of rows. So a bootstrap replicate is that function of `w @ rows`
with integer weights w, and all replicates of all columns are one matrix product W @ rows
(W: resamples × n). Every metric and every model of a cohort uses the same W, which keeps
comparisons paired.

Recipes (agreement is tested):
    scipy      indices RandomState(seed).randint(0, n, (resamples, n)), linear quantiles: equal to
               scipy.stats.bootstrap(method="percentile", random_state=seed). The default.
    bca        the same resamples, bias-corrected and accelerated quantiles: equal to
               scipy.stats.bootstrap(method="BCa") (B. Efron, JASA 82:171, 1987). The default of
               the protocol `reportcard`: it held its promise best (docs/statistics.md).
    sacrebleu  indices default_rng(seed).choice(n, (resamples, n)); half width between the sorted
               replicates n//40 and n − n//40 − 1 around their mean, as sacreBLEU prints it.
With several studies of one patient, patients are drawn instead of studies (cluster bootstrap).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from reportcard.api import Array

Scores = Callable[[Array], dict[str, Array]]
Recipe = Literal["scipy", "bca", "sacrebleu"]
Centre = Literal["point", "median"]
Clusters = npt.NDArray[np.int64]
BLOCK_BYTES = 64 * 2**20  # size of a block of W or of a swap mask
NORMAL = NormalDist()
KEEP_BYTES = 256 * 2**20  # a W up to this size is drawn once and kept


@dataclass(frozen=True)
class Resampler:
    """Bootstrap weights for n studies, drawn once and shared by metrics and models.

    clusters  the number of each study's patient, 0..c−1; None: one study per patient
    """

    n: int
    resamples: int = 500
    seed: int = 0
    clusters: Clusters | None = None
    recipe: Recipe = "scipy"

    @property
    def unit(self) -> str:
        """What is drawn: "study", or "patient" where a patient has several studies."""
        return "study" if self.clusters is None else "patient"

    @cached_property
    def units(self) -> int:
        """How many studies or patients there are to draw from."""
        return self.n if self.clusters is None else int(self.clusters.max()) + 1

    def without_each(self, rows: Array) -> Iterator[Array]:
        """The sums without one study (patient) each, for the jackknife: (n, k) → blocks (b, k)."""
        total = rows.sum(axis=0)
        if self.clusters is not None:
            of_unit = np.zeros((self.units, rows.shape[1]))
            np.add.at(of_unit, self.clusters, rows)
            rows = of_unit
        height = max(1, BLOCK_BYTES // (8 * rows.shape[1]))
        for start in range(0, len(rows), height):
            yield total - rows[start : start + height]

    def swap_masks(self, trials: int, width: int = 1) -> Iterator[Array]:
        """Draw what a randomisation test swaps: blocks of (trials, n), 1 where a study is swapped.

        Each unit is swapped with probability 1/2; studies of one patient are swapped together.
        width: columns of the rows that a mask is multiplied with, which also limits a block.
        """
        rng = np.random.default_rng(self.seed)
        height = max(1, BLOCK_BYTES // (8 * max(self.n, width)))
        for start in range(0, trials, height):
            shape = (min(height, trials - start), self.units)
            yield self._per_study(rng.integers(0, 2, shape, dtype=np.int8)).astype(np.float64)

    def totals(self, rows: Array) -> Array:
        """Compute the replicate sums W @ rows: (n, k) → (resamples, k)."""
        return np.concatenate([block @ rows for block in self.blocks()])

    @property
    def weights(self) -> Array:
        """W itself, (resamples, n): how often each study is in each resample."""
        return np.concatenate(list(self.blocks()))

    def blocks(self) -> Iterator[Array]:
        """Yield W in blocks of resamples."""
        if self.resamples * self.n * 8 <= KEEP_BYTES:
            yield self._kept
        else:
            yield from self._draw()

    @cached_property
    def _kept(self) -> Array:
        return np.concatenate(list(self._draw()))

    def _draw(self) -> Iterator[Array]:
        """Yield blocks of W. Drawing by blocks consumes the same random stream as one draw."""
        units = self.units
        height = max(1, BLOCK_BYTES // (8 * self.n))
        legacy = np.random.RandomState(self.seed)
        modern = np.random.default_rng(self.seed)
        for start in range(0, self.resamples, height):
            b = min(height, self.resamples - start)
            if self.recipe in ("scipy", "bca"):
                drawn = legacy.randint(0, units, (b, units))
            else:
                drawn = modern.choice(units, (b, units))
            drawn += np.arange(b)[:, None] * units
            weights = np.bincount(drawn.ravel(), minlength=b * units).reshape(b, units)
            yield self._per_study(weights).astype(np.float64)

    def _per_study(self, per_unit: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Give each study the column of its patient: (b, units) → (b, n)."""
        return per_unit if self.clusters is None else per_unit[:, self.clusters]


@dataclass(frozen=True)
class Subgroup:
    """The resamples of a whole cohort, restricted to some of its studies.

    A subgroup's size varies from resample to resample, as it would from cohort to cohort, and
    subgroups, metrics and models stay paired.

    studies  the places of the subgroup's studies in the cohort
    """

    whole: Resampler
    studies: npt.NDArray[np.int64]

    @property
    def recipe(self) -> Recipe:
        return self.whole.recipe

    def without_each(self, rows: Array) -> Iterator[Array]:
        """The sums without one study (patient) of the subgroup each: (len(studies), k)."""
        own = None if self.whole.clusters is None else self.whole.clusters[self.studies]
        clusters = None if own is None else np.unique(own, return_inverse=True)[1].astype(np.int64)
        yield from Resampler(len(self.studies), clusters=clusters).without_each(rows)

    def totals(self, rows: Array) -> Array:
        """Compute replicate sums of the subgroup's rows: (len(studies), k) → (resamples, k)."""
        return np.concatenate([b[:, self.studies] @ rows for b in self.whole.blocks()])


def clusters_of(patients: Sequence[str]) -> Clusters | None:
    """Number patients in the order of first appearance; None when each has one study."""
    numbers: dict[str, int] = {}
    found = np.array([numbers.setdefault(p, len(numbers)) for p in patients], np.int64)
    return None if len(numbers) == len(patients) else found


def mask_unscored(rows: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Set unscored rows, which hold a NaN, to zero; also return which: (…, k) → (…, k), (…)."""
    unscored = np.asarray(np.isnan(rows).any(axis=-1), np.bool_)
    if not unscored.any():  # spares a copy of what may be a million rows
        return rows, unscored
    return np.where(unscored[..., None], 0.0, rows), unscored


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score with its interval. `spread`: standard deviation over draws, if there are several."""

    value: float
    low: float
    high: float
    spread: float | None = None


def estimate(
    rows: Array,
    scores: Scores,
    resampler: Resampler | Subgroup,
    confidence: float = 0.95,
    centre: Centre = "point",
) -> dict[str, Estimate]:
    """Compute scores and their intervals. A score is the mean over draws; so is each replicate.

    Args:
        rows: (draws, n, k), unscored rows already zero.
        scores: turns summed rows into the metric's keys.
        resampler: the bootstrap weights. The recipe "sacrebleu" gives mean ± half width.
        confidence: of the interval.
        centre: "point": the value is the score of the data. "median": it is the median of the
            replicates, which LLaVA-Rad and MAIRA-2 print.
    """
    points = scores(rows.sum(axis=1))
    replicates = replicate_scores(rows, scores, resampler)
    draws, tail = rows.shape[0], (1 - confidence) / 2
    bca = resampler.recipe == "bca"
    speeds = accelerations(rows, scores, resampler) if bca else {}
    found = {}
    for name, values in points.items():
        if resampler.recipe == "sacrebleu":
            mean, half = sacrebleu_interval(replicates[name])
            low, high = mean - half, mean + half
        else:
            at = [tail, 1 - tail]
            if bca:
                at = bca_levels(replicates[name], float(np.mean(values)), speeds[name], at)
            low, high = quantiles(replicates[name], at)
        spread = float(np.std(values, ddof=1)) if draws > 1 else None
        value = np.mean(values) if centre == "point" else quantiles(replicates[name], [0.5])[0]
        found[name] = Estimate(float(value), float(low), float(high), spread)
    return found


def accelerations(rows: Array, scores: Scores, resampler: Resampler | Subgroup) -> dict[str, float]:
    """Per key the acceleration of the BCa interval."""
    found = jackknife_scores(rows, scores, resampler)
    return {name: acceleration(values) for name, values in found.items()}


def acceleration(values: Array) -> float:
    """The acceleration of the BCa interval: the skewness of the jackknife values / 6."""
    influence = values[~np.isnan(values)]
    influence = influence.mean() - influence if len(influence) else influence
    spread = float((influence**2).sum())
    return float((influence**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0


def jackknife_scores(
    rows: Array, scores: Scores, resampler: Resampler | Subgroup
) -> dict[str, Array]:
    """The scores without one study (patient) each: (draws, n, k) → (units,) per key."""
    draws, n, k = rows.shape
    flat = np.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(n, draws * k)
    parts = [
        {name: values.mean(axis=1) for name, values in scores(block.reshape(-1, draws, k)).items()}
        for block in resampler.without_each(flat)
    ]
    return (
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    )


def bca_levels(
    replicates: Array, point: float, acceleration: float, at: Sequence[float]
) -> list[float]:
    """The quantiles that a BCa interval reads instead of those in `at`.

    They stay as they are where all replicates lie on one side of the point, or none differs.
    """
    defined = replicates[~np.isnan(replicates)]
    if not len(defined) or math.isnan(point):
        return list(at)
    below = float((defined < point).sum() + (defined <= point).sum()) / (2 * len(defined))
    if not 0 < below < 1:
        return list(at)
    bias = NORMAL.inv_cdf(below)
    levels = []
    for level in at:
        z = bias + NORMAL.inv_cdf(level)
        levels.append(NORMAL.cdf(bias + z / (1 - acceleration * z)))
    return levels


def replicate_scores(
    rows: Array, scores: Scores, resampler: Resampler | Subgroup
) -> dict[str, Array]:
    """Compute bootstrap replicates per key, averaged over draws: (draws, n, k) → (resamples,)."""
    draws, n, k = rows.shape
    flat = np.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(n, draws * k)
    totals = resampler.totals(flat).reshape(-1, draws, k)
    return {name: values.mean(axis=1) for name, values in scores(totals).items()}


def quantiles(replicates: Array, at: list[float]) -> Array:
    """Return linear quantiles of the replicates that have a score, as RadFact's nanquantile does.

    A ratio has no score in a resample with nothing to count (no boxes). NaN if no replicate has.
    """
    defined = replicates[~np.isnan(replicates)]
    return np.quantile(defined, at) if len(defined) else np.full(len(at), np.nan)


def sacrebleu_interval(replicates: Array) -> tuple[float, float]:
    """Return (mean, half width) of replicates as sacreBLEU's BLEUScore prints them."""
    n = len(replicates)
    ordered = np.sort(replicates)
    half = 0.5 * (ordered[n - n // 40 - 1] - ordered[n // 40])
    return float(replicates.mean()), float(half)
