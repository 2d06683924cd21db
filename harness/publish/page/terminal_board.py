"""Prints the boards as rich tables, for `reportcard run` and `reportcard leaderboard`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reportcard.core.console import ARROW, UNRELIABLE, unreliable_lines
from reportcard.publish.board.boards import Board, Cell, Column, Entry, Leaderboard
from reportcard.publish.board.skill import SENTENCE
from reportcard.publish.board.vision import vision_sentence
from reportcard.publish.page.cells import count, decimals, number
from reportcard.publish.page.page import led_columns, overlap_sentence
from reportcard.publish.page.skill_view import skill_lines, skill_of, skill_text, why_without
from reportcard.score.stats.family import FAMILY

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

SYSTEM_WIDTH = 34  # label, kind mark and n, with the table's own padding
CELL_WIDTH = 27  # '≈ 0.376 [0.370, 0.382] ‡' with padding
MARKS = {"ceiling": "▲", "floor": "▼"}


def render(found: Leaderboard, console: Console, skill: bool = False) -> None:
    """Print one table per board, with as many columns as fit; the others are named below it.

    skill: show each value between the best floor and the ceiling of its column.
    """
    for board in found.boards:
        _board(board, console, skill)


def published_line(found: Leaderboard, page: Path) -> str:
    """Say where published figures are, for the end of a run; '' if there are none."""
    boards = len(found.published)
    noun = "board" if boards == 1 else "boards"
    return f"{boards} {noun} of figures as published: {page}, tab As published" if boards else ""


def render_published(found: Leaderboard, console: Console) -> None:
    """Print who has published figures on which cohort; the figures are on the page."""
    from rich.text import Text

    if not found.published:
        return
    console.print(Text("As published, not measured here (figures and sources on the page)"))
    for cohort in found.published:
        systems = [figure.system for figure in cohort.figures if figure.metric]
        absent = [figure.system for figure in cohort.figures if not figure.metric]
        parts = [f"{len(systems):,} of {', '.join(dict.fromkeys(systems))}"] if systems else []
        parts += [f"not found: {', '.join(dict.fromkeys(absent))}"] if absent else []
        console.print(Text(plain(f"{cohort.name}: {'; '.join(parts)}"), style="dim"))
    console.print()


def main_columns(board: Board, room: int) -> list[Column]:
    """Choose columns for `room` characters: the primary, the lead of each metric, then others.

    A column without a score comes last.
    """
    columns = [c for c in board.columns if c.headline or c.key == board.primary]
    order = sorted(columns, key=lambda c: (c.key != board.primary, not board.values(c), not c.lead))
    kept = {column.key for column in order[:1]}
    room -= sum(_width(column) for column in order[:1])
    for column in order[1:]:
        if _width(column) <= room:
            room -= _width(column)
            kept.add(column.key)
    return [column for column in columns if column.key in kept]


def _width(column: Column) -> int:
    """Return the characters that a column takes: its header, or a value with its interval."""
    return max(CELL_WIDTH, len(column.key) + 7)


def _board(board: Board, console: Console, skill: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    columns = main_columns(board, console.width - SYSTEM_WIDTH)
    title = f"{board.cohort_folder} · protocol {board.protocol}" + (" · skill" if skill else "")
    table = Table(title=Text(title, style="bold"), title_justify="left", header_style="bold")
    table.add_column("system", overflow="fold")
    table.add_column("n", justify="right")
    for column in columns:
        header = Text(f"{column.key} {ARROW['higher' if skill else column.direction]}")
        header.append(" ▽" if column.floor_leads else "")
        table.add_column(header, justify="right", no_wrap=True)
    places = {column.key: decimals(column.range, board.values(column)) for column in columns}
    for entry in board.entries:
        mark = MARKS.get(entry.kind, " ")
        if skill:
            cells = [_skill_cell(board, column, entry) for column in columns]
        else:
            cells = [_cell(entry.cells[column.key], places[column.key]) for column in columns]
        # Text, not str: a label may hold what rich would read as markup.
        label = Text(f"{mark} {plain(entry.label)}")
        table.add_row(label, count(entry.counts.evaluated), *cells)
    console.print(table)
    about = [SENTENCE, *skill_lines(board, columns)] if skill else []
    for line in [*about, *_footnotes(board, columns, skill)]:
        console.print(Text(plain(line), style="dim"))
    console.print()


def plain(text: str) -> str:
    """Replace what a terminal would obey: escape sequences, line feeds, direction overrides."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _cell(cell: Cell, places: int) -> Text:
    from rich.text import Text

    if cell.value is None:
        return Text(cell.why_empty, style="italic")
    text = Text("≈ " if cell.tied_with_best and not cell.best else "")
    text.append(number(cell.value, places), style="bold" if cell.best else "")
    text.append(" †" if cell.other_version else "")
    low, high = (number(end, places) for end in (cell.ci_low, cell.ci_high))
    text.append(f" [{low}, {high}]", style="dim")
    text.append(f" {UNRELIABLE}" if cell.doubt and cell.interval else "")
    if cell.bounds:
        low, high = (number(bound, places) for bound in cell.bounds)
        text.append(f"\n{cell.unscored:,} unscored: {low} … {high}", style="dim")
    if cell.tied_with_best:
        text.stylize("green")
    return text


def _skill_cell(board: Board, column: Column, entry: Entry) -> Text:
    """Return the skill of an entry, with the marks of its score."""
    from rich.text import Text

    cell, skill = entry.cells[column.key], skill_of(board, column, entry)
    if skill is None:
        return Text(why_without(board, column, entry), style="italic")
    value, interval = skill_text(skill)
    text = Text("≈ " if cell.tied_with_best and not cell.best else "")
    text.append(value, style="bold" if cell.best else "")
    text.append(f" {interval}", style="dim")
    if cell.tied_with_best:
        text.stylize("green")
    return text


def _footnotes(board: Board, columns: Sequence[Column], skill: bool) -> list[str]:
    lines = [
        "▲ ceiling, ▼ floor: reference points, not competitors; bold: best measured model,"
        " ≈ no significant difference from the best",
        FAMILY,
    ]
    lines += [f"▽ {why} ({', '.join(keys)})" for why, keys in led_columns(board).items()]
    lines += unreliable_lines(
        (column.key, _doubt(board, column, entry, skill))
        for entry in board.entries
        for column in columns
    )
    lines += [
        f"no headline here: {c.key}: {c.not_headline}" for c in board.columns if c.not_headline
    ]
    lines += [line for line in (overlap_sentence(board.cohort),) if line]
    for entry in board.entries:
        if parts := _missing(entry):
            lines.append(f"{entry.label}: {', '.join(parts)}")
        if entry.ignores_image:
            lines.append(f"{entry.label}: ignores its image: {vision_sentence(entry.vision)}")
    cells = [(entry.label, cell) for entry in board.entries for cell in entry.cells.values()]
    reasons: dict[str, list[str]] = {}
    for label, cell in cells:
        if cell.not_run:
            reasons.setdefault(cell.not_run, []).append(label)
    lines += [
        f"no score ({', '.join(dict.fromkeys(labels))}): {why}" for why, labels in reasons.items()
    ]
    caveats = dict.fromkeys(cell.caveat for _, cell in cells if cell.caveat)
    lines += [f"caution: {caveat}" for caveat in caveats]
    shown = {column.key for column in columns}
    hidden = [c.key for c in board.columns if c.headline and c.key not in shown]
    if hidden:
        lines.append(f"more columns on the page: {', '.join(hidden)}")
    return lines


def _doubt(board: Board, column: Column, entry: Entry, skill: bool) -> str | None:
    """Return why the interval that the table shows is unreliable, or None."""
    if skill:
        found = skill_of(board, column, entry)
        return found.doubt if found and found.interval else None
    cell = entry.cells[column.key]
    return cell.doubt if cell.interval else None


def _missing(entry: Entry) -> list[str]:
    """Return what became of the studies that do not count, as parts of a sentence."""
    counts = entry.counts
    unscored = {
        f"unscored by {key.split('.')[0]}": cell.unscored or 0
        for key, cell in entry.cells.items()
        if not cell.not_run
    }
    found = {
        **unscored,
        "failed": counts.failed,
        "empty": counts.empty_candidates,
        "excluded (empty reference)": counts.excluded_empty_reference,
    }
    return [f"{number:,} {name}" for name, number in found.items() if number]
