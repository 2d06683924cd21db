"""Audit results as tables: rich in a terminal, markdown in a file, from the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import rich.table
from rich.text import Text

from reportcard.analysis.audit.edited_pairs import KINDS, TYPES
from reportcard.api import Json
from reportcard.core.console import ARROW, console, number

EDITS = tuple(kind for kind in KINDS if kind != "identity")


@dataclass(frozen=True)
class Table:
    """A title, the columns' names and rows of text; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def show(tables: Sequence[Table], notes: Sequence[str]) -> None:
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


def markdown(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """GitHub tables, then the notes as a list."""
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


def metrics_tables(result: Json) -> tuple[list[Table], list[str]]:
    """Seen, wrong way round and mean change, a row per metric key; and what was not run."""
    keys = result["keys"]
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
            (f"{key} {ARROW[e['direction']]}", *(_cell(what, e["kinds"][k][what]) for k in kinds))
            for key, e in keys.items()
        ]
        columns = ("metric", *(k.replace("_", " ") for k in kinds))
        tables.append(Table(f"{title} ({result['pairs']})", columns, rows))
    unscored = [
        f"unscored: {key}: {e['unscored']} pairs" for key, e in keys.items() if e["unscored"]
    ]
    caveats = {f"{k.split('.')[0]}: {e['caveat']}": None for k, e in keys.items() if "caveat" in e}
    reasons = [f"not run: {name}: {reason}" for name, reason in result["not_run"].items()]
    return tables, [*unscored, *caveats, *reasons]


def _cell(what: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:+.3g}" if what == "change" else f"{100 * value:.0f}"


def judge_tables(result: Json) -> tuple[list[Table], list[str]]:
    """Per judged metric: types (where it counts), kinds, summary; and who judged, with caveats."""
    tables, notes = [], [f"{result['pairs']}, asked {result['repeats']} times"]
    for name, found in result["metrics"].items():
        if "types" in found:
            tables.append(_types(name, found["types"]))
        tables += [_kinds(name, found), _summary(name, found)]
        notes += [f"{name}: judge {found['judge']}, prompt {', '.join(found['prompts'])}"]
        notes += [f"{name}: {found['caveat']}"] if found["caveat"] else []
        reasons = found["coverage"]["reasons"]
        notes += [f"{name}: unscored: {n} × {reason}" for reason, n in reasons.items()]
        notes.append(found["signature"])
    return tables, notes


def _types(name: str, types: Json) -> Table:
    rows = []
    for letter, entry in types.items():
        recall, alarm = entry["recall"], entry["false_alarm"]
        rows.append((f"{letter} {TYPES[letter]}", *_estimate(recall), *_estimate(alarm)))
    columns = ("error type", "recall", "95 % interval", "pairs with it")
    return Table(
        f"{name}: error types seen, and counted where there is none",
        (*columns, "false alarm", "95 % interval", "pairs without"),
        rows,
    )


def _kinds(name: str, found: Json) -> Table:
    rows = [(k.replace("_", " "), *_estimate(entry)) for k, entry in found["kinds"].items()]
    title = f"{name}: share flagged: {found['flagged_by']} (the last two are false alarms)"
    return Table(title, ("edit", "flagged", "95 % interval", "n"), rows)


def _summary(name: str, found: Json) -> Table:
    coverage = found["coverage"]
    rows = [("scored", f"{coverage['scored']} of {coverage['n']}", "", str(coverage["n"]))]
    if "types" in found:
        rows.append(("any error seen where there is one", *_estimate(found["any_error"])))
        for kind, alarm in found["false_alarms"].items():
            rows.append((f"{kind}: share with an error counted", *_estimate(alarm["share"])))
            rows.append((f"{kind}: mean errors counted", *_estimate(alarm["mean"])))
        rows.append(("total count exact", *_estimate(found["exact_total"])))
        rows.append(("all six counts exact", *_estimate(found["exact_types"])))
        rows.append(("tau-b of true and counted total", *_estimate(found["tau_b"])))
    for what, entry in found["retest"].items():
        label = {"counts": "the same 12 counts", "total": "the same total", "row": "the same row"}
        cells = _estimate(entry) if entry else ("asked once", "", "")
        rows.append((f"test–retest: {label[what]}", *cells))
    return Table(f"{name}: summary", ("", "value", "95 % interval", "n"), rows)


def _estimate(entry: Json) -> tuple[str, str, str]:
    interval = "–" if entry["low"] is None else f"{number(entry['low'])} … {number(entry['high'])}"
    return number(entry["value"]), interval, str(entry["n"])
