"""Finds the entries of a column that do not differ significantly from its best entry.

The best entry is the best measured one that is not a ceiling. Another entry is tied with it when
the paired bootstrap interval of their difference (the same resampled studies for both) contains 0.
Overlap of the two entries' own intervals would be the wrong test: it ignores that both were scored
on the same studies.

The intervals go into leaderboard.json under a digest of everything that they depend on, so that a
second build with the same rows resamples nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from reportcard.api import Array
from reportcard.publish.board.boards import (
    Board,
    Cell,
    Column,
    Entry,
    Interval,
    KeyTies,
    MetricTies,
)
from reportcard.publish.board.comparison import (
    ROUNDING,
    Comparison,
    NotComparableError,
    Samplers,
    last_build,
)
from reportcard.score.scorer import Scorer
from reportcard.score.stats.paired_difference import difference_interval, in_common
from reportcard.score.stats.resampling import Resampler, Scores, replicate_scores


def with_ties(
    results_dir: Path, boards: Sequence[Board], scorers: Sequence[Scorer] = (), cached: bool = True
) -> list[Board]:
    """Return the boards with `ties`, and with `best`, `tied_with_best` and `difference` in cells.

    A column whose ties cannot be computed gets `ties_unknown`, a sentence.

    Args:
        results_dir: where the rows are.
        boards: as `boards_of` built them.
        scorers: metrics that are open already; others are opened by name.
        cached: whether to keep what the last build found for the same rows.

    Raises ReportCardError for rows that are not those scored.
    """
    saved = last_build(results_dir) if cached else {}
    return [_with_ties(results_dir, board, saved.get(board.id), scorers) for board in boards]


def _with_ties(
    results_dir: Path, board: Board, saved: Board | None, scorers: Sequence[Scorer]
) -> Board:
    samplers = Samplers()
    known = (saved.ties if saved else None) or {}
    ties: dict[str, MetricTies] = {}
    unknown: dict[str, str] = {}
    shown = [column for column in board.columns if column.headline]
    for metric in dict.fromkeys(column.metric for column in shown):
        columns = [column for column in shown if column.metric == metric]
        try:
            ties[metric] = _metric_ties(
                results_dir, board, columns, known.get(metric), scorers, samplers
            )
        except NotComparableError as error:
            unknown[metric] = str(error)
    keys = {key: found for one in ties.values() for key, found in one.keys.items()}
    marked = {column.key: keys[column.key] for column in shown if column.metric in ties}
    return replace(
        board,
        ties=ties,
        columns=tuple(
            replace(column, ties_unknown=unknown[column.metric])
            if column.headline and column.metric in unknown
            else column
            for column in board.columns
        ),
        entries=tuple(_marked(entry, marked) for entry in board.entries),
    )


def _marked(entry: Entry, keys: Mapping[str, KeyTies]) -> Entry:
    cells = {
        key: _marked_cell(cell, entry.model, keys[key]) if key in keys else cell
        for key, cell in entry.cells.items()
    }
    return replace(entry, cells=cells)


def _marked_cell(cell: Cell, model: str, found: KeyTies) -> Cell:
    best, interval = model == found.best, found.intervals.get(model)
    # An entry that no resample could compare with the best does not differ significantly from it.
    tied = model in found.intervals and (interval is None or _contains_zero(interval))
    difference = interval if interval and not best else None
    return replace(cell, best=best, tied_with_best=best or tied, difference=difference)


def _contains_zero(interval: Interval) -> bool:
    low, high = interval
    return low <= ROUNDING and high >= -ROUNDING


def best_entry(entries: Sequence[Entry], column: Column) -> Entry | None:
    """Return the best measured entry that is not a ceiling; between equals the first by name."""
    rated = [
        (column.sign * value, entry.model, entry)
        for entry in entries
        if entry.competes(column) and (value := entry.cells[column.key].value) is not None
    ]
    return min(rated)[2] if rated else None


def _metric_ties(
    results_dir: Path,
    board: Board,
    columns: Sequence[Column],
    known: MetricTies | None,
    scorers: Sequence[Scorer],
    samplers: Samplers,
) -> MetricTies:
    """Return the ties of one metric's columns. Raises NotComparableError saying why it cannot."""
    entries = [entry for entry in board.entries if any(entry.competes(c) for c in columns)]
    top = {column.key: best_entry(board.entries, column) for column in columns}
    best = {key: entry.model if entry else None for key, entry in top.items()}
    if len(entries) < 2:
        return MetricTies(None, {key: KeyTies(model, {}) for key, model in best.items()})
    comparison = Comparison.of(results_dir, board, columns[0], entries)
    inputs = comparison.inputs(ties=2, best=best)  # 2: the version of this computation
    if known and known.inputs == inputs and set(known.keys) >= set(best):
        return known
    prepared = comparison.prepare(scorers, samplers)
    pairs = _Pairs(
        prepared.rows, prepared.scorer.metric.scores, prepared.resampler, prepared.confidence
    )
    keys = {}
    for column in columns:
        first = best[column.key]
        intervals = {
            entry.model: pairs.interval(entry.model, first, column.name)
            for entry in entries
            if first is not None and entry.competes(column)
        }
        keys[column.key] = KeyTies(first, intervals)
    return MetricTies(inputs, keys)


class _Pairs:
    """Computes paired differences on one metric, over the studies that both entries have scored.

    Entries without unscored studies share their replicates; a pair with some gets its own.
    """

    def __init__(
        self, rows: Mapping[str, Array], scores: Scores, sampler: Resampler, confidence: float
    ) -> None:
        self._rows, self._scores = rows, scores
        self._sampler, self._confidence = sampler, confidence
        self._whole = {m: not np.isnan(matrix).any() for m, matrix in rows.items()}
        self._known: dict[tuple[str, str], tuple[dict[str, Array], dict[str, Array]]] = {}
        self._replicates: dict[str, dict[str, Array]] = {}

    def interval(self, a: str, b: str, key: str) -> Interval | None:
        """Return the interval of a − b, or None where no resample gives both a score."""
        if self._whole[a] and self._whole[b]:
            left, right = self._of(a), self._of(b)
        else:
            if (a, b) not in self._known:
                ours, theirs, _ = in_common(self._rows[a], self._rows[b])
                self._known[a, b] = (
                    replicate_scores(ours, self._scores, self._sampler),
                    replicate_scores(theirs, self._scores, self._sampler),
                )
            left, right = self._known[a, b]
        found = difference_interval(left[key], right[key], self._confidence)
        return (found[0], found[1]) if found else None

    def _of(self, model: str) -> dict[str, Array]:
        if model not in self._replicates:
            found = replicate_scores(self._rows[model], self._scores, self._sampler)
            self._replicates[model] = found
        return self._replicates[model]
