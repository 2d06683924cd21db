"""The model as one self-contained HTML page: no request leaves it, and it works without JavaScript.

Everything is formatted here and laid out in page.html.j2, where autoescape is on: labels,
descriptions, notes and reasons were written by models and users, and stay text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from harness.api import Json
from harness.cohort import plural
from harness.leaderboard.tables import why_empty
from harness.leaderboard.vision import ignores_image, vision_sentence

HERE = Path(__file__).parent
WHISKER = (88.0, 10.0)  # width and height of a cell's plot, in its own units
EDGE = 4.0  # room for the dot at either end
MISSING = "–"
KINDS = {
    "ceiling": "ceiling: bounds the scale from above, not a system",
    "floor": "floor: what a system must clear to have learnt anything",
}


def render(model: Json) -> str:
    """The page as text, the same for the same model."""
    taken: set[str] = set()
    boards = [_board(board, model["boards"], taken) for board in model["boards"]]
    cohorts = [{**c, "anchor": _anchor(c["name"], taken)} for c in model.get("published", ())]
    anchor = _anchor("as-published", taken)
    return str(
        _template().render(boards=boards, kinds=KINDS, published=cohorts, published_anchor=anchor)
    )


@cache
def _template() -> Any:
    # Here and not above: `reportcard --help` must not pay for it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(HERE)
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "breakable": breakable}
    environment.globals.update(
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        js=(HERE / "page.js").read_text(encoding="utf-8"),
    )
    return environment.get_template("page.html.j2")


def breakable(label: str) -> Any:
    """A label as markup that may break after `_`, `-`, `/` and `.`; all of it escaped."""
    from markupsafe import Markup

    return Markup("<wbr>").join(re.split(r"(?<=[_/.-])", label))


def count(number: int | None) -> str:
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


def _board(board: Json, boards: Sequence[Json], taken: set[str]) -> Json:
    every = [_column(column, board) for column in board["columns"]]
    columns = [column for column in every if column["headline"]]
    anchor = _anchor(board["id"], taken)
    rows = [_row(row, every, anchor, taken) for row in board["rows"]]
    others = [b for b in boards if b is not board]
    return {
        "anchor": anchor,
        "title": _title(board, others),
        "cohort": board["cohort"],
        "facts": _facts(board),
        "overlap": overlap_sentence(board["cohort"]),
        "columns": columns,
        "groups": _groups(columns),
        "confidence": _confidence(board),
        "unknown_ties": sorted(
            {f"{c['metric']}: {c['ties_unknown']}" for c in columns if c["ties_unknown"]}
        ),
        "rows": rows,
        "caveats": sorted(
            {
                cell["caveat"]
                for row in board["rows"]
                for cell in row["cells"].values()
                if cell.get("caveat")
            }
        ),
        "other_version": any(cell["other_version"] for row in rows for cell in row["cells"]),
        "draws": any((row["draws"] or 1) > 1 for row in rows),
    }


def _title(board: Json, others: Sequence[Json]) -> str:
    """The shortest name that no other tab has: cohort, then its fingerprint, then protocol."""
    name = board["cohort"]["name"]
    if any(
        b["cohort"]["name"] == name and b["cohort_folder"] != board["cohort_folder"] for b in others
    ):
        name = board["cohort_folder"]
    same = any(b["cohort_folder"] == board["cohort_folder"] for b in others)
    return f"{name} · {board['protocol']}" if same else str(name)


def _facts(board: Json) -> list[tuple[str, str]]:
    cohort = board["cohort"]
    views = cohort["views"] or {}
    # Named views first: an image whose view nobody recorded is counted as unknown.
    named = sorted(views.items(), key=lambda item: (not item[0], item[0]))
    shown = ", ".join(f"{k:,} {v.lower() or 'of unknown view'}" for v, k in named)
    unit = cohort["unit"] or "study"
    facts = [
        ("Dataset", cohort["dataset"]),
        (plural(unit).capitalize(), count(cohort["n_studies"])),
        ("Patients", count(cohort["n_patients"])),
        ("Images", count(cohort["n_images"]) + (f" ({shown})" if shown else "")),
        ("Unit", unit if unit != "study" else None),
        ("Protocol", board["protocol"]),
        ("Cohort fingerprint", cohort["fingerprint"][:8]),
        ("Licence", cohort["licence"]),
        ("Access", cohort["data_class"]),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, MISSING)]


def overlap_sentence(cohort: Json) -> str | None:
    """'274 of 590 test reports stand word for word in the train part (2,069 studies). …'"""
    overlap = cohort["overlap"]
    if not overlap or not overlap["train_studies"]:
        return None
    total, train = cohort["n_studies"], overlap["train_studies"]
    same, shared = (
        overlap["test_reports_verbatim_in_train"],
        overlap["test_studies_with_train_patient"],
    )
    who = f"{shared:,} test studies share" if shared else "No test study shares"
    return (
        f"{same:,} of {total:,} test reports stand word for word in the train part"
        f" ({train:,} studies). {who} a patient with it."
    )


def _column(column: Json, board: Json) -> Json:
    key, better = column["key"], column["direction"]
    cells = [(row["kind"], row["cells"][key]) for row in board["rows"]]
    values = [cell["value"] for _, cell in cells if cell["value"] is not None]
    low, high = column["range"]
    ends = [f"{end:g}" if end is not None else "unbounded" for end in (low, high)]
    return {
        **column,
        "arrow": "↑" if better == "higher" else "↓",
        "places": decimals(column, values),
        "scale": _scale(column, cells),
        "primary": key == board["primary"],
        "ties_unknown": column.get("ties_unknown"),
        "tip": (
            f"{key}: {better} is better. Unit: {column['unit']}, from {ends[0]} to {ends[1]}."
            f" Version {column['version'] or 'unknown'}."
        ),
    }


def _scale(column: Json, cells: Sequence[tuple[str, Json]]) -> tuple[float, float]:
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


def _groups(columns: Sequence[Json]) -> list[Json]:
    """Metrics over their keys, for the upper header line."""
    groups: list[Json] = []
    for column in columns:
        if not groups or groups[-1]["metric"] != column["metric"]:
            groups.append({"metric": column["metric"], "span": 0})
        groups[-1]["span"] += 1
    return groups


def _row(row: Json, columns: Sequence[Json], anchor: str, taken: set[str]) -> Json:
    counts = row["counts"]
    evaluated, unique = counts["evaluated"], counts["unique_candidates"]
    unscored = [c.get("unscored") for c in row["cells"].values() if c["value"] is not None]
    return {
        **row,
        "anchor": _anchor(f"{anchor}-{row['model']}", taken),
        "unscored": max((u for u in unscored if u is not None), default=None),
        **{"vision_use": vision_sentence(row), "ignores_image": ignores_image(row)},
        "unique": MISSING if not evaluated else share(unique / evaluated),
        "cells": [_cell(row["cells"][c["key"]], c) for c in columns if c["headline"]],
        "every_cell": [_cell(row["cells"][c["key"]], c) for c in columns],
    }


def share(fraction: float) -> str:
    """0.0003 → '< 0.1 %': few is not none."""
    return "< 0.1 %" if 0 < fraction < 0.001 else f"{fraction:.1%}".replace("%", " %")


def _cell(cell: Json, column: Json) -> Json:
    places, value = column["places"], cell["value"]
    interval = [number(cell[name], places) for name in ("ci_low", "ci_high")]
    gap = cell.get("difference")
    spread = cell.get("spread")
    return {
        "key": column["key"],
        "text": number(value, places),
        "exact": MISSING if value is None else f"{value:.6g}".replace("-", "−"),
        "sort": value,
        "interval": f"[{interval[0]}, {interval[1]}]" if cell["ci_low"] is not None else None,
        "whisker": _whisker(cell, column["scale"]),
        "spread": None if spread is None else number(spread, places),
        "gap": gap and f"[{number(gap[0], places + 1)}, {number(gap[1], places + 1)}]",
        "best": cell.get("best", False),
        "tied": cell.get("tied_with_best", False),
        "n": cell.get("n"),
        "unscored": cell.get("unscored"),
        "bounds": cell.get("bounds") and [number(bound, places) for bound in cell["bounds"]],
        "caveat": cell.get("caveat"),
        "not_run": cell.get("not_run"),
        "empty": why_empty(cell),
        "other_version": cell.get("other_version", False),
        "signature": cell.get("signature"),
    }


def _whisker(cell: Json, scale: tuple[float, float]) -> Json | None:
    """Positions of low, value and high; `beyond` is the side of a value that is off the axis."""
    if cell["value"] is None:
        return None
    value = cell["value"]
    low = value if cell["ci_low"] is None else cell["ci_low"]
    high = value if cell["ci_high"] is None else cell["ci_high"]
    at = {name: _position(v, scale) for name, v in (("low", low), ("x", value), ("high", high))}
    return {**at, "beyond": value > scale[1] and not math.isclose(value, scale[1])}


def _position(value: float, scale: tuple[float, float]) -> str:
    part = (value - scale[0]) / (scale[1] - scale[0])
    return f"{EDGE + min(max(part, 0.0), 1.0) * (WHISKER[0] - 2 * EDGE):.1f}"


def _confidence(board: Json) -> str:
    """'95 %', or every level where the rows were scored apart."""
    stats = [
        file["stats"]
        for row in board["rows"]
        for file in row["score_files"].values()
        if "stats" in file
    ]
    levels = sorted({f"{s['confidence']:.0%}".replace("%", " %") for s in stats})
    return " or ".join(levels) or MISSING


def _anchor(text: str, taken: set[str]) -> str:
    """An id for links: stable for the same name, and never twice on a page."""
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-") or "board"
    name, again = stem, 1
    while name in taken:
        again += 1
        name = f"{stem}-{again}"
    taken.add(name)
    return name
