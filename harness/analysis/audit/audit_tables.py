"""Turns audit results into tables, which are shown in the terminal and written as markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import rich.table
from rich.text import Text

from reportcard.analysis.audit.audit_results import (
    EditRates,
    JudgeAudit,
    JudgedMetric,
    MetricsAudit,
    PairEstimate,
    TypeRates,
)
from reportcard.analysis.audit.edited_pairs import KINDS, TYPES
from reportcard.core.console import ARROW, console, number

EDITS = tuple(kind for kind in KINDS if kind != "identity")


@dataclass(frozen=True)
class TextTable:
    """A table of text: its title, its column names and its rows; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def show(tables: Sequence[TextTable], notes: Sequence[str]) -> None:
    """Print the tables, then the notes."""
    out = console()
    for table in tables:
        drawn = rich.table.Table(title=table.title, title_justify="left")
        for i, name in enumerate(table.columns):
            drawn.add_column(Text(name), justify="right" if i else "left", no_wrap=not i)
        for row in table.rows:
            drawn.add_row(*(Text(cell) for cell in row))
        out.print(drawn)
    for note in notes:
        out.print(Text(note))


def markdown(tables: Sequence[TextTable], notes: Sequence[str]) -> str:
    """Return the tables as GitHub markdown, then the notes as a list."""
    lines: list[str] = []
    for table in tables:
        rule = ["---"] + ["---:"] * (len(table.columns) - 1)
        lines += [f"**{table.title}**", ""]
        lines += [_line(row) for row in (table.columns, rule, *table.rows)]
        lines.append("")
    return "\n".join([*lines, *(f"- {_escaped(note)}" for note in notes), ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def metrics_tables(result: MetricsAudit) -> tuple[list[TextTable], list[str]]:
    """Return three tables with a row per score (seen, wrong way round, mean change), and notes."""
    heads = {
        "seen": "seen: % of pairs scored worse than identity (paraphrase: false alarms);"
        " the rest is missed",
        "wrong": "wrong way round: % of pairs scored better than a faithful paraphrase",
        "change": "mean change against identity, in the metric's unit",
    }
    tables = []
    for what, title in heads.items():
        kinds = [k for k in EDITS if (what, k) != ("wrong", "paraphrase")]
        rows = [
            (f"{name} {ARROW[key.direction]}", *(_cell(what, key.kinds[k]) for k in kinds))
            for name, key in result.keys.items()
        ]
        columns = ("metric", *(k.replace("_", " ") for k in kinds))
        tables.append(TextTable(f"{title} ({result.pairs})", columns, rows))
    keys = result.keys.items()
    unscored = [f"unscored: {name}: {key.unscored} pairs" for name, key in keys if key.unscored]
    caveats = {f"{name.split('.')[0]}: {key.caveat}": None for name, key in keys if key.caveat}
    reasons = [f"not run: {name}: {reason}" for name, reason in result.not_run.items()]
    return tables, [*unscored, *caveats, *reasons]


def _cell(what: str, rates: EditRates) -> str:
    value: float | None = getattr(rates, what)
    if value is None:
        return "–"
    return f"{value:+.3g}" if what == "change" else f"{100 * value:.0f}"


def judge_tables(result: JudgeAudit) -> tuple[list[TextTable], list[str]]:
    """Return up to three tables per judged metric, and notes.

    The tables show error types, kinds of edit and a summary; the notes name the judge, its caveat
    and the unscored pairs.
    """
    tables, notes = [], [f"{result.pairs}, asked {result.repeats} times"]
    for name, found in result.metrics.items():
        if found.grades.counted:
            tables.append(_types(name, found.grades.counted.types))
        tables += [_kinds(name, found), _summary(name, found)]
        notes += [f"{name}: judge {found.judge}, prompt {', '.join(found.prompts)}"]
        notes += [f"{name}: {found.caveat}"] if found.caveat else []
        reasons = found.grades.coverage.reasons
        notes += [f"{name}: unscored: {n} × {reason}" for reason, n in reasons.items()]
        notes.append(found.signature)
    return tables, notes


def _types(name: str, types: Mapping[str, TypeRates]) -> TextTable:
    rows = [
        (f"{letter} {TYPES[letter]}", *_estimate(rates.recall), *_estimate(rates.false_alarm))
        for letter, rates in types.items()
    ]
    columns = ("error type", "recall", "95 % interval", "pairs with it")
    return TextTable(
        f"{name}: error types seen, and counted where there is none",
        (*columns, "false alarm", "95 % interval", "pairs without"),
        rows,
    )


def _kinds(name: str, found: JudgedMetric) -> TextTable:
    grades = found.grades
    rows = [(k.replace("_", " "), *_estimate(share)) for k, share in grades.kinds.items()]
    title = f"{name}: share flagged: {grades.flagged_by} (the last two are false alarms)"
    return TextTable(title, ("edit", "flagged", "95 % interval", "n"), rows)


def _summary(name: str, found: JudgedMetric) -> TextTable:
    coverage, counted = found.grades.coverage, found.grades.counted
    rows = [("scored", f"{coverage.scored} of {coverage.n}", "", str(coverage.n))]
    if counted:
        rows.append(("any error seen where there is one", *_estimate(counted.any_error)))
        for kind, alarm in counted.false_alarms.items():
            rows.append((f"{kind}: share with an error counted", *_estimate(alarm.share)))
            rows.append((f"{kind}: mean errors counted", *_estimate(alarm.mean)))
        rows.append(("total count exact", *_estimate(counted.exact_total)))
        rows.append(("all six counts exact", *_estimate(counted.exact_types)))
        rows.append(("tau-b of true and counted total", *_estimate(counted.tau_b)))
    labels = {"counts": "the same 12 counts", "total": "the same total", "row": "the same row"}
    for what, share in found.grades.retest.items():
        cells = _estimate(share) if share else ("asked once", "", "")
        rows.append((f"test–retest: {labels[what]}", *cells))
    return TextTable(f"{name}: summary", ("", "value", "95 % interval", "n"), rows)


def _estimate(found: PairEstimate) -> tuple[str, str, str]:
    interval = "–" if found.low is None else f"{number(found.low)} … {number(found.high)}"
    return number(found.value), interval, str(found.n)
