"""`reportcard power`: how many studies a difference takes, and what this cohort could show.

The variance comes from rows that were scored: of the difference between two systems, or of one
system alone, where the other is still to be built. One alone does not say how much the two will go
together on the same studies; with the correlation r of their scores over resamples, the variance
of the difference is 2·(1 − r) times that of one (equal variances), and r = 0 is the cautious end.
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
from reportcard.score.stats.resampling import (
    Resampler,
    mask_unscored,
    replicate_scores,
    standard_error,
)

SIZES = (0.25, 0.5, 1, 2, 4, 10)


@dataclass(frozen=True, slots=True)
class Plan:
    """One key: a true difference, and the standard error that n studies give it."""

    key: str
    direction: str
    difference: float
    se: float
    n: int
    assumed: str

    def needed(self, wanted: float) -> int | None:
        return studies_needed(self.difference, self.se, self.n, wanted)

    def power_at(self, n: int) -> float:
        return power(self.difference, self.se * math.sqrt(self.n / n))

    @property
    def curve(self) -> list[tuple[int, float]]:
        sizes = {max(FEWEST, round(self.n * size)) for size in SIZES}
        return [(n, self.power_at(n)) for n in sorted(sizes)]

    def to_json(self) -> Json:
        return {
            "key": self.key,
            "direction": self.direction,
            "difference": self.difference,
            "se": self.se,
            "n": self.n,
            "power": self.power_at(self.n),
            "studies_80": self.needed(0.8),
            "studies_90": self.needed(0.9),
            "detectable_80": detectable(self.se, 0.8),
            "detectable_90": detectable(self.se, 0.9),
            "curve": [list(point) for point in self.curve],
            "assumed": self.assumed,
        }


def plan_pair(
    pair: tuple[Path, Path],
    scorers: Sequence[Scorer],
    only: str | None,
    difference: float | None = None,
) -> list[Plan]:
    """One plan per key that two rows share; difference: instead of the one observed."""
    found = compare_runs(pair, scorers, only, trials=1)  # its p is not used
    plans = [
        Plan(
            row.key,
            row.direction,
            row.difference.value,
            row.difference.se,
            row.difference.n,
            "variance of the paired difference, as observed",
        )
        for row in found.rows
    ]
    return plans if difference is None else [replace(p, difference=difference) for p in plans]


def plan_one(
    folder: Path,
    scorers: Sequence[Scorer],
    only: str | None,
    difference: float,
    correlation: float = 0.0,
) -> list[Plan]:
    """One plan per key of a row against a system that is not there yet."""
    if not -1 < correlation < 1:
        raise ReportCardError(f"--correlation is between -1 and 1, not {correlation}.")
    plans = []
    for scorer, names in keys_of(scorers, only):
        if scorer.metric.spec.boxes and not (folder / scorer.label).is_dir():
            continue
        saved = saved_scores(folder / scorer.label, scorer)
        if "not_run" in saved:
            continue
        _, rows, clusters = load_rows(folder / scorer.label)
        scored, unscored = mask_unscored(rows)
        gone = np.asarray(unscored.any(axis=0))
        stats = saved["stats"]
        sampler = Resampler(rows.shape[1], stats["resamples"], stats["seed"], clusters)
        found = replicate_scores(
            np.where(gone[None, :, None], 0.0, scored), scorer.metric.scores, sampler
        )
        assumed = f"variance of the one row, correlation {correlation:g} with the other"
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
