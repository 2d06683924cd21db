"""Computes 95 % bootstrap intervals of the rank, and how often each system comes first.

Models and floors of a board are ranked together by its primary key, so that a model below a floor
cannot be rank 1; ceilings are not ranked. In each bootstrap resample of the studies (of the
patients, where they have several studies; the same resample for all) every system is scored, and

    rank    = 1 + number of systems with a better score; ties get the better rank
    low, high = percentiles of the rank at the confidence of the scores, rounded outwards
    p_top   = share of resamples in which no other system is better; a shared first counts for each

Only studies that every ranked system has scored count: one unscored study of one system is dropped
for all, and `n` says how many are left. A system without a score in a resample (nothing to count)
is last in it. A score is the mean over draws, in a resample as on the page.

Hospitals are ranked like this by Marshall & Spiegelhalter (BMJ 1998). The interval is wide where
the data cannot separate systems, which a rank without an interval hides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reportcard.api import Array
from reportcard.publish.board.boards import Board, Column, Rank, Ranking, RankInterval
from reportcard.publish.board.comparison import (
    ROUNDING,
    Comparison,
    NotComparableError,
    Samplers,
    last_build,
)
from reportcard.score.scorer import Scorer
from reportcard.score.stats.resampling import Resampler, Scores, replicate_scores

Ranks = npt.NDArray[np.int64]


def with_ranks(
    results_dir: Path, boards: Sequence[Board], scorers: Sequence[Scorer] = (), cached: bool = True
) -> list[Board]:
    """Return the boards with their `ranking`, and with a `rank` in each entry that has one.

    A board without a primary key has no ranking. A ceiling and an entry without a comparable score
    have no rank. Arguments and errors are those of `with_ties`.
    """
    saved = last_build(results_dir) if cached else {}
    return [_with_ranks(results_dir, board, saved.get(board.id), scorers) for board in boards]


def _with_ranks(
    results_dir: Path, board: Board, saved: Board | None, scorers: Sequence[Scorer]
) -> Board:
    column = board.column(board.primary)
    if column is None:
        return replace(board, ranking=None)
    try:
        ranking = _ranking(results_dir, board, column, saved.ranking if saved else None, scorers)
    except NotComparableError as error:
        ranking = Ranking(key=column.key, unknown=str(error))
    entries = []
    for entry in board.entries:
        if found := (ranking.systems or {}).get(entry.model):
            floor = entry.kind == "floor"
            rank = Rank(column.key, found.low, found.high, found.p_top, floor)
            entry = replace(entry, rank=rank)
        entries.append(entry)
    return replace(board, ranking=ranking, entries=tuple(entries))


def _ranking(
    results_dir: Path,
    board: Board,
    column: Column,
    saved: Ranking | None,
    scorers: Sequence[Scorer],
) -> Ranking:
    entries = [entry for entry in board.entries if entry.competes(column)]
    comparison = Comparison.of(results_dir, board, column, entries)
    inputs = comparison.inputs(ranks=1, key=[column.key, column.direction])  # 1: the version
    if saved and saved.inputs == inputs:
        return saved
    prepared = comparison.prepare(scorers, Samplers())
    scores, n = joint_scores(prepared.rows, prepared.scores, column.name, prepared.resampler)
    if not n:
        raise NotComparableError("no study is scored by every system")
    found = rank_intervals(-column.sign * scores, prepared.confidence)
    return Ranking(
        inputs=inputs,
        key=column.key,
        n=n,
        resamples=prepared.resampler.resamples,
        unit=prepared.resampler.unit,
        systems=dict(zip(prepared.rows, found, strict=True)),
    )


def joint_scores(
    rows: Mapping[str, Array], scores: Scores, key: str, resampler: Resampler
) -> tuple[Array, int]:
    """Return the scores of one key as (systems, resamples), and the number of studies.

    Only studies that all systems have scored count. rows: (draws, n, k) each, a NaN row is
    unscored.
    """
    unscored = np.any([np.isnan(matrix).any(axis=(0, 2)) for matrix in rows.values()], axis=0)
    found = []
    for matrix in rows.values():
        common = np.where(unscored[:, None], 0.0, matrix)
        found.append(replicate_scores(common, lambda t: {key: scores(t)[key]}, resampler)[key])
    return np.array(found), int((~unscored).sum())


def rank_intervals(scores: Array, confidence: float) -> list[RankInterval]:
    """Return the rank interval of each system; scores: (systems, resamples), higher is better."""
    ranks = ranks_of(scores)
    tail = (1 - confidence) / 2
    low = np.quantile(ranks, tail, axis=1, method="lower")
    high = np.quantile(ranks, 1 - tail, axis=1, method="higher")
    top = (ranks == 1).mean(axis=1)
    return [
        RankInterval(int(a), int(b), round(float(p), 6))
        for a, b, p in zip(low, high, top, strict=True)
    ]


def ranks_of(scores: Array) -> Ranks:
    """Rank the systems in each resample, 1 the best; ties (up to rounding) get the better rank.

    >>> ranks_of(np.array([[0.9], [0.5], [0.9], [0.1]])).ravel().tolist()
    [1, 3, 1, 4]
    """
    known = np.where(np.isnan(scores), -np.inf, scores)
    # One system at a time: all pairs at once would take systems² × resamples of memory.
    return np.array([1 + (known > one + ROUNDING).sum(axis=0) for one in known], np.int64)
