"""Rows → where a score comes from: subgroups of the studies, and the findings missed or invented.

Subgroups are scored by the metric's own `scores` over their own rows, with the resamples of the
whole cohort restricted to them (stats.Subgroup).

Findings are read by shape, from any metric with the keys <finding>.f1, .precision, .recall,
.specificity and .support. Over n studies:

    missed (fn)   = support (1 − recall)           omissions per report      = Σ missed / n
    invented (fp) = (n − support)(1 − specificity) hallucinations per report = Σ invented / n

summed over the findings without No Finding, which is the absence of the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from reportcard.api import Array, Json
from reportcard.data.subgroups import in_order
from reportcard.score.scorer import Scorer
from reportcard.score.stats.resampling import (
    Centre,
    Estimate,
    Resampler,
    Scores,
    Subgroup,
    estimate,
    mask_unscored,
)

FEW = 20  # studies below which an interval says more of the bootstrap than of the model
PARTS = ("f1", "precision", "recall", "specificity", "support")
NO_FINDING = "no_finding"
# Where missing or inventing it changes what is done for the patient; our choice, no standard.
CRITICAL = (
    *("pneumothorax", "pleural_effusion", "consolidation", "pneumonia", "edema", "lung_lesion"),
    "fracture",
)


def findings_in(keys: Sequence[str]) -> list[str]:
    """The findings that a metric scores one by one, in its order.

    >>> findings_in([f"edema.{part}" for part in PARTS] + ["macro_f1_14"])
    ['edema']
    """
    known = set(keys)
    names = [key.removesuffix(".f1") for key in keys if key.endswith(".f1")]
    return [name for name in names if all(f"{name}.{part}" in known for part in PARTS)]


def shown(scorer: Scorer) -> list[str]:
    """The keys of a metric that tables show."""
    return list(scorer.metric.spec.headline or scorer.metric.spec.keys)


def subgroups(
    rows: Array,
    scorer: Scorer,
    groups: Mapping[str, Sequence[str]],
    resampler: Resampler,
    confidence: float,
    centre: Centre,
) -> Json:
    """Group → [{"value", "n", "too_few"?, "cells": {key: {"value", "ci_low", "ci_high"}}}].

    rows: (draws, n, k), a NaN row is unscored. groups: the value of each of the n studies. n of a
    subgroup counts its scored studies; below FEW there is a value and no interval.
    """
    filled, unscored = mask_unscored(rows)
    scored = ~unscored.any(axis=0)
    names, found = shown(scorer), {}
    for group, values in groups.items():
        labels = np.array(values)
        found[group] = [
            _subgroup(
                value, filled, (labels == value) & scored, scorer, names, resampler, confidence,
                centre,
            )
            for value in in_order(group, dict.fromkeys(values))
        ]  # fmt: skip
    return found


def _subgroup(
    value: str,
    rows: Array,
    members: np.typing.NDArray[np.bool_],
    scorer: Scorer,
    names: Sequence[str],
    resampler: Resampler,
    confidence: float,
    centre: Centre,
) -> Json:
    places = np.flatnonzero(members)
    part, scores = rows[:, places], scorer.metric.scores
    about: Json = {"value": value, "n": len(places)}
    if len(places) < FEW:
        points = scores(part.sum(axis=1)) if len(places) else {}
        values = {k: _finite(float(np.mean(points[k]))) if k in points else None for k in names}
        cells = {k: {"value": v, "ci_low": None, "ci_high": None} for k, v in values.items()}
        about["too_few"] = True
    else:
        restricted = Subgroup(resampler, places)
        only = partial(_only, scores=scores, names=names)
        cells = {
            k: _cell(e) for k, e in estimate(part, only, restricted, confidence, centre).items()
        }
    return {**about, "cells": {f"{scorer.label}.{name}": cell for name, cell in cells.items()}}


def _only(total: Array, scores: Scores, names: Sequence[str]) -> dict[str, Array]:
    found = scores(total)
    return {name: found[name] for name in names}


def errors(
    rows: Array, scores: Scores, names: Sequence[str], resampler: Resampler, confidence: float
) -> Json:
    """Findings missed and invented per report, and how often each critical one was.

    {"n", "findings": how many are counted, "omissions", "hallucinations": per report,
    "omissions_interval", "hallucinations_interval": [low, high],
    "critical": [{"name", "missed", "invented", "support"}, …]}; names: those of `findings_in`.
    """
    filled, unscored = mask_unscored(rows)
    counted = [name for name in names if name != NO_FINDING]
    # A column that counts the studies of a resample; a study unscored in a draw is not in it.
    ones = np.where(unscored, 0.0, 1.0)[..., None]
    wide = np.concatenate([filled, ones], axis=-1)

    def rates(total: Array) -> dict[str, Array]:
        n = total[..., -1]
        found = scores(total[..., :-1])
        missed = {k: _missed(found, k) for k in counted}
        invented = {k: _invented(found, k, n) for k in counted}
        some = np.where(n > 0, n, np.nan)
        return {
            "omissions": sum(missed.values(), np.zeros_like(n)) / some,
            "hallucinations": sum(invented.values(), np.zeros_like(n)) / some,
            **{f"missed {k}": v for k, v in missed.items()},
            **{f"invented {k}": v for k, v in invented.items()},
            **{f"support {k}": found[f"{k}.support"] for k in counted},
        }

    at = estimate(wide, rates, resampler, confidence)
    critical = [
        {
            "name": spoken(k),
            **{what: _whole(at[f"{what} {k}"].value) for what in ("missed", "invented", "support")},
        }
        for k in CRITICAL
        if k in counted
    ]
    return {
        "n": int((~unscored.any(axis=0)).sum()),
        "findings": len(counted),
        **{k: _finite(at[k].value) for k in ("omissions", "hallucinations")},
        **{
            f"{k}_interval": [_finite(at[k].low), _finite(at[k].high)]
            for k in ("omissions", "hallucinations")
        },
        "critical": critical,
    }


def _missed(found: Mapping[str, Array], name: str) -> Array:
    return found[f"{name}.support"] * (1 - found[f"{name}.recall"])


def _invented(found: Mapping[str, Array], name: str, n: Array) -> Array:
    # Without a study in which it is absent specificity is 0 / 0, and nothing could be invented.
    return (n - found[f"{name}.support"]) * (1 - found[f"{name}.specificity"])


class ShownScore(Protocol):
    """A score with its interval: a cell of a board, or an entry of a score file."""

    @property
    def value(self) -> float | None: ...
    @property
    def ci_low(self) -> float | None: ...
    @property
    def ci_high(self) -> float | None: ...
    @property
    def n(self) -> int | None: ...


def findings(cells: Mapping[str, ShownScore], metric: str) -> list[Json]:
    """Return F1 with its interval, support and predictions of each finding that a metric scores.

    The list is empty where the metric has no such keys or no values. cells: the scores of one
    system by key.
    """
    prefix = f"{metric}."
    own = {k.removeprefix(prefix): cell for k, cell in cells.items() if k.startswith(prefix)}
    found = []
    for name in findings_in(list(own)):
        f1, *others = (own[f"{name}.{part}"] for part in PARTS)
        values = [cell.value for cell in (f1, *others) if cell.value is not None]
        if f1.n is None or len(values) < len(PARTS):
            continue
        _, precision, recall, specificity, support = values
        hits = support * recall
        invented = (f1.n - support) * (1 - specificity)
        found.append(
            {
                "name": spoken(name),
                "support": _whole(support),
                "predicted": _whole(hits + invented),
                "f1": f1.value,
                "precision": precision,
                "recall": recall,
                "f1_low": f1.ci_low,
                "f1_high": f1.ci_high,
            }
        )
    return found


def spoken(name: str) -> str:
    """
    >>> spoken("pleural_effusion")
    'Pleural effusion'
    """
    return name.replace("_", " ").capitalize()


def _cell(found: Estimate) -> Json:
    numbers = {"value": found.value, "ci_low": found.low, "ci_high": found.high}
    return {name: _finite(value) for name, value in numbers.items()}


def _whole(value: float) -> float:
    """A count; with several draws a mean of counts. Rounding makes 12.000000000000002 a 12."""
    near = round(value, 4)
    return int(near) if near == int(near) else near


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
