"""Tests the systems of a board on one metric: what ties, ranks, matrix and `compare` all show.

Entries that are no ceilings are tested in pairs, the best eighty of the board if there are more.
`score/stats/family.py` decides which pairs are corrected together, and gives each its verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reportcard.publish.board.boards import Board, Column, Entry
from reportcard.publish.board.comparison import Comparison, NotComparableError, Samplers
from reportcard.score.scorer import Scorer
from reportcard.score.stats.family import family_tests
from reportcard.score.stats.pairwise import TRIALS, PairTest
from reportcard.score.stats.resampling import Resampler

MOST = 80  # systems: 3,160 pairs
VERSION = 2  # of this computation


@dataclass(frozen=True, slots=True)
class Tested:
    """The systems that are compared on a metric, and what their tests depend on.

    left_out  the entries beyond the best eighty
    inputs    a digest of everything that the tests depend on
    """

    entries: tuple[Entry, ...]
    left_out: tuple[Entry, ...]
    comparison: Comparison
    columns: tuple[Column, ...]
    inputs: str
    trials: int

    def run(self, scorers: Sequence[Scorer], samplers: Samplers) -> Verdicts:
        """Test every pair. Raises NotComparableError saying why it cannot."""
        prepared = self.comparison.prepare(scorers, samplers)
        names = {column.name: column.key for column in self.columns}
        found = family_tests(
            prepared.rows,
            {entry.model for entry in self.entries if entry.kind == "floor"},
            prepared.scores,
            list(names),
            prepared.resampler,
            self.trials,
            prepared.confidence,
        )
        tests = {names[name]: tuple(each) for name, each in found.items()}
        return Verdicts(tests, prepared.resampler, prepared.confidence)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The tests of every pair per key, and how they were made."""

    tests: Mapping[str, tuple[PairTest, ...]]
    resampler: Resampler
    confidence: float


def systems_to_test(
    results_dir: Path, board: Board, columns: Sequence[Column], trials: int = TRIALS
) -> Tested:
    """Find the systems that compete on a metric, best first as on the board.

    Args:
        results_dir: where the rows are.
        board: as `boards_of` built it.
        columns: the columns to test, of one metric.
        trials: the number of randomisations.

    Raises NotComparableError where fewer than two compete, and ReportCardError for rows that are
    not those scored.
    """
    metric = columns[0].metric
    every = [column for column in board.columns if column.metric == metric]
    competing = [e for e in board.entries if any(e.competes(column) for column in every)]
    if len(competing) < 2:
        raise NotComparableError("fewer than two rows")
    entries, left_out = competing[:MOST], competing[MOST:]
    comparison = Comparison.of(results_dir, board, columns[0], entries)
    inputs = comparison.inputs(
        verdicts=VERSION,
        order=[[entry.model, entry.kind] for entry in entries],
        keys=[column.key for column in columns],
        trials=trials,
    )
    return Tested(tuple(entries), tuple(left_out), comparison, tuple(columns), inputs, trials)
