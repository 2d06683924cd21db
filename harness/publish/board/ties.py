"""Finds the entries of a column that do not differ significantly from its best entry.

The best entry is the best measured model; a ceiling and a floor are never it. Another entry is tied
with it unless the verdict on the two is that they differ (verdicts.py): the page's marks say what
its matrix and `compare` say. The paired bootstrap interval of the difference is shown beside it,
without multiple-testing correction. Overlap of the two entries' own intervals would be the wrong
test: it ignores that both were scored on the same studies.

The tests go into leaderboard.json under a digest of everything that they depend on, so that a
second build with the same rows tests nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from reportcard.core.files import digest
from reportcard.publish.board.boards import (
    Board,
    Cell,
    Column,
    Entry,
    Interval,
    KeyTies,
    MetricTies,
)
from reportcard.publish.board.comparison import NotComparableError, Samplers, last_build
from reportcard.publish.board.verdicts import systems_to_test
from reportcard.score.scorer import Scorer
from reportcard.score.stats.pairwise import PairTest


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
    tied = model in found.intervals and model not in found.apart
    difference = interval if interval and not best else None
    return replace(cell, best=best, tied_with_best=best or tied, difference=difference)


def best_entry(entries: Sequence[Entry], column: Column) -> Entry | None:
    """Return the best measured model; between equals the first by name. Floors do not compete."""
    rated = [
        (column.sign * value, entry.model, entry)
        for entry in entries
        if entry.kind != "floor"
        and entry.competes(column)
        and (value := entry.cells[column.key].value) is not None
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
    top = {column.key: best_entry(board.entries, column) for column in columns}
    best = {key: entry.model if entry else None for key, entry in top.items()}
    entries = [entry for entry in board.entries if any(entry.competes(c) for c in columns)]
    if len(entries) < 2:
        return MetricTies(None, {key: KeyTies(model, {}, ()) for key, model in best.items()})
    tested = systems_to_test(results_dir, board, columns)
    inputs = digest([tested.inputs, best])
    if known and known.inputs == inputs and set(known.keys) >= set(best):
        return known
    tests = tested.run(scorers, samplers).tests
    keys = {}
    for column in columns:
        competing = [entry.model for entry in tested.entries if entry.competes(column)]
        keys[column.key] = _ties_with(best[column.key], competing, tests[column.key])
    return MetricTies(inputs, keys)


def _ties_with(best: str | None, systems: Sequence[str], tests: Sequence[PairTest]) -> KeyTies:
    """Return the ties of one key; a system that was not tested with the best is not listed."""
    if best is None or best not in systems:
        return KeyTies(best, {}, ())
    intervals: dict[str, Interval | None] = dict.fromkeys(systems)
    intervals[best] = (0.0, 0.0)
    apart = []
    for test in tests:
        if best in (test.a, test.b):
            of = test if test.b == best else test.turned(test.b, test.a)
            if of.low is not None and of.high is not None:
                intervals[of.a] = (of.low, of.high)
            if of.told_apart:
                apart.append(of.a)
    return KeyTies(best, intervals, tuple(apart))
