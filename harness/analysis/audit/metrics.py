"""`reportcard audit metrics`: which edits each metric sees, misses or gets the wrong way round.

Each pair is scored alone, as a corpus of one report (a metric whose rows depend on the other pairs
gets all rows in one call; each is still scored alone). Per metric key and edit kind:

    seen     the edited report scores worse than the reference itself (identity)
    missed   it does not
    wrong    it scores better than the faithful paraphrase of the same reference: the metric prefers
             the report with the error to the one without
    change   mean of (edited − identity), in the metric's own unit

For paraphrases themselves "seen" is a false alarm, and "wrong" has no meaning.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reportcard.analysis.audit.edited_pairs import KINDS, EditedPair, edited_pairs, pairs_id
from reportcard.api import Array, Custody, Json, MetricSpec, ReportCardError
from reportcard.config.compose import load_metrics, load_protocol
from reportcard.score.evaluation import noted
from reportcard.score.scorer import Scorer, open_metrics, read_by

PROTOCOL = "reportcard"
CLOSE = 1e-9  # scores nearer than this are equal: sums in another order differ in the last bits


def audit_metrics(names: Sequence[str], overrides: Sequence[str], custody: Custody) -> Json:
    """Every named metric over the pairs; one that cannot run says why under "not_run".

    Returns {"pairs", "keys": {"bleu.bleu_4": {"direction", "unit", "signature", "unscored",
    "kinds": {kind: {"n", "seen", "missed", "wrong", "change"}}}}, "not_run": {metric: reason}}.
    """
    pairs = edited_pairs()
    keys: Json = {}
    reasons: Json = {}
    for scorer in open_metrics(load_metrics(names, load_protocol(PROTOCOL)), overrides):
        reason = scorer.not_run
        try:
            if reason is None:
                keys |= _keys(scorer, pairs, custody)
        except Exception as error:  # a broken metric costs its own rows only
            known = isinstance(error, ReportCardError)
            reason = str(error) if known else f"{type(error).__name__} in the metric"
        if reason is not None:
            reasons[scorer.label] = reason
    return {"audit": "metrics", "pairs": pairs_id(), "keys": keys, "not_run": reasons}


def shown_keys(spec: MetricSpec) -> list[str]:
    """The headline keys without those of single classes, the main one first; where there is no
    headline, the last key alone."""
    headline = list(spec.headline) or list(spec.keys)[-1:]
    return [name for name in headline if "." not in name] or headline[:1]


def _keys(scorer: Scorer, pairs: Sequence[EditedPair], custody: Custody) -> Json:
    rows = scorer.metric.rows(noted(scorer, [edited.pair for edited in pairs], custody))
    scores = scorer.metric.scores(rows)
    spec = scorer.metric.spec
    read = [f"{a.id}:{read_by(a)}" for a in scorer.annotators]
    found = {}
    for name in shown_keys(spec):
        key = spec.keys[name]
        values = np.where(np.isnan(rows).any(axis=1), np.nan, scores[name])
        found[f"{scorer.label}.{name}"] = {
            "direction": key.direction,
            "unit": key.unit,
            "signature": "|".join(
                [f"{scorer.label}.{name}|v{spec.version}", spec.signature, *read, pairs_id()]
            ),
            "unscored": int(np.isnan(values).sum()),
            "kinds": _kinds(pairs, values, 1.0 if key.direction == "higher" else -1.0),
            **({"caveat": scorer.caveat} if scorer.caveat else {}),
        }
    return found


def _kinds(pairs: Sequence[EditedPair], values: Array, sign: float) -> Json:
    """values: a score per pair; sign: +1 where higher is better, else −1."""
    identity, paraphrase = (_of_base(pairs, values, kind) for kind in ("identity", "paraphrase"))
    change = values - identity
    seen = sign * change < -CLOSE
    wrong = sign * (values - paraphrase) > CLOSE
    found: Json = {}
    for kind in KINDS[:-1]:
        mine = np.array([pair.kind == kind for pair in pairs]) & ~np.isnan(change + paraphrase)
        found[kind] = {
            "n": int(mine.sum()),
            "seen": _mean(seen, mine),
            "missed": _mean(~seen, mine),
            "wrong": None if kind == "paraphrase" else _mean(wrong, mine),
            "change": _mean(change, mine),
        }
    return found


def _of_base(pairs: Sequence[EditedPair], values: Array, kind: str) -> Array:
    """Per pair the score of its report's pair of the given kind."""
    of = {pair.base: value for pair, value in zip(pairs, values, strict=True) if pair.kind == kind}
    return np.array([of[pair.base] for pair in pairs])


def _mean(values: npt.ArrayLike, among: npt.NDArray[np.bool_]) -> float | None:
    """Mean over the pairs in `among`; None where there are none."""
    return float(np.mean(np.asarray(values)[among])) if among.any() else None
