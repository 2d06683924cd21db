"""Computes how many studies a difference needs, and what a cohort can show, for `power`.

The variance comes from rows that were scored: of the difference between two systems, or of one
system alone where the other does not exist yet. One system does not say how closely the scores of
the two will agree on the same studies. With the correlation r of their scores over resamples, the
variance of the difference is 2·(1 − r) times that of one system (equal variances); r = 0 is the
cautious choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from reportcard.analysis.paired_comparison import compare_runs, keys_of, saved_scores
from reportcard.api import Json, ReportCardError
from reportcard.score.rows_file import load_rows
from reportcard.score.scorer import Scorer
from reportcard.score.stats.effect_size import FEWEST, detectable, power, studies_needed
from reportcard.score.stats.paired_difference import standard_error
from reportcard.score.stats.resampling import Resampler, mask_unscored, replicate_scores

SIZES = (0.25, 0.5, 1, 2, 4, 10)


@dataclass(frozen=True, slots=True)
class Plan:
    """The power analysis of one key: a true difference, and its standard error with n studies.

    `assumed` says where the variance comes from.
    """

    key: str
    direction: str
    difference: float
    se: float
    n: int
    assumed: str

    def needed(self, wanted: float) -> int | None:
        """Return the studies that a test with this power needs; None for a difference of 0."""
        return studies_needed(self.difference, self.se, self.n, wanted)

    def power_at(self, n: int) -> float:
        """Return the power of a test on n studies."""
        return power(self.difference, self.se * math.sqrt(self.n / n))

    def detectable(self, wanted: float) -> float:
        """Return the smallest difference that this cohort shows with the wanted power."""
        return detectable(self.se, wanted)

    @property
    def curve(self) -> list[tuple[int, float]]:
        """The power at some numbers of studies: (n, power)."""
        sizes = {max(FEWEST, round(self.n * size)) for size in SIZES}
        return [(n, self.power_at(n)) for n in sorted(sizes)]

    def to_json(self) -> Json:
        """Return what `power --json` writes of the key."""
        return {
            "key": self.key,
            "direction": self.direction,
            "difference": self.difference,
            "se": self.se,
            "n": self.n,
            "power": self.power_at(self.n),
            "studies_80": self.needed(0.8),
            "studies_90": self.needed(0.9),
            "detectable_80": self.detectable(0.8),
            "detectable_90": self.detectable(0.9),
            "curve": [list(point) for point in self.curve],
            "assumed": self.assumed,
        }


def plan_pair(
    pair: tuple[Path, Path],
    scorers: Sequence[Scorer],
    only: str | None,
    difference: float | None = None,
) -> list[Plan]:
    """Plan for two systems that were scored: one plan per key.

    Args:
        pair: their score folders.
        scorers: the metrics.
        only: one key or metric; None: the headline keys.
        difference: the difference to detect, instead of the observed one.
    """
    found = compare_runs(pair, scorers, only, trials=1)  # its p is not used
    plans = [
        Plan(
            one.key,
            one.direction,
            one.difference.value,
            one.difference.se,
            one.difference.n,
            "variance of the paired difference, as observed",
        )
        for one in found.keys
    ]
    return plans if difference is None else [replace(p, difference=difference) for p in plans]


def plan_one(
    folder: Path,
    scorers: Sequence[Scorer],
    only: str | None,
    difference: float,
    correlation: float = 0.0,
) -> list[Plan]:
    """Plan for one system that was scored and another that does not exist yet.

    Args:
        folder: the score folder of the first.
        scorers: the metrics.
        only: one key or metric; None: the headline keys.
        difference: the difference to detect.
        correlation: how closely the two systems' scores are assumed to agree over resamples.
    """
    if not -1 < correlation < 1:
        raise ReportCardError(f"--correlation is between -1 and 1, not {correlation}.")
    plans = []
    for scorer, names in keys_of(scorers, only):
        if scorer.metric.spec.boxes and not (folder / scorer.label).is_dir():
            continue
        saved = saved_scores(folder / scorer.label, scorer)
        if saved.not_run is not None:
            continue
        _, rows, clusters = load_rows(folder / scorer.label)
        scored, unscored = mask_unscored(rows)
        gone = np.asarray(unscored.any(axis=0))
        stats = saved.recipe
        sampler = Resampler(rows.shape[1], stats.resamples, stats.seed, clusters)
        scored = np.where(gone[None, :, None], 0.0, scored)
        found = replicate_scores(scored, scorer.scores_of_sample(scored), sampler)
        assumed = f"variance of the one system, correlation {correlation:g} with the other"
        for name, key in names.items():
            se = standard_error(found[key]) * math.sqrt(2 * (1 - correlation))
            if math.isfinite(se):
                direction = scorer.metric.spec.keys[key].direction
                n = int((~gone).sum())
                plans.append(Plan(name, direction, difference, se, n, assumed))
    if not plans:
        raise ReportCardError(f"No key '{only}' with a score in {folder}." if only else
                              f"No metric has a score in {folder}.")  # fmt: skip
    return plans
