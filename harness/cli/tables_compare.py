"""Prints comparisons of results as rich tables: compare, power, all pairs, explain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from reportcard.analysis.paired_comparison import KeyComparison, PairedComparison
from reportcard.analysis.sample_size import Plan
from reportcard.analysis.score_difference import Explanation
from reportcard.core.console import ARROW, UNRELIABLE, console, number, unreliable_lines
from reportcard.publish.board.pairwise_matrix import Pairs
from reportcard.score.stats.family import FAMILY


def comparison_table(cohort: str, names: tuple[str, str], found: PairedComparison) -> None:
    """Print what `compare` found on one cohort; scores are over the studies that both have."""
    a, b = names
    table = Table(title=f"{a} − {b} on {cohort}", title_justify="left")
    table.add_column("metric", no_wrap=True)
    last = ("effect", "n", "studies needed")
    for name in (a, b, "A − B", "95 % interval", "p", "p (Holm)", *last):
        table.add_column(Text(name), justify="right")
    for one in found.keys:
        d = one.difference
        table.add_row(
            Text(f"{one.key} {ARROW[one.direction]}"),
            number(d.a),
            number(d.b),
            number(d.value),
            f"{number(d.low)} … {number(d.high)}" + (f" {UNRELIABLE}" if one.doubt else ""),
            _chance(d.p),
            _chance(one.p_holm),
            "–" if one.effect.size is None else f"{one.effect.size:+.2f}",
            f"{d.n:,}",
            _needed(one),
        )
    out = console()
    out.print(table)
    out.print(
        f"p: without multiple-testing correction; p (Holm): the board's verdict. {FAMILY} effect:"
        " A − B in standard deviations of one study's difference. studies needed: for 80 % power at"
        " 5 %, one key alone; enough: the difference is significant already (docs/statistics.md)"
    )
    for metric, count in dict.fromkeys((one.key.split(".")[0], one.unscored) for one in found.keys):
        if count:
            studies = "1 study" if count == 1 else f"{count:,} studies"
            verb = "is" if count == 1 else "are"
            line = f"left out: {studies} of {metric} that {verb} unscored for one or both"
            out.print(Text(line))
    for key, reason in found.left_out.items():
        out.print(Text(f"left out: {key}: {reason}"))
    for line in unreliable_lines((one.key, one.doubt) for one in found.keys):
        out.print(Text(line))
    for caveat in dict.fromkeys(one.caveat for one in found.keys if one.caveat):
        out.print(Text(f"caution: {caveat}", style="bold"))


def _chance(p: float | None) -> str:
    """Write a p-value; a small one is not 0."""
    if p is None:
        return "–"
    return "< 0.0001" if p < 0.00005 else f"{p:.4f}"


def _needed(one: KeyComparison) -> str:
    if one.significant:
        return "enough"
    needed = one.studies_needed
    return "–" if needed is None else f"{needed:,}"


def power_table(title: str, plans: Sequence[Plan]) -> None:
    """Print the studies for 80 and 90 % power per key, and what this cohort can show."""
    table = Table(title=Text(title), title_justify="left")
    table.add_column("metric")
    for name in (
        *("difference", "n", "power at n", "studies for 80 %", "studies for 90 %"),
        "detectable at n",
    ):
        table.add_column(name, justify="right")
    for plan in plans:
        table.add_row(
            Text(f"{plan.key} {ARROW[plan.direction]}"),
            number(plan.difference),
            f"{plan.n:,}",
            f"{100 * plan.power_at(plan.n):.0f} %",
            *(_studies(plan, wanted) for wanted in (0.8, 0.9)),
            number(plan.detectable(0.8)),
        )
    out = console()
    out.print(table)
    for plan in plans:
        curve = "  ".join(f"{n:,}: {100 * chance:.0f} %" for n, chance in plan.curve)
        out.print(Text(f"{plan.key}  n → power  {curve}"))
    for plan in plans:
        if plan.caution:
            out.print(Text(f"caution: {plan.key}: {plan.caution}", style="bold"))
    out.print(
        "n for 80 %: the power averages 80 % over what the scored studies leave open; in brackets,"
        " the 95 % interval of the answer (docs/statistics.md)"
    )
    for assumed in dict.fromkeys(plan.assumed for plan in plans):
        out.print(Text(f"{assumed}; two-sided 5 %, 80 % power for what is detectable"))


def _studies(plan: Plan, wanted: float) -> str:
    """Return the studies that are needed, with their interval: 912 [310, 5,200]."""
    needed, interval = plan.needed(wanted), plan.interval(wanted)
    if needed is None or interval is None:
        return "–"
    low, high = interval
    return f"{needed:,} [{low:,}, {'no end' if high is None else f'{high:,}'}]"


def pairs_table(title: str, found: Pairs, labels: Mapping[str, str]) -> None:
    """Print the differences of all pairs, row minus column; `*` marks the significant ones.

    labels: folder of a system → its label.
    """
    out, about = console(), found.pairs_about
    if about is None or about.unknown is not None:
        out.print(Text(f"{title}: no pairs ({about.unknown if about else 'no key'})"))
        return
    names = list(dict.fromkeys(name for pair in found.pairs for name in (pair.a, pair.b)))
    cells: dict[tuple[str, str], str] = {}
    for pair in found.pairs:
        mark = "*" if pair.told_apart else ""
        cells[pair.a, pair.b] = f"{pair.difference + 0.0:+.3g}{mark}"
        cells[pair.b, pair.a] = f"{-pair.difference + 0.0:+.3g}{mark}"
    table = Table(title=Text(title), title_justify="left")
    table.add_column("row − column")
    for i in range(len(names)):
        table.add_column(str(i + 1), justify="right")
    for i, a in enumerate(names):
        row = (cells.get((a, b), "" if a == b else "–") for b in names)
        table.add_row(Text(f"{i + 1} {labels.get(a, a)}"), *row)
    out.print(table)
    significant = sum(pair.told_apart for pair in found.pairs)
    out.print(
        f"* significant difference: {significant} of {len(found.pairs)} pairs. {FAMILY}"
        f" ({about.trials:,} randomisations; a smaller p is their normal tail)"
    )
    if about.left_out:
        out.print(Text(f"left out, beyond the first {len(names)}: {', '.join(about.left_out)}"))


def explain_table(found: Explanation) -> None:
    """Print why two scores differ: what is recorded of both, by its effect on the score."""
    out = console()
    out.print(Text(f"A: {_short(found.a.name)}"))
    out.print(Text(f"B: {_short(found.b.name)}"))
    if found.values:
        table = Table()
        for name in ("metric", "A", "B"):
            table.add_column(name, justify="left" if name == "metric" else "right")
        for key, left, right in found.values:
            table.add_row(Text(key), number(left), number(right))
        out.print(table)
    for title, entries in found.differences.items():
        if not entries:
            continue
        table = Table(title=Text(title), title_justify="left")
        for name in ("what", "A", "B"):
            table.add_column(name, overflow="fold")
        for entry in entries:
            table.add_row(*(Text(_short(x)) for x in (entry.field, entry.a, entry.b)))
        out.print(table)
    out.print(Text(found.verdict, style="bold"))


def _short(value: object) -> str:
    """Return one printable line: a card may quote what a model or a file said."""
    text = "not recorded" if value is None else str(value)
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= 200 else f"{text[:199]}…"
