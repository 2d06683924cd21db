"""Computes which ranks the verdicts on all pairs leave open, and how often each comes first.

Models and floors of a board are ranked together by its primary key, so that a model below a floor
cannot be rank 1; ceilings are not ranked.

    low          1 + number of systems that are better, by a significant difference
    high         number of systems − number of those that are worse, by a significant difference
    share_first  share of bootstrap resamples of the studies (of the patients, where they have
                 several studies) in which no other system is better; a shared first counts for each

Systems with the same answers tie, and ties get the better rank. Because ranks come from the
verdicts that every other view shows (verdicts.py), two systems that are not told apart never have
ranks that say they are (M. Mogstad, J. Romano, A. Shaikh and D. Wilhelm, Rev. Econ. Stud. 91:476,
2024, derive sets of ranks from corrected pairwise tests in this way). The interval is wide where
the data cannot separate systems, which a rank without an interval hides.

The share of resamples is no probability of being the best: in repeated cohorts "first in 95 % of
the resamples" was right far less often (docs/statistics.md). Only studies that every ranked system
has scored count for it: one unscored study of one system is dropped for all, and `n` says how many
are left. A score is the mean over draws, in a resample as on the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

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
from reportcard.score.stats.pairwise import PairTest
from reportcard.score.stats.resampling import Resampler, Scores, replicate_scores


def with_ranks(
    results_dir: Path, boards: Sequence[Board], scorers: Sequence[Scorer] = (), cached: bool = True
) -> list[Board]:
    """Return the boards with their `ranking`, and with a `rank` in each entry that has one.

    boards: with the tests of all pairs (`with_pairs`).
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
            rank = Rank(column.key, found.low, found.high, found.share_first, floor)
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
    about = board.pairs_about
    beyond = set(about.left_out or ()) if about else set()
    competing = [entry for entry in board.entries if entry.competes(column)]
    entries = [entry for entry in competing if entry.model not in beyond]
    if len(entries) > 1 and about and about.unknown:
        raise NotComparableError(about.unknown)
    comparison = Comparison.of(results_dir, board, column, entries)
    tests = board.pairs or ()
    verdicts = [[test.a, test.b, test.difference, test.told_apart] for test in tests]
    inputs = comparison.inputs(
        ranks=2,  # the version of this computation
        key=[column.key, column.direction],
        verdicts=verdicts,
    )
    if saved and saved.inputs == inputs:
        return saved
    prepared = comparison.prepare(scorers, Samplers())
    scores, n = joint_scores(prepared.rows, prepared.scores, column.name, prepared.resampler)
    if not n:
        raise NotComparableError("no study is scored by every system")
    first = shares_first(-column.sign * scores)
    systems = {
        model: replace(interval, share_first=share)
        for (model, interval), share in zip(
            rank_intervals(list(prepared.rows), tests, -column.sign).items(), first, strict=True
        )
    }
    return Ranking(
        inputs=inputs,
        key=column.key,
        n=n,
        resamples=prepared.resampler.resamples,
        unit=prepared.resampler.unit,
        systems=systems,
    )


def rank_intervals(
    systems: Sequence[str], tests: Sequence[PairTest], sign: int = 1
) -> dict[str, RankInterval]:
    """Return the ranks that the verdicts leave open, per system.

    sign: 1 where higher is better, −1 where lower is.
    """
    better, not_better = dict.fromkeys(systems, 0), dict.fromkeys(systems, 0)
    for test in tests:
        ahead, behind = (test.a, test.b) if sign * test.difference > 0 else (test.b, test.a)
        if test.told_apart:
            better[behind] += 1
            not_better[ahead] += 1
        elif test.p == 1 and test.difference == 0 == test.low == test.high:  # the same answers
            not_better[ahead] += 1
            not_better[behind] += 1
    return {
        name: RankInterval(1 + better[name], len(systems) - not_better[name]) for name in systems
    }


def shares_first(scores: Array) -> list[float]:
    """Return how often each system comes first; scores: (systems, resamples), higher is better.

    A shared first, up to rounding, counts for each; a system without a score is last.

    >>> shares_first(np.array([[0.9, 0.1], [0.9, 0.3], [np.nan, 0.2]]))
    [0.5, 1.0, 0.0]
    """
    known = np.where(np.isnan(scores), -np.inf, scores)
    first = (known >= known.max(axis=0) - ROUNDING) & (known > -np.inf)
    return [round(float(share), 6) for share in first.mean(axis=1)]


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
