"""Shows the result of `reportcard validate`: Figures 4a and 4b of the LLaVA-Rad paper as tables."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from reportcard.analysis.validation.validation_results import (
    Agreement,
    JudgeSummary,
    LeaveOneOut,
    ValidationResult,
)
from reportcard.core.console import ARROW, console, number


def validation_tables(result: ValidationResult) -> None:
    """Print tau-b per metric, then raters and judges with one rater left out, then notes."""
    out = console()
    if result.metrics:
        out.print(_taus(result))
    for target, found in result.leave_one_out.items():
        out.print(_raters(target, found))
        for name, judge in found.judges.items():
            out.print(_judge(target, name, judge, result.metrics[name].caveat))
    if result.leave_one_out and not any(one.judges for one in result.leave_one_out.values()):
        out.print("none of these metrics has a judge that counts errors; add: --metrics chexprompt")
    if not result.leave_one_out:
        out.print("one count per pair (a consensus): no rater can be left out")
    for key, metric in result.metrics.items():
        if metric.warning:
            out.print(Text(f"{key}: {metric.warning}"))
    caveats = {k.split(".")[0]: m.caveat for k, m in result.metrics.items() if m.caveat}
    for name, caveat in caveats.items():
        out.print(Text(f"{name}: {caveat}"))
    for note in result.notes:
        out.print(Text(note))
    for name, reason in result.not_run.items():
        out.print(Text(f"not run: {name}: {reason}"))


def _taus(result: ValidationResult) -> Table:
    title = (
        f"{result.dataset}: Kendall tau-b with mean errors of"
        f" {'a consensus' if result.consensus else str(len(result.raters)) + ' raters'},"
        f" {result.n:,} pairs of {result.studies:,} studies; positive = agrees"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    shown = any(tau.published for metric in result.metrics.values() for tau in metric.tau.values())
    for target in result.mean_errors:
        table.add_column(target, justify="right")
        table.add_column("95 % interval", justify="right")
        if shown:
            table.add_column("published", justify="right")
    for name in ("n", "unscored"):
        table.add_column(name, justify="right")
    for key, metric in result.metrics.items():
        cells = []
        for tau in metric.tau.values():
            cells += [number(tau.value), _interval(tau)]
            cells += [tau.published or ""] if shown else []
        mark = " *" if metric.warning else ""
        table.add_row(
            Text(f"{key} {ARROW[metric.direction]}{mark}"),
            *cells,
            f"{metric.n:,}",
            f"{metric.unscored:,}",
        )
    return table


def _raters(target: str, found: LeaveOneOut) -> Table:
    published = found.published_rater_mad
    beside = f"; published mean MAD {published}" if published is not None else ""
    title = f"{target} errors: each rater against the mean of the others{beside}"
    table = Table(title=title, title_justify="left")
    for name in ("rater", "MAD", "95 % interval", "tau-b", "95 % interval"):
        table.add_column(name, justify="left" if name == "rater" else "right")
    for line in [*found.raters.per_rater, found.raters.mean]:
        table.add_row(
            Text(line.rater),
            number(line.mad.value),
            _interval(line.mad),
            number(line.tau.value),
            _interval(line.tau),
        )
    return table


def _judge(target: str, name: str, judge: JudgeSummary, caveat: str | None) -> Table:
    title = f"{target} errors: {name} against the same others, {judge.n:,} pairs"
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
    for line in [*judge.summary.per_rater, judge.summary.mean]:
        assert line.judge is not None
        table.add_row(
            Text(line.rater),
            number(line.mad.value),
            number(line.judge.mad.value),
            number(line.judge.minus_rater.value),
            _interval(line.judge.minus_rater),
            _p(line.judge.p) + (" *" if line.judge.differs else ""),
            number(line.tau.value),
            number(line.judge.tau.value),
        )
    return table


def _interval(measure: Agreement) -> str:
    if measure.ci_low is None:
        return "–"
    return f"{number(measure.ci_low)} … {number(measure.ci_high)}"


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
