"""Tests every pair of a board's entries for a significant difference on one key.

`Board.pairs` holds each pair once, a and b the folders of two systems and the difference a − b over
the studies that both have. `Board.pairs_about` says what the tests are of: the key, the number of
randomisations, who was left out and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reportcard.publish.board.boards import Board, PairsAbout
from reportcard.publish.board.comparison import (
    Comparison,
    NotComparableError,
    Samplers,
    last_build,
)
from reportcard.score.scorer import Scorer
from reportcard.score.stats.pairwise import TRIALS, PairTest, all_pairs

MOST = 40  # systems of a matrix: 780 pairs
VERSION = 1  # of this computation


@dataclass(frozen=True, slots=True)
class Pairs:
    """The tests of all pairs, as leaderboard.json and `compare --all --json` hold them."""

    pairs: tuple[PairTest, ...] = ()
    pairs_about: PairsAbout | None = None


def with_pairs(
    results_dir: Path, boards: Sequence[Board], scorers: Sequence[Scorer] = (), cached: bool = True
) -> list[Board]:
    """Return the boards with the tests of all pairs on their primary key.

    Arguments and errors are those of `with_ties`.
    """
    saved = last_build(results_dir) if cached else {}
    marked = []
    for board in boards:
        found = Pairs()
        if board.primary is not None:
            known = saved.get(board.id)
            found = pairs_of_board(results_dir, board, board.primary, scorers, known=known)
        marked.append(replace(board, pairs=found.pairs, pairs_about=found.pairs_about))
    return marked


def pairs_of_board(
    results_dir: Path,
    board: Board,
    key: str,
    scorers: Sequence[Scorer] = (),
    trials: int = TRIALS,
    known: Board | None = None,
) -> Pairs:
    """Test every pair on one key. Ceilings are left out, and all but the best 40 systems.

    Args:
        results_dir: where the rows are.
        board: as `boards_of` built it.
        key: the key to test.
        scorers: metrics that are open already.
        trials: the number of randomisations.
        known: the board of the last build, whose tests are kept if nothing has changed.

    Raises ReportCardError for rows that are not those scored.
    """
    column = next(column for column in board.columns if column.key == key)
    rated = sorted(
        (column.sign * value, entry.model, entry)
        for entry in board.entries
        if entry.competes(column) and (value := entry.cells[key].value) is not None
    )
    entries = [entry for _, _, entry in rated]
    chosen, beyond = entries[:MOST], tuple(entry.model for entry in entries[MOST:])
    about = PairsAbout(key=key, direction=column.direction, trials=trials, left_out=beyond or None)
    if len(chosen) < 2:
        return Pairs((), replace(about, unknown="fewer than two rows"))
    comparison = Comparison.of(results_dir, board, column, chosen)
    rows = [[model, file.rows_sha256] for model, file in comparison.files.items()]
    about = replace(
        about, inputs=comparison.inputs(pairs=VERSION, key=key, trials=trials, rows=rows)
    )
    if known and known.pairs_about and known.pairs_about.inputs == about.inputs:
        return Pairs(known.pairs or (), known.pairs_about)
    try:
        prepared = comparison.prepare(scorers, Samplers())
    except NotComparableError as error:
        return Pairs((), replace(about, unknown=str(error)))
    scores, resampler = prepared.scores, prepared.resampler
    tests = all_pairs(prepared.rows, scores, column.name, resampler, trials, prepared.confidence)
    about = replace(
        about,
        confidence=prepared.confidence,
        unit=resampler.unit,
        resamples=comparison.stats.resamples,
        p_resolution=1 / (1 + trials),
    )
    return Pairs(tuple(tests), about)
