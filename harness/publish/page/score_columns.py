"""The columns of scores on the page: from a score of the board to what its cell shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from reportcard.core.console import UNRELIABLE
from reportcard.core.records import OMITTED
from reportcard.publish.board.boards import Board, Cell, Column, Entry
from reportcard.publish.board.metric_group import groups_of
from reportcard.publish.page.cells import (
    PageCell,
    decimals,
    marked_span,
    number,
    span,
    whisker,
)
from reportcard.publish.page.skill_view import scale_sentence

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
    """A column of the page. `shown`: it is among the columns of the first view.

    `led` says that a floor leads the column; `skill` what is 0 and 1 in it in the view of skill, or
    why it has none.
    """

    id: str
    group: str
    metric: str
    name: str
    better: str
    arrow: str
    shown: bool
    primary: bool
    tip: str
    led: str | None = field(default=None, metadata=OMITTED)
    skill: str | None = field(default=None, metadata=OMITTED)


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
            + (f" No headline here: {column.not_headline}." if column.not_headline else "")
            + (f" {column.floor_leads.capitalize()}." if column.floor_leads else "")
        ),
        led=column.floor_leads,
        skill=scale_sentence(board, column),
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
    if cell.doubt:
        tip += f"; {UNRELIABLE} interval unreliable: {cell.doubt}"
    lines = [marked_span(cell.interval, places, cell.doubt) if cell.interval else "no interval"]
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
        whisker=whisker(cell.interval, cell.value, axis),
        gap=gap,
        dagger=cell.other_version or None,
        caveat=cell.caveat or None,
        doubt=cell.doubt if cell.interval else None,
    )
    if cell.best:
        return replace(found, css="tied best", said="best")
    if cell.tied_with_best:
        return replace(found, css="tied", mark="≈", said="no significant difference from the best")
    return found
