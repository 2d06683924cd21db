"""A cell of the page, and how numbers are written in it.

Everything that a cell shows is formatted in Python, once; the template, the scripts and the
terminal only lay it out. What a cell does not need is left out of the page's JSON, because a page
holds thousands of cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from reportcard.core.console import UNRELIABLE
from reportcard.core.records import OMITTED, named

Interval = tuple[float, float]
MISSING = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCell:
    """What one cell of a board shows.

    Args:
        text: the value, or why there is none in a word.
        css: its classes: `tied`, `best`, `none` or `alert`.
        sort: what the column is sorted by.
        why: a sentence that opens below an empty cell.
        tip: what hovering shows.
        lines: small lines below the value, first the interval.
        whisker: the dot and its interval on the column's axis; empty if beyond the axis.
        mark: a sign before the value, which screen readers skip.
        said: what screen readers say instead.
        dagger: whether another version of the metric made the value.
        caveat: a warning about the value.
        doubt: why the interval is unreliable; the interval in `lines` ends with UNRELIABLE.
        exact, gap, bounds, n, unscored, signature: what only the details of a line show; `gap` is
            the difference from the best row.
    """

    text: str
    css: str | None = field(default=None, metadata={**OMITTED, **named("class")})
    sort: float | str | None = field(default=None, metadata=OMITTED)
    why: str | None = field(default=None, metadata=OMITTED)
    tip: str | None = field(default=None, metadata=OMITTED)
    lines: tuple[str, ...] | None = field(default=None, metadata=OMITTED)
    whisker: tuple[float, ...] | None = field(default=None, metadata=OMITTED)
    mark: str | None = field(default=None, metadata=OMITTED)
    said: str | None = field(default=None, metadata=OMITTED)
    dagger: bool | None = field(default=None, metadata=OMITTED)
    caveat: str | None = field(default=None, metadata=OMITTED)
    doubt: str | None = field(default=None, metadata=OMITTED)
    exact: str | None = field(default=None, metadata=OMITTED)
    gap: str | None = field(default=None, metadata=OMITTED)
    bounds: str | None = field(default=None, metadata=OMITTED)
    n: int | None = field(default=None, metadata=OMITTED)
    unscored: int | None = field(default=None, metadata=OMITTED)
    signature: str | None = field(default=None, metadata=OMITTED)


def count(number: float | None) -> str:
    """Write 3199 as '3,199'; an unknown number is a dash and never a zero."""
    return MISSING if number is None else f"{number:,}"


def decimals(range_: tuple[float | None, float | None], values: Sequence[float]) -> int:
    """Choose the places after the point: one choice per column, so that its figures line up.

    range_: the lowest and highest value that the metric can have; None: unbounded.
    """
    high = range_[1]
    size = max((abs(v) for v in values), default=1.0) if high is None else abs(high)
    return 3 if size <= 1 else 2 if size <= 10 else 1


def number(value: float | None, places: int) -> str:
    """Write a figure with a true minus sign, and never '-0.000'."""
    if value is None:
        return MISSING
    text = f"{value:.{places}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", "−")


def share(fraction: float) -> str:
    """Write a fraction as a percentage; 0.0003 is '< 0.1 %', because few is not none."""
    return "< 0.1 %" if 0 < fraction < 0.001 else f"{fraction:.1%}".replace("%", " %")


def span(interval: tuple[float, float], places: int) -> str:
    """Write an interval: '[0.370, 0.382]'."""
    low, high = (number(end, places) for end in interval)
    return f"[{low}, {high}]"


def marked_span(interval: tuple[float, float], places: int, doubt: str | None) -> str:
    """Write an interval, with a mark where it is unreliable: '[0.000, 0.000] ‡'."""
    return f"{span(interval, places)} {UNRELIABLE}" if doubt else span(interval, places)


def fact(text: str, sort: float | str | None, lines: Sequence[str] = (), tip: str = "") -> PageCell:
    """Return a cell that is no score."""
    return PageCell(text=text, sort=sort, lines=tuple(lines) or None, tip=tip or None)


def alert(value: int | None) -> PageCell:
    """Return the cell of a count that should be zero."""
    return PageCell(text=count(value), sort=value, css="alert" if value else None)


def whisker(
    interval: Interval | None, value: float, axis: tuple[float, float]
) -> tuple[float, ...]:
    """Place a dot and its interval on the axis: the dot, the interval's start, and its width.

    All three are per cent of the axis, in the sense of CSS background-position: x % of the picture
    lies on x % of the axis. The result is empty when the value lies beyond the axis.
    """
    if value > axis[1] and not math.isclose(value, axis[1]):
        return ()
    ends = interval or (value, value)
    low, at, high = (_position(v, axis) for v in (ends[0], value, ends[1]))
    width = high - low
    place = 0.0 if width >= 100 else 100 * low / (100 - width)
    return tuple(round(number, 1) for number in (at, place, width))


def _position(value: float, axis: tuple[float, float]) -> float:
    part = (value - axis[0]) / (axis[1] - axis[0])
    return 100 * min(max(part, 0.0), 1.0)
