"""The tables of `reportcard validate`: Figure 4a and 4b of the LLaVA-Rad paper, in text."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from reportcard.api import Json
from reportcard.core.console import ARROW, console, number


def validation_tables(result: Json) -> None:
    """tau-b per metric, then raters and judges with one rater left out, then what was left."""
    out = console()
    if result["metrics"]:
        out.print(_taus(result))
    for target, found in result["leave_one_out"].items():
        out.print(_raters(target, found))
        for name, judge in found["judges"].items():
            out.print(_judge(target, name, judge, result["metrics"][name].get("caveat")))
    if result["leave_one_out"] and not any(t["judges"] for t in result["leave_one_out"].values()):
        out.print("no judge among these metrics counts errors: add chexprompt (--metrics)")
    if not result["leave_one_out"]:
        out.print("one count per pair (a consensus): no rater can be left out")
    for key, entry in result["metrics"].items():
        if "warning" in entry:
            out.print(Text(f"{key}: {entry['warning']}"))
    metrics = result["metrics"].items()
    caveats = {key.split(".")[0]: e["caveat"] for key, e in metrics if "caveat" in e}
    for metric, caveat in caveats.items():
        out.print(Text(f"{metric}: {caveat}"))
    for note in result["notes"]:
        out.print(Text(note))
    for metric, reason in result["not_run"].items():
        out.print(Text(f"not run: {metric}: {reason}"))


def _taus(result: Json) -> Table:
    title = (
        f"{result['dataset']}: Kendall tau-b with mean errors of"
        f" {'a consensus' if result['consensus'] else str(len(result['raters'])) + ' raters'},"
        f" {result['n']:,} pairs of {result['studies']:,} studies; positive = agrees"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    shown = any(t["published"] for e in result["metrics"].values() for t in e["tau"].values())
    for target in result["mean_errors"]:
        table.add_column(target, justify="right")
        table.add_column("95 % interval", justify="right")
        if shown:
            table.add_column("published", justify="right")
    for name in ("n", "unscored"):
        table.add_column(name, justify="right")
    for key, entry in result["metrics"].items():
        cells = []
        for tau in entry["tau"].values():
            cells += [number(tau["value"]), _interval(tau)]
            cells += [tau["published"] or ""] if shown else []
        mark = " *" if "warning" in entry else ""
        table.add_row(
            Text(f"{key} {ARROW[entry['direction']]}{mark}"),
            *cells,
            f"{entry['n']:,}",
            f"{entry['unscored']:,}",
        )
    return table


def _raters(target: str, found: Json) -> Table:
    published = found["published_rater_mad"]
    beside = f"; published mean MAD {published}" if published is not None else ""
    title = f"{target} errors: each rater against the mean of the others{beside}"
    table = Table(title=title, title_justify="left")
    for name in ("rater", "MAD", "95 % interval", "tau-b", "95 % interval"):
        table.add_column(name, justify="left" if name == "rater" else "right")
    mean = {"rater": "mean", **found["raters"]["mean"]}
    for line in [*found["raters"]["per_rater"], mean]:
        table.add_row(
            Text(line["rater"]),
            number(line["mad"]["value"]),
            _interval(line["mad"]),
            number(line["tau"]["value"]),
            _interval(line["tau"]),
        )
    return table


def _judge(target: str, name: str, judge: Json, caveat: str | None) -> Table:
    title = f"{target} errors: {name} against the same others, {judge['n']:,} pairs"
    table = Table(
        title=title + (f" ({caveat})" if caveat else ""),
        title_justify="left",
        caption="p: two-sided paired t-test of the absolute differences over pairs (as published);"
        " intervals are drawn by study",
        caption_justify="left",
    )
    heads = ("left out", "rater MAD", "judge MAD", "judge − rater", "95 % interval", "p")
    for head in (*heads, "rater tau-b", "judge tau-b"):
        table.add_column(head, justify="left" if head == "left out" else "right")
    for line in [*judge["per_rater"], {"rater": "mean", "p": None, **judge["mean"]}]:
        gap = line["judge_minus_rater"]
        table.add_row(
            Text(line["rater"]),
            number(line["mad"]["value"]),
            number(line["judge_mad"]["value"]),
            number(gap["value"]),
            _interval(gap),
            _p(line["p"]) + (" *" if line.get("differs") else ""),
            number(line["tau"]["value"]),
            number(line["judge_tau"]["value"]),
        )
    return table


def _interval(entry: Json) -> str:
    if entry["ci_low"] is None:
        return "–"
    return f"{number(entry['ci_low'])} … {number(entry['ci_high'])}"


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
