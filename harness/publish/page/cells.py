"""What a cell of a board says: figures, intervals and whiskers as text and positions.

Everything is formatted here, once: the page's template, its script and the terminal only lay out.
A cell is a small dict; what it does not need is left out, because a page holds thousands of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reportcard.api import Json
from reportcard.publish.board.build import why_empty

MISSING = "–"
UNDEFINED = "Nothing to count: no phrases, or no boxes"
BOUNDS = (
    "What the value could be, each unscored study taken as the most and the least favourable one"
)


def count(number: float | None) -> str:
    """3199 → '3,199'; what is not known is a dash, never a zero."""
    return MISSING if number is None else f"{number:,}"


def decimals(column: Json, values: Sequence[float]) -> int:
    """Places after the point: one choice per column, so that its figures line up."""
    high = column["range"][1]
    size = max((abs(v) for v in values), default=1.0) if high is None else abs(high)
    return 3 if size <= 1 else 2 if size <= 10 else 1


def number(value: float | None, places: int) -> str:
    """A figure with a true minus sign; never '-0.000'."""
    if value is None:
        return MISSING
    text = f"{value:.{places}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", "−")


def share(fraction: float) -> str:
    """0.0003 → '< 0.1 %': few is not none."""
    return "< 0.1 %" if 0 < fraction < 0.001 else f"{fraction:.1%}".replace("%", " %")


def scale(column: Json, cells: Sequence[tuple[str, Json]]) -> tuple[float, float]:
    """The whiskers' axis: from the range's end to the furthest interval that is not a ceiling's.

    On the full range a ceiling of 100 would press every other row into one corner.
    """
    shown = [cell for kind, cell in cells if kind != "ceiling"] or [cell for _, cell in cells]
    found = [
        cell[name]
        for cell in shown
        for name in ("value", "ci_low", "ci_high")
        if cell[name] is not None
    ]
    low, high = min(found, default=0.0), max(found, default=1.0)
    bound = column["range"][0]
    low = min(low, bound) if bound is not None else low
    return (low, high) if high > low else (low, low + 1.0)


def metric_cell(cell: Json, places: int, axis: tuple[float, float]) -> Json:
    """Of a score: text, sort, lines, whisker, and the marks that apply."""
    value = cell["value"]
    if value is None:
        reason = cell.get("not_run")
        empty = why_empty(cell)
        tip = UNDEFINED if empty == "undefined" else "No study could be scored"
        return {
            "text": empty,
            "class": "none",
            **({"why": reason} if reason else {"tip": tip}),
            **_beside(cell, places),
        }
    exact = f"{value:.6g}".replace("-", "−")
    found: Json = {
        "text": number(value, places),
        "sort": value,
        "exact": exact,
        "tip": exact,
        "lines": [interval(cell, places) or "no interval"],
        "whisker": whisker(cell, axis),
        **_beside(cell, places),
    }
    if cell.get("difference"):
        low, high = (number(end, places + 1) for end in cell["difference"])
        found["gap"] = f"[{low}, {high}]"
        found["tip"] += f"; less the best row: {found['gap']}"
    if cell.get("spread") is not None:
        found["lines"].append(f"sd {number(cell['spread'], places)}")
    if cell.get("bounds"):
        found["lines"].append(f"{cell['unscored']:,} unscored: {found['bounds']}")
    if cell.get("best"):
        found |= {"class": "tied best", "said": "best"}
    elif cell.get("tied_with_best"):
        found |= {"class": "tied", "mark": "≈", "said": "tied with the best"}
    if cell.get("other_version"):
        found["dagger"] = True
    if cell.get("caveat"):
        found["caveat"] = cell["caveat"]
    return found


def _beside(cell: Json, places: int) -> Json:
    """What only the details of a row show."""
    found: Json = {name: cell[name] for name in ("n", "unscored", "signature") if cell.get(name)}
    if cell.get("bounds"):
        found["bounds"] = " … ".join(number(bound, places) for bound in cell["bounds"])
    return found


def interval(cell: Json, places: int) -> str | None:
    """'[0.370, 0.382]', or None where there is none."""
    if cell.get("ci_low") is None or cell.get("ci_high") is None:
        return None
    return f"[{number(cell['ci_low'], places)}, {number(cell['ci_high'], places)}]"


def whisker(cell: Json, axis: tuple[float, float]) -> list[float]:
    """A dot on a range, in per cent of the axis: the dot's place, the range's place and width.

    Empty when the value lies beyond the axis. Places are those of CSS background-position: x % of
    the picture lies on x % of the axis.
    """
    value = cell["value"]
    if value > axis[1] and not math.isclose(value, axis[1]):
        return []
    ends = [value if cell[name] is None else cell[name] for name in ("ci_low", "ci_high")]
    low, at, high = (_position(v, axis) for v in (ends[0], value, ends[1]))
    width = high - low
    place = 0.0 if width >= 100 else 100 * low / (100 - width)
    return [round(number, 1) for number in (at, place, width)]


def _position(value: float, axis: tuple[float, float]) -> float:
    part = (value - axis[0]) / (axis[1] - axis[0])
    return 100 * min(max(part, 0.0), 1.0)


def fact(text: str, sort: float | str | None, **more: object) -> Json:
    """A cell that is no score; `lines`, `tip` and `class` as they apply."""
    return {"text": text, "sort": sort, **{k: v for k, v in more.items() if v}}


def alert(value: int | None) -> Json:
    """A count that should be zero."""
    return fact(count(value), value, **{"class": "alert" if value else None})
