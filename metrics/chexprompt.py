"""CheXprompt is the number of errors per report, of six types, that a language model counts.

Lower is better.

A pair has counts s_A … s_F of clinically significant and i_A … i_F of insignificant errors
(metrics/annotators/chexprompt.py). Over the scored pairs:

    mean_significant = mean of Σ s            no_significant = share of pairs with Σ s = 0
    mean_total       = mean of Σ s + Σ i      error_free     = share of pairs with Σ s + Σ i = 0
    <type>.significant, <type>.insignificant = mean of s_t, of i_t
    <type>.no_significant = share of pairs with s_t = 0
    <type>.error_free     = share of pairs with s_t + i_t = 0

The aggregates are the paper's (LLaVA-Rad, Supplementary Table 5); upstream has no code for them.
A pair without a rating is unscored; it does not count as a report without errors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reportcard.api import Array, Key, MetricSpec, Pair, ReportCardError
from reportcard.metrics._rating import PARTS, TYPES

ANNOTATORS = {"chexprompt": "reportcard", "chexprompt_official": "official"}  # → prompts
ERRORS = Key(direction="lower", low=0.0, high=None, unit="errors/report")
HEADLINE = {
    "mean_significant": ERRORS,
    "mean_total": ERRORS,
    "no_significant": Key(),
    "error_free": Key(),
}
BY_TYPE = tuple(f"{name}.{part}" for part in PARTS for name in TYPES.values())
SHARES = tuple(
    f"{name}.{share}" for share in ("no_significant", "error_free") for name in TYPES.values()
)
COLUMNS = (*BY_TYPE, "mean_significant", "mean_total", "no_significant", "error_free", *SHARES)


class Chexprompt:
    """CheXprompt. Rows are the twelve counts, Σ s, Σ s + Σ i, 1[Σ s = 0], 1[both 0], the shares'
    two times six indicators, and a 1.

    Args:
        annotator: chexprompt (our prompts) or chexprompt_official (Microsoft's).

    >>> clean = {part: dict.fromkeys("ABCDEF", 0) for part in ("significant", "insignificant")}
    >>> bad = clean | {"significant": {"A": 2, "B": 1, "C": 0, "D": 0, "E": 0, "F": 0}}
    >>> metric = Chexprompt()
    >>> rows = metric.rows([Pair("1", "c", "r", {"chexprompt": (clean, None)}),
    ...                     Pair("2", "c", "r", {"chexprompt": (bad, None)})])
    >>> float(metric.scores(rows.sum(axis=0))["mean_significant"])
    1.5
    """

    def __init__(self, annotator: str = "chexprompt") -> None:
        if annotator not in ANNOTATORS:
            known = ", ".join(ANNOTATORS)
            raise ReportCardError(f"CheXprompt has no annotator '{annotator}'; {known}.")
        self.annotator = annotator
        self.spec = MetricSpec(
            version="2",
            keys=HEADLINE | dict.fromkeys(BY_TYPE, ERRORS) | dict.fromkeys(SHARES, Key()),
            signature=f"prompts:{ANNOTATORS[annotator]}|empty:unscored|mean",
            annotators=(annotator,),
            headline=tuple(HEADLINE),
            group="judged",
        )

    def rows(self, pairs: Sequence[Pair]) -> Array:
        table = np.full((len(pairs), len(COLUMNS) + 1), np.nan)
        for row, pair in zip(table, pairs, strict=True):
            note = pair.notes[self.annotator][0]
            if note is None or "unscored" in note:
                continue
            counts = [float(note[part][letter]) for part in PARTS for letter in TYPES]
            by_type = counts[: len(TYPES)]
            both = [s + i for s, i in zip(by_type, counts[len(TYPES) :], strict=True)]
            significant, total = sum(by_type), sum(counts)
            shares = [float(count == 0) for count in (significant, total, *by_type, *both)]
            row[:] = (*counts, significant, total, *shares, 1.0)
        return table

    def scores(self, total: Array) -> dict[str, Array]:
        n = total[..., -1]
        return {
            name: np.divide(total[..., i], n, out=np.full_like(n, np.nan), where=n > 0)
            for i, name in enumerate(COLUMNS)
        }

    def extremes(self, rows: Array) -> Array:
        """Return the row of a pair without errors, and a row of the worst values of scored pairs.

        Counts have no upper limit, so we assume that no unscored pair is worse than the worst
        scored one, key by key. So the second row is not the rating of one pair, and its sums are
        the largest sums, not the sums of the largest counts. Without a scored pair it is NaN. The
        shares need no assumption: they are 1 and 0.
        """
        n = len(BY_TYPE) + 2
        shares, counts = slice(n, -1), slice(0, n)
        bounds = np.zeros((2, rows.shape[1]))
        bounds[0, shares] = 1.0
        bounds[1, counts] = rows[:, counts].max(axis=0) if len(rows) else np.nan
        bounds[:, -1] = 1.0
        return bounds
