"""Runs `reportcard audit metrics`: which edits does each metric see, miss or prefer?

Each pair is scored alone, as a corpus of one report. (All pairs are given to the metric in one
call, since the rows of some metrics depend on the other pairs.) For each score and kind of edit:

    seen     the edited report scores worse than the reference itself (identity)
    missed   it does not
    wrong    it scores better than the faithful paraphrase of the same reference: the metric prefers
             the report with the error to the one without
    change   mean of (edited − identity), in the metric's own unit

For paraphrases, "seen" is a false alarm, and "wrong" is not defined.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reportcard.analysis.audit.audit_results import AuditedKey, EditRates, MetricsAudit
from reportcard.analysis.audit.edited_pairs import KINDS, EditedPair, edited_pairs, pairs_id
from reportcard.api import Array, Custody, MetricSpec, ReportCardError
from reportcard.config.compose import load_annotators, load_metrics, load_protocol
from reportcard.score.evaluation import with_notes
from reportcard.score.scorer import Scorer, open_metrics

PROTOCOL = "reportcard"
CLOSE = 1e-9  # scores nearer than this are equal: sums in another order differ in the last bits


def audit_metrics(names: Sequence[str], overrides: Sequence[str], custody: Custody) -> MetricsAudit:
    """Audit the named metrics. A metric that cannot run is listed with its reason."""
    pairs = edited_pairs()
    keys: dict[str, AuditedKey] = {}
    reasons: dict[str, str] = {}
    metrics = load_metrics(names, load_protocol(PROTOCOL))
    for scorer in open_metrics(metrics, load_annotators(overrides)):
        reason = scorer.not_run
        try:
            if reason is None:
                keys |= _keys(scorer, pairs, custody)
        except Exception as error:  # a broken metric must not stop the others
            known = isinstance(error, ReportCardError)
            reason = str(error) if known else f"{type(error).__name__} in the metric"
        if reason is not None:
            reasons[scorer.label] = reason
    return MetricsAudit(pairs_id(), keys, reasons)


def shown_keys(spec: MetricSpec) -> list[str]:
    """Return the headline scores without those of single classes, the main one first.

    A metric without headline scores is represented by its last score.
    """
    headline = list(spec.headline) or list(spec.keys)[-1:]
    return [name for name in headline if "." not in name] or headline[:1]


def _keys(scorer: Scorer, pairs: Sequence[EditedPair], custody: Custody) -> dict[str, AuditedKey]:
    rows = scorer.metric.rows(with_notes(scorer, [edited.pair for edited in pairs], custody))
    scores = scorer.metric.scores(rows)
    spec = scorer.metric.spec
    found: dict[str, AuditedKey] = {}
    for name in shown_keys(spec):
        key = spec.keys[name]
        values = np.where(np.isnan(rows).any(axis=1), np.nan, scores[name])
        if found and np.isnan(values).all():
            continue  # a key of whole cohorts, such as a macro average over supported classes
        found[f"{scorer.label}.{name}"] = AuditedKey(
            direction=key.direction,
            unit=key.unit,
            signature=scorer.signature(name).with_variant(pairs_id()).format(),
            unscored=int(np.isnan(values).sum()),
            kinds=_rates(pairs, values, 1.0 if key.direction == "higher" else -1.0),
            caveat=scorer.caveat,
        )
    return found


def _rates(pairs: Sequence[EditedPair], values: Array, sign: float) -> dict[str, EditRates]:
    """Return the rates of each kind of edit.

    values holds a score per pair; sign is +1 where higher is better, else −1.
    """
    identity, paraphrase = (_of_base(pairs, values, kind) for kind in ("identity", "paraphrase"))
    change = values - identity
    seen = sign * change < -CLOSE
    wrong = sign * (values - paraphrase) > CLOSE
    found = {}
    for kind in KINDS[:-1]:
        mine = np.array([pair.kind == kind for pair in pairs]) & ~np.isnan(change + paraphrase)
        found[kind] = EditRates(
            n=int(mine.sum()),
            seen=_mean(seen, mine),
            missed=_mean(~seen, mine),
            wrong=None if kind == "paraphrase" else _mean(wrong, mine),
            change=_mean(change, mine),
        )
    return found


def _of_base(pairs: Sequence[EditedPair], values: Array, kind: str) -> Array:
    """Return, for each pair, the score of the pair of the given kind with the same reference."""
    of = {pair.base: value for pair, value in zip(pairs, values, strict=True) if pair.kind == kind}
    return np.array([of[pair.base] for pair in pairs])


def _mean(values: npt.ArrayLike, among: npt.NDArray[np.bool_]) -> float | None:
    """Return the mean over the pairs in `among`; None where there are none."""
    return float(np.mean(np.asarray(values)[among])) if among.any() else None
