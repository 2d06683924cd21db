"""Decides which comparisons are one family, and so the one verdict on each pair of systems.

Page marks, pairwise matrix, ranks, `compare`, `compare --all`, JSON and MLflow all show what
`family_tests` says. Holm's correction needs a family: the more comparisons it counts, the
rarer a verdict. A floor is no competitor, so floors must not make models harder to tell apart; a
copy of a system under another name is no second system. Keys are not corrected for each other: a
board is ranked by one key, which its protocol names in advance.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from reportcard.api import Array
from reportcard.score.stats.effect_size import ALPHA
from reportcard.score.stats.paired_difference import holm
from reportcard.score.stats.pairwise import TRIALS, Family, PairTest, pair_tests
from reportcard.score.stats.resampling import Resampler, Scores

# What a reader is told beside every verdict.
FAMILY = (
    f"A difference is significant if p is below {ALPHA:g} after Holm's correction over all pairs of"
    " models on the same score; pairs with a floor are a family of their own, ceilings are not"
    " compared, and systems with the same answers count once."
)


def family_tests(
    rows: Mapping[str, Array],
    floors: Collection[str],
    scores: Scores,
    keys: Sequence[str],
    resampler: Resampler,
    trials: int = TRIALS,
    confidence: float = 0.95,
) -> dict[str, list[PairTest]]:
    """Test every pair on each key, with p adjusted over its family and the verdict.

    Systems with equal rows are tested once, and each has the tests of the one; between them there
    is no difference. A pair in which a side has no score is left out.

    Args:
        rows: system → (draws, n, k), a NaN row is unscored; no ceilings.
        floors: the systems that are floors.
        scores: turns summed rows into the metric's keys.
        keys: the keys that are compared.
        resampler: the bootstrap weights and the seed.
        trials: swaps of the randomisation test.
        confidence: of the intervals.
    """
    same = same_answers(rows)
    distinct = {name: rows[name] for name in dict.fromkeys(same.values())}
    # A system is a model where one of those with its answers is.
    models = {first for name, first in same.items() if name not in floors}
    found = {}
    for key, tests in pair_tests(distinct, scores, keys, resampler, trials, confidence).items():
        judged = _judged(tests, models)
        found[key] = [
            test for a, b in combinations(rows, 2) if (test := _of_pair(a, b, same, judged))
        ]
    return found


def same_answers(rows: Mapping[str, Array]) -> dict[str, str]:
    """Return each system's stand-in: the first system with the same rows."""
    first: dict[tuple[tuple[int, ...], bytes], str] = {}
    return {
        name: first.setdefault((matrix.shape, np.ascontiguousarray(matrix).tobytes()), name)
        for name, matrix in rows.items()
    }


def _judged(tests: Sequence[PairTest], models: Collection[str]) -> dict[tuple[str, str], PairTest]:
    """Adjust p within each family; return the tests by their pair."""
    families: dict[Family, list[PairTest]] = {}
    for test in tests:
        family: Family = "models" if {test.a, test.b} <= set(models) else "with a floor"
        families.setdefault(family, []).append(test)
    found = {}
    for family, members in families.items():
        adjusted = holm([test.p for test in members])
        for test, p in zip(members, adjusted, strict=True):
            found[test.a, test.b] = replace(test, p_holm=p, family=family, told_apart=p < ALPHA)
    return found


def _of_pair(
    a: str, b: str, same: Mapping[str, str], judged: Mapping[tuple[str, str], PairTest]
) -> PairTest | None:
    """Return the test of a pair, which is that of their stand-ins."""
    first, second = same[a], same[b]
    if first == second:
        return PairTest(a, b, 0.0, 0.0, 0.0, 1.0, False)
    if test := judged.get((first, second)):
        return replace(test, a=a, b=b)
    test = judged.get((second, first))
    return test.turned(a, b) if test else None
