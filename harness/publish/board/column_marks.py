"""Decides what a board's columns may claim: which are headlines, and which are led by a floor.

A headline must have a ceiling: the reference, scored as if it were a system's answer, gets the best
possible value, with an interval that holds it. Where it does not (no report of the cohort has one
of the five findings, so that every F1 is 0), the column is no headline of that board.

A column that a floor leads says nothing about models, and is marked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from reportcard.publish.board.boards import Cell, Column, Entry

ROUNDING = 1e-9  # BLEU of a copy is 100.00000000000004
NOT_SEPARATED = "on this cohort it does not separate models from floors"


def marked_columns(columns: Sequence[Column], entries: Sequence[Entry]) -> list[Column]:
    """Return the columns with `headline`, `not_headline`, `lead` and `floor_leads` decided.

    Where the key that leads its metric is no headline or has no score, the metric's next headline
    key leads.
    """
    found = []
    for column in columns:
        why = not_headline(column, entries) if column.headline else None
        led = floor_leads(column, entries)
        found.append(
            replace(column, headline=column.headline and not why, not_headline=why, floor_leads=led)
        )
    leads: dict[str, str] = {}
    scored = {c.key: any(entry.has_score(c) for entry in entries) for c in found}
    for column in sorted(found, key=lambda c: (not c.headline, not scored[c.key], not c.lead)):
        leads.setdefault(column.metric, column.key)
    return [replace(c, lead=leads[c.metric] == c.key) for c in found]


def not_headline(column: Column, entries: Sequence[Entry]) -> str | None:
    """Return why a key cannot be a headline of this board, or None.

    Only ceilings that see the references are asked: another reader's reports need not be perfect.
    """
    cells = [
        entry.cells[column.key]
        for entry in entries
        if entry.kind == "ceiling" and entry.sees_references
    ]
    cells = [cell for cell in cells if cell.n and not cell.not_run and not cell.other_version]
    if not cells or any(_is_best(cell, column, entries) for cell in cells):
        return None
    best, value = best_possible(column), cells[0].value
    if value is None:
        return "the reference itself has no score here"
    if best is None:
        return f"the reference itself scores {value:.4g} here, and another row is better"
    if math.isclose(value, best, rel_tol=ROUNDING, abs_tol=ROUNDING):
        return f"the interval of the reference itself does not hold {best:g} here"
    return f"the reference itself scores {value:.4g} here, not {best:g}"


def best_possible(column: Column) -> float | None:
    """Return the end of the column's range that a perfect report reaches; None: unbounded."""
    return column.range[1 if column.direction == "higher" else 0]


def exact(cell: Cell, column: Column) -> Cell:
    """Return a cell of the reference without its doubt where the value is the best possible one.

    A copy of the reference has that value on any cohort, so an interval without width is right.
    """
    best = best_possible(column)
    ends = (cell.value, cell.ci_low, cell.ci_high)
    sure = best is not None and all(
        end is not None and math.isclose(end, best, rel_tol=ROUNDING, abs_tol=ROUNDING)
        for end in ends
    )
    return replace(cell, doubt=None) if sure else cell


def _is_best(cell: Cell, column: Column, entries: Sequence[Entry]) -> bool:
    """Return whether a ceiling's value is the best one, and within its own interval."""
    if cell.value is None:
        return False
    best = best_possible(column)
    if best is None:  # no end of the range to reach: no other entry may be better
        rated = [value for value, _ in _competing(column, entries)]
        best = column.sign * min([column.sign * cell.value, *rated])
    low, high = cell.interval or (best, best)
    room = ROUNDING * max(1.0, abs(best))
    return abs(cell.value - best) <= room and low - room <= best <= high + room


def _competing(column: Column, entries: Sequence[Entry]) -> list[tuple[float, Entry]]:
    """Return the entries that compete in a column, each with its value; smaller is better."""
    return [
        (column.sign * value, entry)
        for entry in entries
        if entry.competes(column) and (value := entry.cells[column.key].value) is not None
    ]


def floor_leads(column: Column, entries: Sequence[Entry]) -> str | None:
    """Return a sentence if a floor has the best value of the column, ceilings aside.

    The column does not separate where a model is there and is not better. Without a model, it does
    not where a floor that reads nothing is at least as good as one that reads the study.
    """
    rated = _competing(column, entries)
    floors = [(value, e) for value, e in rated if e.kind == "floor"]
    if not floors:
        return None
    top, leader = min(floors, key=lambda pair: (pair[0], pair[1].model))
    models = [value for value, e in rated if e.kind != "floor"]
    if any(value < top for value in models):
        return None
    reading = any(e.inputs for _, e in floors) and not leader.inputs
    if models or reading:
        return f"led by a floor ({leader.label}): {NOT_SEPARATED}"
    return f"led by a floor ({leader.label}): no model has a score here"


def primary_column(
    wanted: Sequence[str], columns: Sequence[Column], entries: Sequence[Entry]
) -> Column | None:
    """Return the column that a board is ranked by: the first wanted key with a score on some entry.

    Entries that compete are asked first: models, else floors, else ceilings. A key that is no
    headline of this board is taken only where there is nothing else.

    Args:
        wanted: the protocol's keys in order of preference.
        columns: as `marked_columns` gives them.
        entries: of the board.
    """
    by_key = {column.key: column for column in columns}
    order = [by_key[key] for key in dict.fromkeys(wanted) if key in by_key] or list(columns)
    for kinds in (("model",), ("model", "floor"), ("model", "floor", "ceiling")):
        asked = [entry for entry in entries if entry.kind in kinds]
        able = [column for column in order if any(e.has_score(column) for e in asked)]
        if able:
            return next((column for column in able if not column.not_headline), able[0])
    return order[0] if order else None
