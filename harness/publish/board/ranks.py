"""How sure a rank is: its interval, and how often a system comes first, over joint resamples.

The systems of a board that are no ceiling are ranked by the board's primary key, models and floors
together, so that a model which a floor beats cannot look like a winner. In each bootstrap
resample of the studies (of the patients, where they are clusters; the same resample for all) every
system is scored, and

    rank    = 1 + number of systems with a better score; equals share the better rank
    low, high = percentiles of the rank at the confidence of the scores, rounded outwards
    p_top   = share of resamples in which no other system is better; a shared first counts for each

Only studies that every ranked system has scored count: one unscored study of one system is dropped
for all, and `n` says how many are left. A system without a score in a resample (nothing to count)
is last in it. A score is the mean over draws, in a resample as on the page.

Marshall & Spiegelhalter (BMJ 1998) rank hospitals so; the interval is wide where the data cannot
tell systems apart, which a bare rank hides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reportcard.api import Array, Json
from reportcard.core.files import digest
from reportcard.publish.board.resamples import (
    ROUNDING,
    Samplers,
    check_rows_file,
    competes,
    folder_of,
    load,
    recipe_of,
    saved_in,
    scorer_of,
)
from reportcard.score.scorer import Scorer
from reportcard.score.stats.resampling import Resampler, Scores, replicate_scores

FIELD = "ranking"
Ranks = npt.NDArray[np.int64]


def mark_ranks(
    results_dir: Path, boards: Sequence[Json], scorers: Sequence[Scorer] = (), cached: bool = True
) -> None:
    """Add `rank` to rows and `ranking` to boards: {"key", "n", "resamples", "unit", "systems"}, or
    {"key", "unknown": a sentence}; None where a board has no primary key.

    rank: {"key", "low", "high", "p_top", "floor"}, or None for a ceiling and for a row without a
    comparable score. cached: what the last build found stays. Raises ReportCardError for rows that
    are not those scored.
    """
    saved = saved_in(results_dir, FIELD) if cached else {}
    for board in boards:
        column = next((c for c in board["columns"] if c["key"] == board["primary"]), None)
        ranking = column and _ranking(results_dir, board, column, saved.get(board["id"]), scorers)
        board[FIELD] = ranking
        ranks = (ranking or {}).get("systems", {})
        for row in board["rows"]:
            if row["model"] in ranks:
                floor = row["kind"] == "floor"
                row["rank"] = {"key": board["primary"], **ranks[row["model"]], "floor": floor}


def _ranking(
    results_dir: Path, board: Json, column: Json, saved: Json | None, scorers: Sequence[Scorer]
) -> Json:
    metric, key = column["metric"], column["key"]
    models = [row["model"] for row in board["rows"] if competes(row, column)]
    files = {r["model"]: r["score_files"][metric] for r in board["rows"] if r["model"] in models}
    if not files:
        return {"key": key, "unknown": f"no system has a score for {key}"}
    for model, file in files.items():
        check_rows_file(folder_of(results_dir, board, model, metric), file["rows_sha256"])
    stats = recipe_of(files.values())
    inputs = digest(
        {
            "ranks": 1,  # version of this computation
            "metric": column["metric_fingerprint"],
            "key": [key, column["direction"]],
            "stats": stats,
            "rows": {model: file["rows_sha256"] for model, file in files.items()},
        }
    )
    if saved and saved.get("inputs") == inputs:
        return saved
    scorer = scorer_of(metric, column["metric_fingerprint"], board["protocol"], scorers)
    if isinstance(scorer, str):
        return {"key": key, "unknown": scorer}
    loaded = load(results_dir, board, metric, files, stats, Samplers())
    if isinstance(loaded, str):
        return {"key": key, "unknown": loaded}
    rows, sampler = loaded
    name, lower = column["name"], column["direction"] == "lower"
    scores, n = joint_scores(rows, scorer.metric.scores, name, sampler)
    if not n:
        return {"key": key, "unknown": "no study is scored by every system"}
    found = rank_intervals(-scores if lower else scores, stats["confidence"])
    return {
        "inputs": inputs,
        "key": key,
        "n": n,
        "resamples": sampler.resamples,
        "unit": sampler.unit,
        "systems": dict(zip(rows, found, strict=True)),
    }


def joint_scores(
    rows: Mapping[str, Array], scores: Scores, key: str, resampler: Resampler
) -> tuple[Array, int]:
    """(systems, resamples) of one key, over the studies that all have scored; and their number.

    rows: (draws, n, k) each, a NaN row is unscored.
    """
    unscored = np.any([np.isnan(matrix).any(axis=(0, 2)) for matrix in rows.values()], axis=0)
    found = []
    for matrix in rows.values():
        common = np.where(unscored[:, None], 0.0, matrix)
        found.append(replicate_scores(common, lambda t: {key: scores(t)[key]}, resampler)[key])
    return np.array(found), int((~unscored).sum())


def rank_intervals(scores: Array, confidence: float) -> list[Json]:
    """{"low", "high", "p_top"} of each system; scores: (systems, resamples), higher is better."""
    ranks = ranks_of(scores)
    tail = (1 - confidence) / 2
    low = np.quantile(ranks, tail, axis=1, method="lower")
    high = np.quantile(ranks, 1 - tail, axis=1, method="higher")
    top = (ranks == 1).mean(axis=1)
    return [
        {"low": int(a), "high": int(b), "p_top": round(float(p), 6)}
        for a, b, p in zip(low, high, top, strict=True)
    ]


def ranks_of(scores: Array) -> Ranks:
    """Rank of each system in each resample, 1 the best; equals (to rounding) share the better one.

    >>> ranks_of(np.array([[0.9], [0.5], [0.9], [0.1]])).ravel().tolist()
    [1, 3, 1, 4]
    """
    known = np.where(np.isnan(scores), -np.inf, scores)
    # One system at a time: all pairs at once would take systems² × resamples of memory.
    return np.array([1 + (known > one + ROUNDING).sum(axis=0) for one in known], np.int64)
