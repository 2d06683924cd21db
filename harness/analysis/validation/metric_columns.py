"""Computes a metric pair by pair: the headline scores of each pair's own row.

A corpus statistic (micro F1, corpus BLEU) is computed here as if each pair were the whole corpus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from reportcard.api import Array, Custody, Key, Pair, ReportCardError
from reportcard.predict.engines.failures import explain
from reportcard.score.evaluation import with_notes
from reportcard.score.pairs import unscored_reasons
from reportcard.score.scorer import Scorer
from reportcard.score.stats.resampling import mask_unscored

JUDGED = {"mean_total": "total", "mean_significant": "significant"}  # key → what it counts


@dataclass(frozen=True, slots=True)
class PairScores:
    """One score of a metric, pair by pair.

    values is (n,), NaN where a pair is unscored; reasons maps such a pair to its reason.
    """

    scorer: Scorer
    name: str
    key: Key
    values: Array
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.scorer.label}.{self.name}"

    @property
    def counts(self) -> str | None:
        """Return which error count the score is itself, "total" or "significant", or None."""
        return JUDGED.get(self.name) if "error" in self.key.unit else None

    @property
    def signature(self) -> str:
        return replace(self.scorer.signature(self.name), text="none").format()


def columns_of(
    scorers: Sequence[Scorer], pairs: Sequence[Pair], custody: Custody
) -> tuple[list[PairScores], dict[str, str]]:
    """Return the headline scores of every metric that runs, and why the others do not."""
    columns: list[PairScores] = []
    not_run: dict[str, str] = {}
    for scorer in scorers:
        if scorer.not_run:
            not_run[scorer.label] = scorer.not_run
            continue
        try:
            columns += pair_values(scorer, with_notes(scorer, pairs, custody))
        except Exception as error:  # a broken metric must not stop the others
            not_run[scorer.label] = explain(error, quote=custody.data.data_class == "open")
    return columns, not_run


def pair_values(scorer: Scorer, pairs: Sequence[Pair]) -> list[PairScores]:
    """Return a metric's headline scores for each pair alone."""
    spec = scorer.metric.spec
    table = scorer.metric.rows(pairs)
    rows, unscored = mask_unscored(table)
    if rows.ndim != 2 or len(rows) != len(pairs):
        raise ReportCardError(f"metric {scorer.label}: rows() gave shape {rows.shape}.")
    scores = scorer.metric.scores(rows)
    shown = [*(spec.headline or list(spec.keys)[-1:]), *(k for k in JUDGED if k in spec.keys)]
    reasons = unscored_reasons(pairs, table)
    return [
        PairScores(scorer, name, spec.keys[name], np.where(unscored, np.nan, scores[name]), reasons)
        for name in dict.fromkeys(shown)
    ]
