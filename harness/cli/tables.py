"""Prints the tables of evaluate, list and doctor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from reportcard.api import Direction, Json
from reportcard.core.console import ARROW, UNRELIABLE, console, number, unreliable_lines
from reportcard.core.records import from_json

if TYPE_CHECKING:
    from reportcard.cli.cohort_description import DoctorLine
    from reportcard.cli.systems import CatalogueRow


@dataclass(frozen=True, slots=True)
class EvaluatedScore:
    """What the table shows of one score of `evaluate`."""

    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    unscored: int
    direction: Direction
    bounds: tuple[float | None, float | None] | None = None
    caveat: str | None = None
    doubt: str | None = None
    not_run: str | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the table shows of the result of `evaluate`.

    metrics has our names and columns those of a paper; unscored maps a metric to its unscored
    studies and why; left_out maps a paper's column that has no number here to the reason.
    """

    n: int
    protocol: str
    empty_candidates: int
    excluded_empty_reference: int
    metrics: Mapping[str, EvaluatedScore]
    unscored: Mapping[str, Mapping[str, str]]
    columns: Mapping[str, EvaluatedScore]
    left_out: Mapping[str, str]


def scores_table(result: Json) -> None:
    """Print the scores of `evaluate`: by our names, then by a paper's names if any."""
    out, found = console(), from_json(Evaluation, result)
    metrics = found.metrics
    # Scores of single classes (`metric.class.statistic`) are left to the file: there are dozens.
    shown = {key: score for key, score in metrics.items() if key.count(".") == 1}
    out.print(
        _scores(
            f"{found.n:,} {'pair' if found.n == 1 else 'pairs'}, protocol {found.protocol}", shown
        )
    )
    if found.columns:
        out.print(_scores(f"under the names of the paper ({found.protocol})", found.columns))
    for name, reason in found.left_out.items():
        out.print(Text(f"left out: {name}: {reason}"))
    reasons = {key.split(".")[0]: s.not_run for key, s in metrics.items() if s.not_run is not None}
    for metric, reason in reasons.items():
        out.print(Text(f"not run: {metric}: {reason}"))
    for metric, why in found.unscored.items():
        for reason, count in Counter(why.values()).most_common():
            out.print(Text(f"unscored: {metric}: {count:,} × {reason}"))
    lines = unreliable_lines((key, s.doubt) for key, s in shown.items() if s.ci_low is not None)
    for line in lines:
        out.print(Text(line))
    for caveat in dict.fromkeys(s.caveat for s in metrics.values() if s.caveat is not None):
        out.print(Text(f"caution: {caveat}", style="bold"))
    if len(shown) < len(metrics):
        out.print(f"{len(metrics) - len(shown)} more per-class scores: --json FILE")
    out.print(
        f"{found.empty_candidates:,} empty candidates (kept and counted),"
        f" {found.excluded_empty_reference:,} pairs left out because their reference is empty"
    )


def _scores(title: str, scores: Mapping[str, EvaluatedScore]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    bounded = any(score.bounds is not None for score in scores.values())
    # The values that are possible, whatever the unscored pairs would have scored.
    last = ("possible",) if bounded else ()
    for name in ("value", "95 % low", "95 % high", "n", "unscored", *last):
        table.add_column(name, justify="right")
    for key, score in scores.items():
        doubtful = score.ci_low is not None
        table.add_row(
            Text(f"{key} {ARROW[score.direction]}"),
            "not run" if score.not_run is not None else number(score.value),
            number(score.ci_low),
            number(score.ci_high) + (f" {UNRELIABLE}" if doubtful and score.doubt else ""),
            f"{score.n:,}",
            f"{score.unscored:,}",
            *([_range(score.bounds)] if bounded else []),
        )
    return table


def _range(bounds: tuple[float | None, float | None] | None) -> str:
    if bounds is None or bounds == (None, None):
        return "" if bounds is None else "unknown"
    return " … ".join(map(number, bounds))


def list_table(title: str, entries: Sequence[tuple[str, str]]) -> None:
    """Print names with their one-line descriptions."""
    table = Table(title=title, title_justify="left", show_header=False)
    for name, line in entries:
        table.add_row(Text(name), Text(line))
    console().print(table)


def systems_table(rows: Sequence[CatalogueRow]) -> None:
    """Print the systems; a name in the first column can be given as model=NAME."""
    table = Table(title="models", title_justify="left")
    about = "what it is, or why it cannot run (weights)"
    for name in ("model=", "system", "status", "here", about):
        table.add_column(name, overflow="fold")
    for row in rows:
        style = "" if row.here == "ready" else "dim"
        weights = "" if row.weights == "none" else f" ({row.weights})"
        cells = (row.model, row.system, row.status, row.here, f"{row.line or row.reason}{weights}")
        table.add_row(*(Text(cell, style=style) for cell in cells))
    console().print(table)


def doctor_table(lines: Sequence[DoctorLine]) -> None:
    """Print what `doctor` found, a line per area."""
    table = Table(show_header=False)
    for area, state, text in lines:
        style = {"ok": "green", "missing": "red"}.get(state, "dim")
        table.add_row(Text(area), Text(state, style=style), Text(text))
    console().print(table)
