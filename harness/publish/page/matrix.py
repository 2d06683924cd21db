"""The pairwise section of the page: what it draws of a board's pairs once it is opened.

`board/pairwise_matrix.py` computes the tests; here they become a list that names systems by their
place and holds every pair once. matrix.js mirrors it: row minus column, and column minus row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reportcard.publish.board.boards import Board
from reportcard.publish.page.cells import decimals
from reportcard.publish.page.row_view import RowView
from reportcard.score.stats.family import FAMILY
from reportcard.score.stats.pairwise import PairTest

MOST = 40  # systems that a page can show: 780 pairs
Pair = tuple[
    int, int, float | None, float | None, float | None, float | None, float | None, int, int
]


@dataclass(frozen=True, slots=True)
class Matrix:
    """The pairwise differences of a board. `apart` counts the significant ones."""

    key: str
    better: str
    places: int
    confidence: str
    trials: str
    family: str
    count: str
    apart: int
    left_out: tuple[str, ...]
    systems: tuple[tuple[str, str], ...]
    pairs: tuple[Pair, ...]


def matrix_of(board: Board, rows: Sequence[RowView]) -> Matrix | None:
    """Return the matrix, or None where no two systems were compared.

    rows: the lines of the page, in the order of the board's entries.
    """
    pairs, about = board.pairs or (), board.pairs_about
    column = board.column(about.key) if about else None
    if not pairs or about is None or column is None:
        return None
    compared = {name for pair in pairs for name in (pair.a, pair.b)}
    every = [i for i, entry in enumerate(board.entries) if entry.model in compared]
    order, beyond = every[:MOST], [board.entries[i].model for i in every[MOST:]]
    place = {board.entries[i].model: k for k, i in enumerate(order)}
    pairs = tuple(pair for pair in pairs if pair.a in place and pair.b in place)
    labels = {entry.model: entry.label for entry in board.entries}
    return Matrix(
        key=about.key,
        better=about.direction,
        places=decimals(column.range, board.values(column)),
        confidence=f"{about.confidence or 0.95:.0%}".replace("%", " %"),
        trials=f"{about.trials:,}",
        family=FAMILY,
        count=f"{len(pairs):,}",
        apart=sum(pair.told_apart for pair in pairs),
        left_out=tuple(labels.get(name, name) for name in (*beyond, *(about.left_out or ()))),
        systems=tuple((rows[i].label, rows[i].fingerprint) for i in order),
        pairs=tuple(_pair(pair, place[pair.a], place[pair.b]) for pair in pairs),
    )


def _pair(pair: PairTest, a: int, b: int) -> Pair:
    numbers = (pair.difference, pair.low, pair.high, pair.p, pair.p_holm)
    difference, low, high, p, p_holm = (_short(number) for number in numbers)
    return a, b, difference, low, high, p, p_holm, int(pair.told_apart), int(pair.tail)


def _short(value: float | None) -> float | None:
    """Round to six digits: leaderboard.json has them whole."""
    return None if value is None else float(f"{value:.6g}")
