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
from reportcard.publish.board.comparison import NotComparableError, Samplers, last_build
from reportcard.publish.board.verdicts import systems_to_test
from reportcard.score.scorer import Scorer
from reportcard.score.stats.family import FAMILY
from reportcard.score.stats.pairwise import TRIALS, PairTest


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
    """Test every pair on one key. Ceilings are left out, and all but the best eighty systems.

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
    about = PairsAbout(key=key, direction=column.direction, trials=trials)
    try:
        tested = systems_to_test(results_dir, board, [column], trials)
        beyond = tuple(entry.model for entry in tested.left_out)
        about = replace(about, left_out=beyond or None, inputs=tested.inputs, family=FAMILY)
        if known and known.pairs_about and known.pairs_about.inputs == about.inputs:
            return Pairs(known.pairs or (), known.pairs_about)
        found = tested.run(scorers, Samplers())
    except NotComparableError as error:
        return Pairs((), replace(about, unknown=str(error)))
    about = replace(
        about,
        confidence=found.confidence,
        unit=found.resampler.unit,
        resamples=found.resampler.resamples,
        p_resolution=1 / (1 + trials),
    )
    return Pairs(found.tests[key], about)
