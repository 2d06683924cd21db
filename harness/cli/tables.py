"""Prints the tables of evaluate, list and doctor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from reportcard.api import Json
from reportcard.core.console import ARROW, console, number

if TYPE_CHECKING:
    from reportcard.cli.cohort_description import DoctorLine


def scores_table(result: Json) -> None:
    """Print the scores of `evaluate`: by our names, then by a paper's names if any."""
    out, metrics = console(), result["metrics"]
    # Scores of single classes (`metric.class.statistic`) are left to the file: there are dozens.
    shown = {key: entry for key, entry in metrics.items() if key.count(".") == 1}
    out.print(_scores(f"{result['n']:,} pairs, protocol {result['protocol']}", shown))
    if result["columns"]:
        out.print(
            _scores(f"under the names of the paper ({result['protocol']})", result["columns"])
        )
    for name, reason in result["left_out"].items():
        out.print(Text(f"left out: {name}: {reason}"))
    reasons = {key.split(".")[0]: e["not_run"] for key, e in metrics.items() if "not_run" in e}
    for metric, reason in reasons.items():
        out.print(Text(f"not run: {metric}: {reason}"))
    for metric, why in result["unscored"].items():
        for reason, count in Counter(why.values()).most_common():
            out.print(Text(f"unscored: {metric}: {count:,} × {reason}"))
    for caveat in dict.fromkeys(e["caveat"] for e in metrics.values() if "caveat" in e):
        out.print(Text(f"caution: {caveat}", style="bold"))
    if len(shown) < len(metrics):
        out.print(f"{len(metrics) - len(shown)} more per-class scores: --json FILE")
    out.print(
        f"{result['empty_candidates']:,} empty candidates (kept and counted),"
        f" {result['excluded_empty_reference']:,} pairs left out because their reference is empty"
    )


def _scores(title: str, entries: Json) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    bounded = any("bounds" in entry for entry in entries.values())
    # The values that are possible, whatever the unscored pairs would have scored.
    last = ("possible",) if bounded else ()
    for name in ("value", "95 % low", "95 % high", "n", "unscored", *last):
        table.add_column(name, justify="right")
    for key, entry in entries.items():
        value = "not run" if "not_run" in entry else number(entry["value"])
        table.add_row(
            Text(f"{key} {ARROW[entry['direction']]}"),
            value,
            number(entry["ci_low"]),
            number(entry["ci_high"]),
            f"{entry['n']:,}",
            f"{entry['unscored']:,}",
            *([_range(entry.get("bounds"))] if bounded else []),
        )
    return table


def _range(bounds: Sequence[float | None] | None) -> str:
    if bounds is None or bounds == [None, None]:
        return "" if bounds is None else "unknown"
    return " … ".join(map(number, bounds))


def list_table(title: str, entries: Sequence[tuple[str, str]]) -> None:
    """Print names with their one-line descriptions."""
    table = Table(title=title, title_justify="left", show_header=False)
    for name, line in entries:
        table.add_row(Text(name), Text(line))
    console().print(table)


def systems_table(rows: Sequence[Json]) -> None:
    """Print the systems; a name in the first column can be given as model=NAME."""
    table = Table(title="models", title_justify="left")
    for name in (
        "model=",
        "system",
        "status",
        "here",
        "what it is, or why it cannot run (weights)",
    ):
        table.add_column(name, overflow="fold")
    for row in rows:
        style = "" if row["here"] == "ready" else "dim"
        weights = "" if row["weights"] == "none" else f" ({row['weights']})"
        about = f"{row['line'] or row['reason']}{weights}"
        cells = (row["model"], row["system"], row["status"], row["here"], about)
        table.add_row(*(Text(cell, style=style) for cell in cells))
    console().print(table)


def doctor_table(lines: Sequence[DoctorLine]) -> None:
    """Print what `doctor` found, a line per area."""
    table = Table(show_header=False)
    for area, state, text in lines:
        style = {"ok": "green", "missing": "red"}.get(state, "dim")
        table.add_row(Text(area), Text(state, style=style), Text(text))
    console().print(table)
