"""The columns of the page that are no scores: rank, studies and answers, speed and cost."""

from __future__ import annotations

from collections.abc import Callable

from reportcard.publish.board.boards import Board, Counts, Entry
from reportcard.publish.page.cells import MISSING, PageCell, alert, count, fact
from reportcard.publish.page.cells import share as percent
from reportcard.publish.page.score_columns import RANKED, Made, MakeCell, PageColumn

# What hovering over a header says.
EVALUATED = "Studies evaluated. A reference without text is excluded for all systems alike."
UNSCORED = "Studies that a metric could not score; the largest number over the metrics"
FAILED = "Studies on which the system failed; scored as an empty report"
EMPTY = "Answers without text; scored as such"
UNIQUE = "Different texts among the answers. Close to 0 %: one report for all patients."
WORDS = "Words per report: median, then the 5th to the 95th percentile"
SECONDS = "Seconds of generation per 1,000 studies, on the machine that ran it"
COST = "What 1,000 studies cost at the prices that the run was given"
DRAWS = "Answers per study. Scores are means over draws; sd is their standard deviation."


def _plain(name: str, group: str, better: str, tip: str, cell: Callable[[Entry], PageCell]) -> Made:
    """Return a column that is no score."""
    column = PageColumn(
        id=f"·{name}",
        group=group,
        metric="",
        name=name,
        better=better,
        arrow="",
        shown=True,
        primary=False,
        tip=tip,
    )
    return column, cell


def rank_columns(board: Board) -> list[Made]:
    """Return the column of rank intervals, unless the board has no ranks."""
    if not any(entry.rank for entry in board.entries):
        return []
    tip = (
        f"The ranks by {board.primary} that the verdicts on all pairs leave open; ties get the"
        " better rank. First in: the share of resamples in which no other system is better; it is"
        " not the probability that the system is the best. Floors are ranked too; a model below a"
        " floor cannot be rank 1."
    )
    return [_plain("rank", RANKED, "lower", tip, _rank_cell)]


def _rank_cell(entry: Entry) -> PageCell:
    rank = entry.rank
    if rank is None:
        return fact(MISSING, None)
    text = f"{rank.low}" if rank.low == rank.high else f"{rank.low}–{rank.high}"
    share = rank.share_first
    lines = [] if share is None else [f"first in {percent(share)}", "of resamples"]
    lines += ["a floor"] if rank.floor else []
    return fact(text, rank.low + rank.high / 1000, lines)


def fact_columns(board: Board) -> list[Made]:
    """Return the columns about studies, answers, speed and cost that the board has values for."""
    entries, answers, cost = board.entries, "studies and answers", "speed and cost"
    found = [
        _plain("n", answers, "higher", EVALUATED, _counted(lambda counts: counts.evaluated)),
        _plain("unscored", answers, "lower", UNSCORED, lambda e: alert(unscored(e))),
        _plain("failed", answers, "lower", FAILED, lambda e: alert(e.counts.failed)),
        _plain("empty", answers, "lower", EMPTY, lambda e: alert(e.counts.empty_candidates)),
        _plain("unique", answers, "higher", UNIQUE, _unique),
    ]
    if any(entry.lengths for entry in entries):
        found.append(_plain("words", answers, "higher", WORDS, _words))
    if any((entry.draws or 1) > 1 for entry in entries):
        found.append(_plain("draws", answers, "higher", DRAWS, _draws))
    if any(entry.speed for entry in entries):
        found.append(_plain("s / 1,000", cost, "lower", SECONDS, _speed))
    if any(entry.cost for entry in entries):
        found.append(_plain("$ / 1,000", cost, "lower", COST, _cost))
    return found


def unscored(entry: Entry) -> int | None:
    """Return the largest number of unscored studies over the metrics that ran."""
    found = [cell.unscored for cell in entry.cells.values() if cell.value is not None]
    return max((u for u in found if u is not None), default=None)


def _counted(of: Callable[[Counts], int | None]) -> MakeCell:
    return lambda entry: fact(count(of(entry.counts)), of(entry.counts))


def _draws(entry: Entry) -> PageCell:
    return fact(count(entry.draws), entry.draws or 1)


def _unique(entry: Entry) -> PageCell:
    n, unique, part = entry.counts.evaluated, entry.counts.unique_candidates, entry.unique_share
    if part is None and n and unique is not None:
        part = unique / n
    if part is None:
        return fact(MISSING, None)
    return fact(percent(part), part, tip=f"{count(unique)} different texts")


def _words(entry: Entry) -> PageCell:
    if entry.lengths is None:
        return fact(MISSING, None)
    words, reference = entry.lengths.candidate, entry.lengths.reference
    lines = [f"{words.p5:.0f}–{words.p95:.0f}"]
    return fact(f"{words.p50:.0f}", words.p50, lines, f"References: {reference.p50:.0f} words")


def _speed(entry: Entry) -> PageCell:
    if entry.speed is None:
        return fact(MISSING, None)
    seconds = entry.speed.seconds_per_1000
    return fact(f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.2g}", seconds)


def _cost(entry: Entry) -> PageCell:
    if entry.cost is None:
        return fact(MISSING, None)
    return fact(f"{entry.cost.usd_per_1000:,.2f}", entry.cost.usd_per_1000)
