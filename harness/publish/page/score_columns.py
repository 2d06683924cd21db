"""The columns of scores on the page: from a score of the board to what its cell shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from reportcard.publish.board.boards import Board, Cell, Column, Entry
from reportcard.publish.board.metric_group import groups_of
from reportcard.publish.page.cells import PageCell, decimals, number, span

UNDEFINED = "Nothing to count: no phrases, or no boxes"
RANKED = "ranked by"

# In the order of the page; the values are what its header says.
GROUPS = {
    "lexical": "lexical",
    "clinical": "clinical",
    "judged": "judged",
    "grounding": "grounding",
    "other": "other metrics",
}
MakeCell = Callable[[Entry], PageCell]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageColumn:
    """A column of the page. `shown`: it is among the columns of the first view."""

    id: str
    group: str
    metric: str
    name: str
    better: str
    arrow: str
    shown: bool
    primary: bool
    tip: str


Made = tuple[PageColumn, MakeCell]


def score_columns(board: Board) -> list[Made]:
    """Return the columns of scores, by metric group, each with the maker of its cells."""
    groups = groups_of((column.metric for column in board.columns), board.protocol)
    order = [RANKED, *GROUPS.values()]
    found = [
        _score_column(column, board, GROUPS[groups[column.metric]]) for column in board.columns
    ]
    return sorted(found, key=lambda made: (order.index(made[0].group), made[0].metric))


def _score_column(column: Column, board: Board, group: str) -> Made:
    """Return the page's column of one key, and the function that makes its cells."""
    primary = column.key == board.primary
    places = decimals(column.range, board.values(column))
    axis = scale(column, board.entries)
    low, high = (f"{end:g}" if end is not None else "unbounded" for end in column.range)
    shown = PageColumn(
        id=column.key,
        group=RANKED if primary else group,
        metric=column.metric,
        name=column.name,
        better=column.direction,
        arrow="↑" if column.direction == "higher" else "↓",
        shown=column.headline or primary,
        primary=primary,
        tip=(
            f"{column.key}: {column.direction} is better. Unit: {column.unit}, from {low} to"
            f" {high}. Version {column.version or 'unknown'}."
        ),
    )
    return shown, lambda entry: score_cell(entry.cells[column.key], places, axis)


def scale(column: Column, entries: Sequence[Entry]) -> tuple[float, float]:
    """Return the whiskers' axis: from the range's end to the furthest interval of a non-ceiling.

    On the full range a ceiling of 100 would press every other entry into one corner.
    """
    rated = [entry for entry in entries if entry.kind != "ceiling"] or entries
    cells = [entry.cells[column.key] for entry in rated]
    ends = (end for cell in cells for end in (cell.value, cell.ci_low, cell.ci_high))
    found = [end for end in ends if end is not None]
    low, high = min(found, default=0.0), max(found, default=1.0)
    bound = column.range[0]
    low = min(low, bound) if bound is not None else low
    return (low, high) if high > low else (low, low + 1.0)


def score_cell(cell: Cell, places: int, axis: tuple[float, float]) -> PageCell:
    """Return what the page shows of a score.

    places: digits after the point. axis: what the column's whiskers are drawn on.
    """
    bounds = " … ".join(number(bound, places) for bound in cell.bounds) if cell.bounds else None
    beside = PageCell(
        text="",
        n=cell.n or None,
        unscored=cell.unscored or None,
        signature=cell.signature or None,
        bounds=bounds,
    )
    if cell.value is None:
        tip = UNDEFINED if cell.why_empty == "undefined" else "No study could be scored"
        why = cell.not_run or None
        return replace(beside, text=cell.why_empty, css="none", why=why, tip=None if why else tip)
    exact = tip = f"{cell.value:.6g}".replace("-", "−")
    gap = span(cell.difference, places + 1) if cell.difference else None
    if gap:
        tip += f"; difference from the best row: {gap}"
    lines = [span(cell.interval, places) if cell.interval else "no interval"]
    if cell.spread is not None:
        lines.append(f"sd {number(cell.spread, places)}")
    if bounds:
        lines.append(f"{cell.unscored:,} unscored: {bounds}")
    found = replace(
        beside,
        text=number(cell.value, places),
        sort=cell.value,
        exact=exact,
        tip=tip,
        lines=tuple(lines),
        whisker=whisker(cell, cell.value, axis),
        gap=gap,
        dagger=cell.other_version or None,
        caveat=cell.caveat or None,
    )
    if cell.best:
        return replace(found, css="tied best", said="best")
    if cell.tied_with_best:
        return replace(found, css="tied", mark="≈", said="no significant difference from the best")
    return found


def whisker(cell: Cell, value: float, axis: tuple[float, float]) -> tuple[float, ...]:
    """Place a dot and its interval on the axis: the dot, the interval's start, and its width.

    All three are per cent of the axis, in the sense of CSS background-position: x % of the picture
    lies on x % of the axis. The result is empty when the value lies beyond the axis.
    """
    if value > axis[1] and not math.isclose(value, axis[1]):
        return ()
    ends = [value if end is None else end for end in (cell.ci_low, cell.ci_high)]
    low, at, high = (_position(v, axis) for v in (ends[0], value, ends[1]))
    width = high - low
    place = 0.0 if width >= 100 else 100 * low / (100 - width)
    return tuple(round(number, 1) for number in (at, place, width))


def _position(value: float, axis: tuple[float, float]) -> float:
    part = (value - axis[0]) / (axis[1] - axis[0])
    return 100 * min(max(part, 0.0), 1.0)
