"""Computes how many studies a difference needs, and what a cohort can show, for `power`.

The variance comes from rows that were scored: of the difference between two systems, or of one
system alone where the other does not exist yet. One system does not say how closely the scores of
the two will agree on the same studies. With the correlation r of their scores over resamples, the
variance of the difference is 2·(1 − r) times that of one system (equal variances); r = 0 is the
cautious choice.

What scored studies say is uncertain, most of all the difference that they show. So the answer is
averaged over bootstrap resamples of them and has an interval (score/stats/pilot.py); small pilots
are flagged.
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
from reportcard.score.scorer import Scorer, sample_doubts
from reportcard.score.stats.effect_size import FEWEST, detectable
from reportcard.score.stats.paired_difference import standard_error
from reportcard.score.stats.pilot import Pilot, pilots
from reportcard.score.stats.resampling import Resampler, mask_unscored

SIZES = (0.25, 0.5, 1, 2, 4, 10)


@dataclass(frozen=True, slots=True)
class Plan:
    """The power analysis of one key: a difference, and its standard error with n studies.

    pilot    what the scored studies say of both
    assumed  where the variance comes from
    """

    key: str
    direction: str
    difference: float
    se: float
    n: int
    assumed: str
    pilot: Pilot

    def needed(self, wanted: float) -> int | None:
        """Return the studies that a test with this power needs; None for a difference of 0."""
        return self.pilot.needed(wanted) if self.difference else None

    def interval(self, wanted: float) -> tuple[int, int | None] | None:
        """Return the fewest and the most studies that the pilot leaves open; None: no end."""
        return self.pilot.interval(wanted) if self.difference else None

    def power_at(self, n: int) -> float:
        """Return the power of a test on n studies."""
        return self.pilot.power_at(n)

    def detectable(self, wanted: float) -> float:
        """Return the smallest difference that this cohort shows with the wanted power."""
        return detectable(self.se, wanted)

    @property
    def caution(self) -> str | None:
        """Why the answer should not be planned with; None where nothing is against it."""
        return self.pilot.caution()

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
            "studies_80_interval": self.interval(0.8),
            "studies_90": self.needed(0.9),
            "studies_90_interval": self.interval(0.9),
            "detectable_80": self.detectable(0.8),
            "detectable_90": self.detectable(0.9),
            "curve": [list(point) for point in self.curve],
            "assumed": self.assumed,
            "caution": self.caution,
        }


def check_difference(scorers: Sequence[Scorer], only: str | None, difference: float) -> None:
    """Raise ReportCardError where one --difference is given for scores of several units.

    A difference of 0.01 is large for an F1 from 0 to 1 and nothing for a BLEU from 0 to 100.
    """
    units: dict[str, list[str]] = {}
    for scorer, names in keys_of(scorers, only):
        for name, key in names.items():
            spec = scorer.metric.spec.keys[key]
            low, high = spec.low, spec.high
            within = "" if low is None or high is None else f" from {low:g} to {high:g}"
            units.setdefault(f"{spec.unit}{within}", []).append(name)
            if low is not None and high is not None and abs(difference) > high - low:
                raise ReportCardError(
                    f"--difference {difference:g} is more than {name} can differ: it goes from"
                    f" {low:g} to {high:g}."
                )
    if len(units) > 1:
        listed = "; ".join(
            f"{unit}: {names[0]}" + (f" and {len(names) - 1} more" if names[1:] else "")
            for unit, names in units.items()
        )
        raise ReportCardError(
            f"--difference {difference:g} is in the unit of a score, and these have several"
            f" ({listed}). Say which is meant: --metric {next(iter(units.values()))[0]}"
        )


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
            one.pilot,
        )
        for one in found.keys
    ]
    if difference is None:
        return plans
    return [replace(p, difference=difference, pilot=p.pilot.at(difference)) for p in plans]


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
        n = int((~gone).sum())
        doubts = sample_doubts(scorer.metric, scored)
        found = pilots(scored, None, scorer.scores_of_sample(scored), sampler, n, doubts)
        assumed = f"variance of the one system, correlation {correlation:g} with the other"
        for name, key in names.items():
            pilot = found[key]
            se = standard_error(pilot.differences) * math.sqrt(2 * (1 - correlation))
            if math.isfinite(se):
                direction = scorer.metric.spec.keys[key].direction
                pilot = pilot.at(difference).assuming(correlation)
                plans.append(Plan(name, direction, difference, se, n, assumed, pilot))
    if not plans:
        raise ReportCardError(f"No key '{only}' with a score in {folder}." if only else
                              f"No metric has a score in {folder}.")  # fmt: skip
    return plans
