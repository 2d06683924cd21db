"""Which rows of a column cannot be told apart from its best row.

The best row is the best measured one that is not a ceiling. Another row is tied with it when the
paired bootstrap interval of their difference (the same resampled studies for both) contains 0.
Overlap of the two rows' own intervals would be the wrong test: it ignores that both were scored
on the same studies.

The intervals go into leaderboard.json under a digest of everything that they depend on, so that a
second build with the same rows resamples nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

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
from reportcard.score.stats.resampling import (
    Resampler,
    Scores,
    difference_interval,
    in_common,
    replicate_scores,
)


def mark_ties(
    results_dir: Path, boards: Sequence[Json], scorers: Sequence[Scorer] = (), cached: bool = True
) -> None:
    """Add `best`, `tied_with_best` and `difference` to cells, `ties` to boards.

    difference: [low, high] of this row less the best one. A column whose ties cannot be computed
    gets `ties_unknown`, a sentence. cached: what the last build found stays. Raises
    ReportCardError for rows that are not those scored.
    """
    saved = saved_in(results_dir, "ties") if cached else {}
    for board in boards:
        samplers = Samplers()
        board["ties"] = {}
        shown = [column for column in board["columns"] if column["headline"]]
        for metric in dict.fromkeys(column["metric"] for column in shown):
            columns = [c for c in shown if c["metric"] == metric]
            entry = _metric_ties(results_dir, board, columns, saved, scorers, samplers)
            if isinstance(entry, str):
                for column in columns:
                    column["ties_unknown"] = entry
            else:
                board["ties"][metric] = entry
                _mark(board, columns, entry["keys"])


def _mark(board: Json, columns: Sequence[Json], keys: Mapping[str, Json]) -> None:
    for column in columns:
        found = keys[column["key"]]
        for row in board["rows"]:
            cell = row["cells"][column["key"]]
            cell["best"] = row["model"] == found["best"]
            intervals = found["intervals"]
            interval = intervals.get(row["model"])
            # A row that no resample could compare with the best is not told apart from it.
            tied = row["model"] in intervals and (interval is None or _contains_zero(interval))
            cell["tied_with_best"] = cell["best"] or tied
            if interval and not cell["best"]:
                cell["difference"] = interval


def _contains_zero(interval: Sequence[float]) -> bool:
    low, high = interval
    return low <= ROUNDING and high >= -ROUNDING


def best_row(rows: Sequence[Json], column: Json) -> Json | None:
    """The best measured row that is not a ceiling; between equals the first by name."""
    rows = [row for row in rows if competes(row, column)]
    sign = -1 if column["direction"] == "higher" else 1
    return min(
        rows,
        key=lambda row: (sign * row["cells"][column["key"]]["value"], row["model"]),
        default=None,
    )


def _metric_ties(
    results_dir: Path,
    board: Json,
    columns: Sequence[Json],
    saved: Mapping[str, Json],
    scorers: Sequence[Scorer],
    samplers: Samplers,
) -> Json | str:
    """{"inputs", "keys": {key: {"best", "intervals"}}}, or a sentence why it cannot be had."""
    metric, fingerprint = columns[0]["metric"], columns[0]["metric_fingerprint"]
    rows = [row for row in board["rows"] if any(competes(row, c) for c in columns)]
    best = {c["key"]: best_row(board["rows"], c) for c in columns}
    if len(rows) < 2:
        keys = {k: {"best": row and row["model"], "intervals": {}} for k, row in best.items()}
        return {"inputs": None, "keys": keys}
    files = {row["model"]: row["score_files"][metric] for row in rows}
    for model, file in files.items():
        check_rows_file(folder_of(results_dir, board, model, metric), file["rows_sha256"])
    stats = recipe_of(files.values())
    inputs = digest(
        {
            "ties": 2,  # version of this computation
            "metric": fingerprint,
            "stats": stats,
            "rows": {model: file["rows_sha256"] for model, file in files.items()},
            "best": {key: row and row["model"] for key, row in best.items()},
        }
    )
    known: Json = saved.get(board["id"], {}).get(metric, {})
    if known.get("inputs") == inputs and set(known.get("keys", {})) >= set(best):
        return known
    scorer = scorer_of(metric, fingerprint, board["protocol"], scorers)
    if isinstance(scorer, str):
        return scorer
    loaded = load(results_dir, board, metric, files, stats, samplers)
    if isinstance(loaded, str):
        return loaded
    matrices, sampler = loaded
    pairs = _Pairs(matrices, scorer.metric.scores, sampler, stats["confidence"])
    keys = {}
    for column in columns:
        top = best[column["key"]]
        intervals = {
            row["model"]: pairs.interval(row["model"], top["model"], column["name"])
            for row in rows
            if top is not None and competes(row, column)
        }
        keys[column["key"]] = {"best": top and top["model"], "intervals": intervals}
    return {"inputs": inputs, "keys": keys}


class _Pairs:
    """Paired differences between rows of one metric, over the studies that both have scored.

    Rows without unscored studies share their replicates; a pair with some is resampled for itself.
    """

    def __init__(
        self, rows: Mapping[str, Array], scores: Scores, sampler: Resampler, confidence: float
    ) -> None:
        self._rows, self._scores = rows, scores
        self._sampler, self._confidence = sampler, confidence
        self._whole = {m: not np.isnan(matrix).any() for m, matrix in rows.items()}
        self._known: dict[tuple[str, str], tuple[dict[str, Array], dict[str, Array]]] = {}
        self._replicates: dict[str, dict[str, Array]] = {}

    def interval(self, a: str, b: str, key: str) -> list[float] | None:
        """[low, high] of a − b; None where no resample gives both a score."""
        if self._whole[a] and self._whole[b]:
            left, right = self._of(a), self._of(b)
        else:
            if (a, b) not in self._known:
                ours, theirs, _ = in_common(self._rows[a], self._rows[b])
                self._known[a, b] = (
                    replicate_scores(ours, self._scores, self._sampler),
                    replicate_scores(theirs, self._scores, self._sampler),
                )
            left, right = self._known[a, b]
        return difference_interval(left[key], right[key], self._confidence)

    def _of(self, model: str) -> dict[str, Array]:
        if model not in self._replicates:
            found = replicate_scores(self._rows[model], self._scores, self._sampler)
            self._replicates[model] = found
        return self._replicates[model]
