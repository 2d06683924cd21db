"""Draws the forest plot of a board as SVG: a panel per metric, a dot with its interval per system.

The first panel is the primary key; each other metric has a panel for the key that stands for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from reportcard.core.console import ARROW
from reportcard.publish.board.boards import Board, Column, Entry
from reportcard.publish.page.cells import decimals, marked_span, number

PANELS = 4
ROW, PANEL, LABEL, TOP, GAP, CHAR = 22, 210, 200, 56, 26, 26  # pixels; CHAR: letters of a label
COLOURS = {"model": "#1f5fa8", "floor": "#8a6d00", "ceiling": "#3f7d20"}
SIGNS = {"floor": "▼ ", "ceiling": "▲ "}


def forest(board: Board) -> str:
    """Return the SVG text. The same board gives the same bytes."""
    columns = _columns(board)
    height = TOP + ROW * len(board.entries) + 40
    width = LABEL + len(columns) * (PANEL + GAP) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" font-family="system-ui,sans-serif" font-size="12">',
        f"<title>{escape(board.id)}: scores with intervals</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="18" font-weight="bold">{escape(board.id)}</text>',
    ]
    for i, entry in enumerate(board.entries):
        y = TOP + ROW * i
        if i % 2:
            parts.append(f'<rect y="{y}" width="{width}" height="{ROW}" fill="#f4f4f4"/>')
        label = entry.label if len(entry.label) <= CHAR else entry.label[: CHAR - 1] + "…"
        text = escape(SIGNS.get(entry.kind, "") + label)
        parts.append(f'<text x="8" y="{y + 15}">{text}</text>')
    for i, column in enumerate(columns):
        parts += _panel(board.entries, column, LABEL + i * (PANEL + GAP), height)
    return "\n".join([*parts, "</svg>", ""])


def _columns(board: Board) -> list[Column]:
    shown = [c for c in board.columns if c.key == board.primary or c.lead]
    shown = [c for c in shown if _values(board.entries, c)]
    return sorted(shown, key=lambda c: c.key != board.primary)[:PANELS]


def _values(entries: Sequence[Entry], column: Column) -> list[float]:
    cells = [entry.cells[column.key] for entry in entries]
    ends = (end for cell in cells for end in (cell.value, cell.ci_low, cell.ci_high))
    return [end for end in ends if end is not None]


def _panel(entries: Sequence[Entry], column: Column, left: int, height: int) -> list[str]:
    """Draw the panel of one column.

    Args:
        entries: the lines of the board, from top to bottom.
        column: the key that the panel shows.
        left: where the panel begins, in pixels.
        height: the height of the whole plot in pixels.
    """
    values = _values(entries, column)
    low, high = min(0.0, *values), max(values)
    scale = (high - low) or 1.0
    places = decimals(column.range, values)

    def x(value: float) -> str:
        return f"{left + (value - low) / scale * PANEL:.1f}"

    bottom = height - 34
    parts = [
        f'<text x="{left}" y="{TOP - 12}">{escape(column.key)} {ARROW[column.direction]}</text>'
    ]
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        tick = low + share * scale
        parts.append(f'<path d="M{x(tick)} {TOP}V{bottom}" stroke="#ccc"/>')
        figure = number(tick, places)
        parts.append(
            f'<text x="{x(tick)}" y="{bottom + 16}" text-anchor="{anchor}">{figure}</text>'
        )
    for i, entry in enumerate(entries):
        cell = entry.cells[column.key]
        if cell.value is None:
            continue
        y, colour = TOP + ROW * i + ROW // 2, COLOURS.get(entry.kind, COLOURS["model"])
        text = number(cell.value, places)
        if cell.interval:
            start, end = cell.interval
            line = f"M{x(start)} {y}H{x(end)}"
            parts.append(f'<path d="{line}" stroke="{colour}" stroke-width="2"/>')
            text += f" {marked_span(cell.interval, places, cell.doubt)}"
            text += f"; unreliable: {cell.doubt}" if cell.doubt else ""
        text = escape(f"{entry.label}: {text}")
        parts.append(
            f'<circle cx="{x(cell.value)}" cy="{y}" r="4" fill="{colour}">'
            f"<title>{text}</title></circle>"
        )
    return parts
