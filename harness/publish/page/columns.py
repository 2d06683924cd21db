"""The columns of a board on the page: rank, the metrics by what they see, then answers and cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from reportcard.api import Json
from reportcard.publish.page.cells import MISSING, alert, count, decimals, fact, metric_cell, scale
from reportcard.publish.page.cells import share as percent

RANKED = "ranked by"
GROUPS = ("lexical", "clinical", "judged", "grounding", "other metrics")
# By the first word of a metric's name: every variant of BLEU counts words.
FAMILIES = {
    "lexical": ("bleu", "rouge", "cider", "meteor", "bertscore"),
    "clinical": ("f1", "radgraph", "radcliq", "semb", "ratescore", "chexbert"),
    "judged": ("chexprompt", "radfact", "green", "crimson", "finerad"),
    "grounding": ("grounding",),
}
TIPS = {
    "n": "Studies evaluated. A reference without text is excluded for all systems alike.",
    "unscored": "Studies that a metric could not score; the largest number over the metrics",
    "failed": "Studies on which the system failed; scored as an empty report",
    "empty": "Answers without text; scored as such",
    "unique": "Different texts among the answers. Close to 0 %: one report for all patients.",
    "words": "Words per report: median, then the 5th to the 95th percentile",
    "seconds": "Seconds of generation per 1,000 studies, on the machine that ran it",
    "cost": "What 1,000 studies cost at the prices that the run was given",
    "draws": "Answers per study. Scores are means over draws; sd is their standard deviation.",
}


def columns_of(board: Json) -> list[Json]:
    """Every column as the page shows it, rank first; `shown` tells those of the first view."""
    metrics = sorted(
        (_metric(column, board) for column in board["columns"]),
        key=lambda column: ([RANKED, *GROUPS].index(column["group"]), column["metric"]),
    )
    return [*_rank(board), *metrics, *_facts(board)]


def group_of(column: Json) -> str:
    """lexical, clinical, judged or grounding; a metric of one's own is among the others."""
    stem = column["metric"].split("_")[0].lower()
    return next((group for group, names in FAMILIES.items() if stem in names), GROUPS[-1])


def _metric(column: Json, board: Json) -> Json:
    key, better = column["key"], column["direction"]
    cells = [(row["kind"], row["cells"][key]) for row in board["rows"]]
    places = decimals(column, [c["value"] for _, c in cells if c["value"] is not None])
    axis = scale(column, cells)
    ends = [f"{end:g}" if end is not None else "unbounded" for end in column["range"]]
    return {
        "id": key,
        "group": RANKED if key == board["primary"] else group_of(column),
        "metric": column["metric"],
        "name": column["name"],
        "better": better,
        "arrow": "↑" if better == "higher" else "↓",
        "shown": column["headline"] or key == board["primary"],
        "primary": key == board["primary"],
        "tip": (
            f"{key}: {better} is better. Unit: {column['unit']}, from {ends[0]} to {ends[1]}."
            f" Version {column['version'] or 'unknown'}."
        ),
        "cell": lambda row: metric_cell(row["cells"][key], places, axis),
    }


def _plain(
    name: str,
    group: str,
    better: str,
    tip: str,
    cell: Callable[[Json], Json],
    shown: bool = True,
) -> Json:
    return {
        **{"id": f"·{name}", "group": group, "metric": "", "name": name, "better": better},
        **{"arrow": "", "shown": shown, "primary": False, "tip": tip, "cell": cell},
    }


def _rank(board: Json) -> list[Json]:
    if not any(row.get("rank") for row in board["rows"]):
        return []
    tip = (
        f"Place by {board['primary']}: the interval that the joint bootstrap of all systems leaves"
        " open. Systems that share a place are not told apart. P: share of resamples in which the"
        " system comes first. Floors are ranked along, so that a model they beat cannot win."
    )
    return [_plain("rank", RANKED, "lower", tip, _rank_cell)]


def _rank_cell(row: Json) -> Json:
    rank = row.get("rank")
    if not rank:
        return fact(MISSING, None)
    low, high, top = rank["low"], rank["high"], rank.get("p_top")
    text = f"{low}" if low == high else f"{low}–{high}"
    lines = [] if top is None else [f"P(first) {percent(top)}"]
    lines += ["a floor"] if rank.get("floor") else []
    return fact(text, low + high / 1000, lines=lines)


def _facts(board: Json) -> list[Json]:
    rows, answers, cost = board["rows"], "studies and answers", "speed and cost"
    found = [
        _plain("n", answers, "higher", TIPS["n"], _counted("evaluated")),
        _plain(
            "unscored",
            answers,
            "lower",
            TIPS["unscored"],
            lambda row: alert(unscored(row)),
        ),
        *(
            _plain(name, answers, "lower", TIPS[name], _alerting(of))
            for name, of in (("failed", "failed"), ("empty", "empty_candidates"))
        ),
        _plain("unique", answers, "higher", TIPS["unique"], _unique),
    ]
    if _any(rows, "lengths"):
        found.append(_plain("words", answers, "higher", TIPS["words"], _words))
    if any((row["draws"] or 1) > 1 for row in rows):
        found.append(_plain("draws", answers, "higher", TIPS["draws"], _draws))
    if _any(rows, "speed"):
        found.append(_plain("s / 1,000", cost, "lower", TIPS["seconds"], _speed))
    if _any(rows, "cost"):
        found.append(_plain("$ / 1,000", cost, "lower", TIPS["cost"], _cost))
    return found


def _any(rows: Sequence[Json], name: str) -> bool:
    return any(row.get(name) for row in rows)


def unscored(row: Json) -> int | None:
    """The largest number of unscored studies over the metrics that ran."""
    found = [c.get("unscored") for c in row["cells"].values() if c["value"] is not None]
    return max((u for u in found if u is not None), default=None)


def _counted(name: str) -> Callable[[Json], Json]:
    return lambda row: fact(count(row["counts"][name]), row["counts"][name])


def _alerting(name: str) -> Callable[[Json], Json]:
    return lambda row: alert(row["counts"][name])


def _draws(row: Json) -> Json:
    return fact(count(row["draws"]), row["draws"] or 1)


def _unique(row: Json) -> Json:
    n, unique = row["counts"]["evaluated"], row["counts"]["unique_candidates"]
    part = row.get("unique_share")
    if part is None and n and unique is not None:
        part = unique / n
    if part is None:
        return fact(MISSING, None)
    return fact(percent(part), part, tip=f"{count(unique)} different texts")


def _words(row: Json) -> Json:
    lengths: Any = (row.get("lengths") or {}).get("candidate") or {}
    middle = lengths.get("p50")
    if middle is None:
        return fact(MISSING, None)
    reference = ((row.get("lengths") or {}).get("reference") or {}).get("p50")
    lines = [f"{lengths.get('p5', 0):.0f}–{lengths.get('p95', 0):.0f}"]
    tip = "" if reference is None else f"References: {reference:.0f} words"
    return fact(f"{middle:.0f}", middle, lines=lines, tip=tip)


def _speed(row: Json) -> Json:
    seconds = (row.get("speed") or {}).get("seconds_per_1000")
    if seconds is None:
        return fact(MISSING, None)
    return fact(f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.2g}", seconds)


def _cost(row: Json) -> Json:
    dollars = (row.get("cost") or {}).get("usd_per_1000")
    return fact(MISSING, None) if dollars is None else fact(f"{dollars:,.2f}", dollars)
