"""A metric pair by pair: the score of each pair's own row, under the metric's headline keys.

A statistic of a corpus (micro F1, corpus BLEU) is here that statistic of one pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from reportcard.api import Array, Custody, Key, Pair, ReportCardError
from reportcard.predict.engines.failures import explain
from reportcard.score.evaluation import noted
from reportcard.score.scorer import Scorer, read_by, unscored_reasons
from reportcard.score.stats.resampling import mask_unscored

JUDGED = {"mean_total": "total", "mean_significant": "significant"}  # key → what it counts


@dataclass(frozen=True, slots=True)
class Column:
    """One key of a metric, pair by pair: values (n,), NaN where unscored; pair → why it is."""

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
        """Which count of errors the key is itself, "total" or "significant"; else None."""
        return JUDGED.get(self.name) if "error" in self.key.unit else None

    @property
    def signature(self) -> str:
        spec = self.scorer.metric.spec
        notes = (f"{a.id}:{read_by(a)}" for a in self.scorer.annotators)
        return "|".join([f"{self.label}|v{spec.version}", spec.signature, *notes, "text:none"])


def columns_of(
    scorers: Sequence[Scorer], pairs: Sequence[Pair], custody: Custody
) -> tuple[list[Column], dict[str, str]]:
    """The headline keys of every metric that runs, and why the others do not."""
    columns: list[Column] = []
    not_run: dict[str, str] = {}
    for scorer in scorers:
        if scorer.not_run:
            not_run[scorer.label] = scorer.not_run
            continue
        try:
            columns += pair_values(scorer, noted(scorer, pairs, custody))
        except Exception as error:  # a metric that breaks costs its own lines only
            not_run[scorer.label] = explain(error, quote=custody.data.data_class == "open")
    return columns, not_run


def pair_values(scorer: Scorer, pairs: Sequence[Pair]) -> list[Column]:
    """A metric's headline keys for each pair alone: the score of that pair's row."""
    spec = scorer.metric.spec
    table = scorer.metric.rows(pairs)
    rows, unscored = mask_unscored(table)
    if rows.ndim != 2 or len(rows) != len(pairs):
        raise ReportCardError(f"metric {scorer.label}: rows() gave shape {rows.shape}.")
    scores = scorer.metric.scores(rows)
    shown = [*(spec.headline or list(spec.keys)[-1:]), *(k for k in JUDGED if k in spec.keys)]
    reasons = unscored_reasons(pairs, table)
    return [
        Column(scorer, name, spec.keys[name], np.where(unscored, np.nan, scores[name]), reasons)
        for name in dict.fromkeys(shown)
    ]
