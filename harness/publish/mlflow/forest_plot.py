"""Draws the forest plot of a board as SVG: a panel per metric, a dot with its interval per system.

The first panel is the primary key; each other metric has a panel for the key that stands for it.
"""

from __future__ import annotations

from html import escape

from reportcard.api import Json
from reportcard.publish.page.cells import decimals, number

PANELS = 4
ROW, PANEL, LABEL, TOP, GAP, CHAR = 22, 210, 200, 56, 26, 26  # pixels; CHAR: letters of a label
COLOURS = {"model": "#1f5fa8", "floor": "#8a6d00", "ceiling": "#3f7d20"}
SIGNS = {"floor": "▼ ", "ceiling": "▲ "}


def forest(board: Json) -> str:
    """Return the SVG text. The same board gives the same bytes."""
    columns = _columns(board)
    height = TOP + ROW * len(board["rows"]) + 40
    width = LABEL + len(columns) * (PANEL + GAP) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" font-family="system-ui,sans-serif" font-size="12">',
        f"<title>{escape(board['id'])}: scores with intervals</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="18" font-weight="bold">{escape(board["id"])}</text>',
    ]
    for i, row in enumerate(board["rows"]):
        y = TOP + ROW * i
        if i % 2:
            parts.append(f'<rect y="{y}" width="{width}" height="{ROW}" fill="#f4f4f4"/>')
        label = row["label"] if len(row["label"]) <= CHAR else row["label"][: CHAR - 1] + "…"
        said = escape(SIGNS.get(row["kind"], "") + label)
        parts.append(f'<text x="8" y="{y + 15}">{said}</text>')
    for i, column in enumerate(columns):
        parts += _panel(board["rows"], column, LABEL + i * (PANEL + GAP), height)
    return "\n".join([*parts, "</svg>", ""])


def _columns(board: Json) -> list[Json]:
    shown = [c for c in board["columns"] if c["key"] == board["primary"] or c["lead"]]
    shown = [c for c in shown if _values(board["rows"], c)]
    return sorted(shown, key=lambda c: c["key"] != board["primary"])[:PANELS]


def _values(rows: list[Json], column: Json) -> list[float]:
    cells = [row["cells"][column["key"]] for row in rows]
    names = ("value", "ci_low", "ci_high")
    return [cell[name] for cell in cells for name in names if cell.get(name) is not None]


def _panel(rows: list[Json], column: Json, left: int, height: int) -> list[str]:
    values = _values(rows, column)
    low, high = min(0.0, *values), max(values)
    span = (high - low) or 1.0
    places = decimals(column, values)

    def x(value: float) -> str:
        return f"{left + (value - low) / span * PANEL:.1f}"

    bottom = height - 34
    arrow = "↑" if column["direction"] == "higher" else "↓"
    parts = [f'<text x="{left}" y="{TOP - 12}">{escape(column["key"])} {arrow}</text>']
    for share in (0.0, 0.5, 1.0):
        tick = low + share * span
        parts.append(f'<path d="M{x(tick)} {TOP}V{bottom}" stroke="#ccc"/>')
        anchor = {0.0: "start", 0.5: "middle", 1.0: "end"}[share]
        figure = number(tick, places)
        parts.append(
            f'<text x="{x(tick)}" y="{bottom + 16}" text-anchor="{anchor}">{figure}</text>'
        )
    for i, row in enumerate(rows):
        cell = row["cells"][column["key"]]
        if cell["value"] is None:
            continue
        y, colour = TOP + ROW * i + ROW // 2, COLOURS.get(row["kind"], COLOURS["model"])
        ends = [cell["ci_low"], cell["ci_high"]]
        told = number(cell["value"], places)
        if None not in ends:
            line = f"M{x(ends[0])} {y}H{x(ends[1])}"
            parts.append(f'<path d="{line}" stroke="{colour}" stroke-width="2"/>')
            told += f" [{number(ends[0], places)}, {number(ends[1], places)}]"
        told = escape(f"{row['label']}: {told}")
        parts.append(
            f'<circle cx="{x(cell["value"])}" cy="{y}" r="4" fill="{colour}">'
            f"<title>{told}</title></circle>"
        )
    return parts
