"""Places each value between the best floor (0) and the ceiling (1) of its column.

    skill = (value − floor) / (ceiling − floor)

0.0 is what a system reaches that has learnt nothing, 1.0 what the reference itself reaches, and
below 0 is worse than the best floor. The formula holds for keys where lower is better too, so skill
is the one scale on which columns and cohorts compare. (In meteorology it is the skill score: D.
Wilks, Statistical Methods in the Atmospheric Sciences, 4th ed. 2019, section 9.1.4.)

The interval is of the whole ratio: value, floor and ceiling are computed on the same resamples of
the studies, which keeps what they have in common, as in the interval of a difference. It is drawn
by the recipe of the scores' own intervals where that is `bca`, else it is the percentile interval.
Only studies that the system, the floor and the ceiling all have scored count.

The best floor is chosen once, by its value on the cohort, and not again in a resample. Skill is
undefined without a floor, without a ceiling, and where the ceiling is not better than the floor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from reportcard.api import Array
from reportcard.publish.board.boards import Board, Column, Entry, Interval, KeySkill, Skill
from reportcard.publish.board.comparison import (
    ROUNDING,
    Comparison,
    NotComparableError,
    PreparedComparison,
    Samplers,
    last_build,
)
from reportcard.score.scorer import Scorer, doubts_of
from reportcard.score.stats.resampling import (
    acceleration,
    bca_levels,
    jackknife_scores,
    quantiles,
    replicate_scores,
)

Ends = tuple[str, str]  # the entries that are 0 and 1
VERSION = 1  # of this computation
SENTENCE = (
    "Skill: (value − floor) / (ceiling − floor), so 0 is the best floor of the column, 1 is the"
    " reference itself, and below 0 is worse than the floor; the interval resamples all three"
    " together."
)


@dataclass(frozen=True, slots=True)
class _Scale:
    """The entries that are 0 and 1 in a column."""

    column: Column
    floor: Entry
    ceiling: Entry


@dataclass(frozen=True, slots=True)
class Sampled:
    """The score of an entry: of the cohort, of each resample, and without each study."""

    point: float
    replicates: Array
    without: Array

    def placed(self, floor: Sampled, ceiling: Sampled, sign: int) -> Sampled:
        """Return the skill of this score. NaN where the ceiling is not better than the floor.

        sign: 1 where higher is better, −1 where lower is.
        """

        def ratio(value: Array, low: Array, high: Array) -> Array:
            room = np.where(sign * (high - low) > ROUNDING, high - low, np.nan)
            return np.asarray((value - low) / room)

        point = ratio(*(np.array(part.point) for part in (self, floor, ceiling)))
        return Sampled(
            float(point),
            ratio(self.replicates, floor.replicates, ceiling.replicates),
            ratio(self.without, floor.without, ceiling.without),
        )


def with_skill(
    results_dir: Path, boards: Sequence[Board], scorers: Sequence[Scorer] = (), cached: bool = True
) -> list[Board]:
    """Return the boards with `skill` of their headline columns and of the primary one.

    Arguments and errors are those of `with_ties`.
    """
    saved = last_build(results_dir) if cached else {}
    found = []
    for board in boards:
        last = saved.get(board.id)
        skill = _skill_of(results_dir, board, (last.skill if last else None) or {}, scorers)
        found.append(replace(board, skill=skill))
    return found


def _skill_of(
    results_dir: Path, board: Board, known: Mapping[str, KeySkill], scorers: Sequence[Scorer]
) -> dict[str, KeySkill]:
    shown = [c for c in board.columns if c.headline or c.key == board.primary]
    samplers = Samplers()
    found: dict[str, KeySkill] = {}
    for metric in dict.fromkeys(column.metric for column in shown):
        columns = [column for column in shown if column.metric == metric]
        scales = []
        for column in columns:
            scale = _scale(column, board.entries)
            if isinstance(scale, _Scale):
                scales.append(scale)
            else:
                found[column.key] = KeySkill(unknown=scale)
        if scales:
            found |= _metric_skill(results_dir, board, scales, known, scorers, samplers)
    return {column.key: found[column.key] for column in shown}


def _scale(column: Column, entries: Sequence[Entry]) -> _Scale | str:
    """Return the best floor and the best ceiling of a column, or why it has no skill."""
    ends = {}
    for kind in ("floor", "ceiling"):
        rated = [
            (column.sign * value, entry.model, entry)
            for entry in entries
            if entry.kind == kind
            and entry.has_score(column)
            and (value := entry.cells[column.key].value) is not None
        ]
        if not rated:
            return f"no {kind} has a score"
        ends[kind] = min(rated)
    if ends["floor"][0] - ends["ceiling"][0] <= ROUNDING:
        return "the ceiling is not better than the best floor"
    return _Scale(column, ends["floor"][2], ends["ceiling"][2])


def _metric_skill(
    results_dir: Path,
    board: Board,
    scales: Sequence[_Scale],
    known: Mapping[str, KeySkill],
    scorers: Sequence[Scorer],
    samplers: Samplers,
) -> dict[str, KeySkill]:
    """Return the skill of one metric's columns, from the last build where nothing has changed."""
    columns = [scale.column for scale in scales]
    entries = [e for e in board.entries if any(e.has_score(column) for column in columns)]
    comparison = Comparison.of(results_dir, board, columns[0], entries)
    inputs = comparison.inputs(
        skill=VERSION,
        scales=[[s.column.key, s.column.direction, s.floor.model, s.ceiling.model] for s in scales],
    )
    if all(key in known and known[key].inputs == inputs for key in (c.key for c in columns)):
        return {column.key: known[column.key] for column in columns}
    try:
        prepared = comparison.prepare(scorers, samplers)
    except NotComparableError as error:
        return {column.key: KeySkill(unknown=str(error)) for column in columns}
    names = [column.name for column in columns]
    sampler = SkillSampler(prepared, names, comparison.stats.recipe == "bca")
    found = {}
    for scale in scales:
        rated = [entry for entry in entries if entry.has_score(scale.column)]
        found[scale.column.key] = KeySkill(
            inputs=inputs,
            floor=scale.floor.model,
            floor_value=scale.floor.cells[scale.column.key].value,
            ceiling=scale.ceiling.model,
            ceiling_value=scale.ceiling.cells[scale.column.key].value,
            systems={
                entry.model: skill
                for entry in rated
                if (skill := _skill(entry, scale, sampler)) is not None
            },
        )
    return found


class SkillSampler:
    """Computes scores of entries on the studies that they, the floor and the ceiling have scored.

    names: the metric's keys. bca: also compute the scores without each study, which that interval
    needs.
    """

    def __init__(self, prepared: PreparedComparison, names: Sequence[str], bca: bool) -> None:
        self.prepared, self.names, self.bca = prepared, names, bca
        self.scores = prepared.scores
        self.unscored = {
            model: np.asarray(np.isnan(rows).any(axis=(0, 2)))
            for model, rows in prepared.rows.items()
        }
        self._made: dict[tuple[str, bytes], dict[str, Sampled]] = {}

    def skill(self, model: str, ends: Ends, name: str, sign: int) -> Sampled:
        """Return the skill of an entry: of the cohort, and of each resample.

        Args:
            model: the entry.
            ends: the entries that are 0 and 1, the floor and the ceiling.
            name: the metric's key.
            sign: 1 where higher is better, −1 where lower is.
        """
        masked = self._common(model, ends)
        own, floor, ceiling = (self._sampled(who, masked)[name] for who in (model, *ends))
        return own.placed(floor, ceiling, sign)

    def interval(self, found: Sampled) -> Interval:
        """Return the interval of a skill; NaN where no resample has any."""
        tail = (1 - self.prepared.confidence) / 2
        at = [tail, 1 - tail]
        if self.bca:
            at = bca_levels(found.replicates, found.point, acceleration(found.without), at)
        low, high = quantiles(found.replicates, at)
        return float(low), float(high)

    def doubt(
        self, model: str, ends: Ends, name: str, value: float, interval: Interval
    ) -> str | None:
        """Return why the interval of an entry's skill is unreliable, or None.

        Args:
            model, ends, name: as for `skill`.
            value: the skill.
            interval: its interval.
        """
        rows = np.where(self._common(model, ends)[:, None], np.nan, self.prepared.rows[model])
        found = {name: {"value": value, "ci_low": interval[0], "ci_high": interval[1]}}
        return doubts_of(self.prepared.scorer.metric, rows, found).get(name)

    def _common(self, model: str, ends: Ends) -> Array:
        """Return which studies do not count: the entry, its floor or its ceiling has no score."""
        return np.asarray(np.any([self.unscored[who] for who in (model, *ends)], axis=0))

    def _sampled(self, model: str, masked: Array) -> dict[str, Sampled]:
        place = (model, masked.tobytes())
        if place not in self._made:
            rows = np.where(masked[:, None], 0.0, self.prepared.rows[model])
            points = self._only(rows.sum(axis=1))
            replicates = replicate_scores(rows, self._only, self.prepared.resampler)
            without = dict.fromkeys(self.names, np.empty(0))
            if self.bca:
                without = jackknife_scores(rows, self._only, self.prepared.resampler)
            self._made[place] = {
                name: Sampled(float(np.mean(points[name])), replicates[name], without[name])
                for name in self.names
            }
        return self._made[place]

    def _only(self, totals: Array) -> dict[str, Array]:
        found = self.scores(totals)
        return {name: found[name] for name in self.names}


def _skill(entry: Entry, scale: _Scale, sampler: SkillSampler) -> Skill | None:
    """Return the skill of an entry with its interval; None where it is undefined."""
    ends, column = (scale.floor.model, scale.ceiling.model), scale.column
    if entry.model in ends:
        return Skill(float(ends.index(entry.model)))
    found = sampler.skill(entry.model, ends, column.name, -column.sign)
    if np.isnan(found.point):
        return None
    low, high = sampler.interval(found)
    doubt = sampler.doubt(entry.model, ends, column.name, found.point, (low, high))
    undefined = float(np.isnan(found.replicates).mean())
    if undefined > 0:
        doubt = f"the ceiling is not better than the floor in {undefined:.1%} of the resamples"
    if np.isnan(low) or np.isnan(high):
        return Skill(found.point, doubt=doubt)
    return Skill(found.point, low, high, doubt)
