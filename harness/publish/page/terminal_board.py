"""The boards as rich tables: what `reportcard run` and `reportcard leaderboard` print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reportcard.api import Json
from reportcard.publish.board.build import why_empty
from reportcard.publish.board.vision import ignores_image, vision_sentence
from reportcard.publish.page.cells import count, decimals, number
from reportcard.publish.page.page import overlap_sentence

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

SYSTEM_WIDTH = 34  # label, kind mark and n, with the table's own padding
CELL_WIDTH = 23  # '≈ 0.376 [0.370, 0.382]' with padding
MARKS = {"ceiling": "▲", "floor": "▼"}


def render(model: Json, console: Console) -> None:
    """One table per board, with as many columns as fit; the rest is named below it."""
    for board in model["boards"]:
        _board(board, console)


def published_line(model: Json, page: Path) -> str:
    """Where figures that others printed are, for the end of a run; '' if there are none."""
    boards = len(model.get("published", ()))
    noun = "board" if boards == 1 else "boards"
    return f"{boards} {noun} of figures as published: {page}, tab As published" if boards else ""


def render_published(model: Json, console: Console) -> None:
    """Who has figures in print on which cohort; the figures and their sources are on the page."""
    from rich.text import Text

    cohorts = model.get("published", ())
    if not cohorts:
        return
    console.print(Text("As published, not measured here (figures and sources on the page)"))
    for cohort in cohorts:
        found = [figure["system"] for figure in cohort["figures"] if figure["metric"]]
        absent = [figure["system"] for figure in cohort["figures"] if not figure["metric"]]
        parts = [f"{len(found):,} of {', '.join(dict.fromkeys(found))}"] if found else []
        parts += [f"not found: {', '.join(dict.fromkeys(absent))}"] if absent else []
        console.print(Text(plain(f"{cohort['name']}: {'; '.join(parts)}"), style="dim"))
    console.print()


def main_columns(board: Json, room: int) -> list[Json]:
    """Columns for `room` characters: the primary one, then the lead of each metric, then others."""
    columns = [column for column in board["columns"] if column["headline"]]
    order = sorted(columns, key=lambda c: (c["key"] != board["primary"], not c["lead"]))
    kept = {order[0]["key"]} if order else set()
    room -= sum(_width(column) for column in order[:1])
    for column in order[1:]:
        if _width(column) <= room:
            room -= _width(column)
            kept.add(column["key"])
    return [column for column in columns if column["key"] in kept]


def _width(column: Json) -> int:
    """Characters that a column takes: its header, or a value with its interval."""
    return max(CELL_WIDTH, len(column["key"]) + 5)


def _board(board: Json, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    columns = main_columns(board, console.width - SYSTEM_WIDTH)
    title = f"{board['cohort_folder']} · protocol {board['protocol']}"
    table = Table(title=Text(title, style="bold"), title_justify="left", header_style="bold")
    table.add_column("system", overflow="fold")
    table.add_column("n", justify="right")
    for column in columns:
        arrow = "↑" if column["direction"] == "higher" else "↓"
        table.add_column(Text(f"{column['key']} {arrow}"), justify="right", no_wrap=True)
    for row in board["rows"]:
        mark = MARKS.get(row["kind"], " ")
        # Text, not str: a label may hold what rich would read as markup.
        cells = [_cell(row["cells"][c["key"]], _places(c, board["rows"])) for c in columns]
        table.add_row(
            Text(f"{mark} {plain(row['label'])}"), count(row["counts"]["evaluated"]), *cells
        )
    console.print(table)
    for line in _footnotes(board, columns):
        console.print(Text(plain(line), style="dim"))
    console.print()


def plain(text: str) -> str:
    """Without what a terminal would obey: escape sequences, line feeds, direction overrides."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _places(column: Json, rows: Sequence[Json]) -> int:
    values = [row["cells"][column["key"]]["value"] for row in rows]
    return decimals(column, [value for value in values if value is not None])


def _cell(cell: Json, places: int) -> Text:
    from rich.text import Text

    if cell["value"] is None:
        return Text(why_empty(cell), style="italic")
    low, high = (number(cell[name], places) for name in ("ci_low", "ci_high"))
    best, tied = cell.get("best"), cell.get("tied_with_best")
    text = Text("≈ " if tied and not best else "")
    text.append(number(cell["value"], places), style="bold" if best else "")
    text.append(" †" if cell.get("other_version") else "")
    text.append(f" [{low}, {high}]", style="dim")
    if cell.get("bounds"):
        low, high = (number(bound, places) for bound in cell["bounds"])
        text.append(f"\n{cell['unscored']:,} unscored: {low} … {high}", style="dim")
    if tied:
        text.stylize("green")
    return text


def _footnotes(board: Json, columns: Sequence[Json]) -> list[str]:
    rows = board["rows"]
    marks = "▲ ceiling, ▼ floor"
    lines = [f"{marks}; bold: best measured row, ≈ not told apart from it (paired bootstrap)"]
    lines += [line for line in (overlap_sentence(board["cohort"]),) if line]
    for row in rows:
        counts = row["counts"]
        unscored = {
            f"unscored by {key.split('.')[0]}": cell.get("unscored") or 0
            for key, cell in row["cells"].items()
            if not cell.get("not_run")
        }
        told = {
            **unscored,
            "failed": counts["failed"],
            "empty": counts["empty_candidates"],
            "excluded (empty reference)": counts["excluded_empty_reference"],
        }
        parts = [f"{number:,} {name}" for name, number in told.items() if number]
        if parts:
            lines.append(f"{row['label']}: {', '.join(parts)}")
        if ignores_image(row):
            lines.append(f"{row['label']}: ignores its image: {vision_sentence(row)}")
    reasons: dict[str, list[str]] = {}
    for row in rows:
        for cell in row["cells"].values():
            if cell.get("not_run"):
                reasons.setdefault(cell["not_run"], []).append(row["label"])
    lines += [
        f"no score ({', '.join(dict.fromkeys(labels))}): {why}" for why, labels in reasons.items()
    ]
    cells = [cell for row in rows for cell in row["cells"].values()]
    caveats = dict.fromkeys(cell["caveat"] for cell in cells if cell.get("caveat"))
    lines += [f"caution: {caveat}" for caveat in caveats]
    shown = {column["key"] for column in columns}
    hidden = [c["key"] for c in board["columns"] if c["headline"] and c["key"] not in shown]
    if hidden:
        lines.append(f"more columns on the page: {', '.join(hidden)}")
    return lines
