"""Prepares the comparison of a board's entries: their rows, the metric that reads them, resamples.

`verdicts.py` and `ranks.py` each build a `Comparison` and, unless the last build
has the same inputs, prepare it. Where entries cannot be compared, NotComparableError says why; it
becomes a sentence on the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reportcard.api import Array, ReportCardError
from reportcard.config import compose as config
from reportcard.core.files import canonical, digest, file_digest
from reportcard.core.layout import Results, ScoreFolder
from reportcard.core.records import to_json
from reportcard.publish.board.boards import Board, Column, Entry, Leaderboard, ScoredRows
from reportcard.score.rows_file import load_rows
from reportcard.score.score_file import IntervalStats
from reportcard.score.scorer import Scorer, open_metrics
from reportcard.score.stats.resampling import Resampler, Scores

# Two systems with the same answers differ by rounding at most; that is a tie, not a difference.
ROUNDING = 1e-12


class NotComparableError(ReportCardError):
    """Entries cannot be compared; the message is the sentence that the page shows."""


class Samplers:
    """Draws the bootstrap weights of a board once per (n, recipe), for all of its metrics."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, int, int, bytes], Resampler] = {}

    def get(
        self, n: int, stats: IntervalStats, clusters: npt.NDArray[np.int64] | None
    ) -> Resampler:
        """Return the weights of n studies; clusters: the patient number of each study."""
        groups = b"" if clusters is None else clusters.tobytes()
        key = (n, stats.resamples, stats.seed, groups)
        if key not in self._made:
            self._made[key] = Resampler(n, stats.resamples, stats.seed, clusters)
        return self._made[key]


@dataclass(frozen=True)
class PreparedComparison:
    """What a comparison computes with: rows (draws, n, k) by entry, their metric, the weights."""

    rows: Mapping[str, Array]
    scorer: Scorer
    resampler: Resampler
    confidence: float

    @property
    def scores(self) -> Scores:
        """The score function; what a sample decides is taken from the row with most studies."""
        fullest = min(self.rows.values(), key=lambda rows: int(np.isnan(rows).any(axis=-1).sum()))
        return self.scorer.scores_of_sample(fullest)


@dataclass(frozen=True)
class Comparison:
    """Entries of one board that are compared on one metric. `files` names their rows.

    `stats` is one interval recipe for all of them, also where they were scored apart.
    """

    results: Results
    board: Board
    column: Column
    files: Mapping[str, ScoredRows]
    stats: IntervalStats

    @classmethod
    def of(
        cls, results_dir: Path, board: Board, column: Column, entries: Sequence[Entry]
    ) -> Comparison:
        """Collect the entries' rows files and check that they are the ones that were scored.

        Raises ReportCardError naming a file that is not, and NotComparableError without entries.
        """
        results = Results(results_dir)
        files = {entry.model: entry.score_files[column.metric] for entry in entries}
        for model, file in files.items():
            check_rows_file(results.metric(board.run(model), column.metric), file.rows_sha256)
        recipes = [file.stats for file in files.values() if file.stats is not None]
        if not recipes:
            raise NotComparableError(f"no system has a score for {column.key}")
        stats = max(recipes, key=lambda s: (s.resamples, canonical(to_json(s))))
        return cls(results, board, column, files, stats)

    def inputs(self, **about: Any) -> str:
        """Return a digest of everything that the comparison depends on.

        about: what the kind of comparison depends on beyond metric, recipe and rows.
        """
        return digest(
            {
                "metric": self.column.metric_fingerprint,
                "stats": to_json(self.stats),
                "rows": {model: file.rows_sha256 for model, file in self.files.items()},
                **about,
            }
        )

    def prepare(self, scorers: Sequence[Scorer], samplers: Samplers) -> PreparedComparison:
        """Open the metric, load the rows of every entry and draw the resamples.

        scorers: metrics that are open already. Raises NotComparableError where the metric is gone
        or the rows do not say which studies share a patient, and ReportCardError naming a file
        with other studies than the first.
        """
        metric, fingerprint = self.column.metric, self.column.metric_fingerprint
        scorer = open_scorer(metric, fingerprint, self.board.protocol, scorers)
        rows: dict[str, Array] = {}
        first: list[str] | None = None
        for model in self.files:
            folder = self.results.metric(self.board.run(model), metric)
            ids, matrix, clusters = load_rows(folder.path)
            first = first or ids
            if ids != first:
                raise ReportCardError(f"{folder.rows} has other studies than its board.")
            if clusters is None and self.stats.unit != "study":
                raise NotComparableError(
                    "its studies are grouped by patient and rows.npz does not say how"
                )
            resampler = samplers.get(len(ids), self.stats, clusters)
            rows[model] = matrix
        return PreparedComparison(rows, scorer, resampler, self.stats.confidence)


def open_scorer(
    metric: str, fingerprint: str | None, protocol: str, scorers: Iterable[Scorer] = ()
) -> Scorer:
    """Return the metric that made some rows: only its own `scores` may read their columns.

    Args:
        metric: its label, by which it is opened unless `scorers` has it.
        fingerprint: the fingerprint that the score files name.
        protocol: the protocol's name, which may set options of the metric.
        scorers: metrics that are open already.

    Raises NotComparableError where the metric is unknown here or has changed since.
    """
    for scorer in scorers:
        if scorer.fingerprint == fingerprint:
            return scorer
    try:
        found = open_metrics(config.load_metrics([metric], config.load_protocol(protocol)))[0]
    except ReportCardError as error:
        raise NotComparableError(str(error)) from None
    if found.fingerprint != fingerprint:
        raise NotComparableError(f"{metric} has changed since these rows were scored")
    return found


def check_rows_file(folder: ScoreFolder, sha256: str | None) -> None:
    """Raise ReportCardError unless the rows of a metric are those that its scores name."""
    if not folder.rows.is_file() or file_digest(folder.rows) != sha256:
        raise ReportCardError(
            f"{folder.rows} is not the file that {folder.scores} was written for."
            " Run: reportcard score"
        )


def last_build(results_dir: Path) -> dict[str, Board]:
    """Return the boards of the last leaderboard.json by id; {} if it is absent or damaged.

    It is used as a cache: the rows that everything was computed from are still there.
    """
    path = Results(results_dir).board.json
    try:
        boards = Leaderboard.read(path).boards if path.is_file() else ()
    except (ReportCardError, TypeError, ValueError):
        return {}
    return {board.id: board for board in boards}
