"""Breaks a score down: by subgroups of the studies, and by findings that were missed or invented.

A subgroup is scored with the metric's own `scores` over the rows of its studies, with the resamples
of the whole cohort restricted to them (stats/resampling.py, Subgroup).

A metric scores findings one by one if it has the keys <finding>.f1, .precision, .recall,
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
import numpy.typing as npt

from reportcard.api import Array, Json
from reportcard.data.subgroups import in_order
from reportcard.score.scorer import Scorer, doubt_of_interval, doubts_of
from reportcard.score.stats.resampling import (
    Centre,
    Estimate,
    Resampler,
    Scores,
    Subgroup,
    estimate,
    mask_unscored,
)

FEW = 20  # studies; with fewer, an interval says more about the bootstrap than about the model
PARTS = ("f1", "precision", "recall", "specificity", "support")
NO_FINDING = "no_finding"
# Findings that change what is done for the patient; the list is our choice and no standard.
CRITICAL = (
    *("pneumothorax", "pleural_effusion", "consolidation", "pneumonia", "edema", "lung_lesion"),
    "fracture",
)


def findings_in(keys: Sequence[str]) -> list[str]:
    """Return the findings that a metric scores one by one, in its order.

    >>> findings_in([f"edema.{part}" for part in PARTS] + ["macro_f1_14"])
    ['edema']
    """
    known = set(keys)
    names = [key.removesuffix(".f1") for key in keys if key.endswith(".f1")]
    return [name for name in names if all(f"{name}.{part}" in known for part in PARTS)]


def shown_keys(scorer: Scorer) -> list[str]:
    """Return the keys of a metric that tables show."""
    return list(scorer.metric.spec.headline or scorer.metric.spec.keys)


def subgroups(
    rows: Array,
    scorer: Scorer,
    groups: Mapping[str, Sequence[str]],
    resampler: Resampler,
    confidence: float,
    centre: Centre,
) -> Json:
    """Score the subgroups of the studies with a metric's own `scores`.

    Args:
        rows: (draws, n, k), a NaN row is unscored.
        scorer: the metric; the keys that tables show are scored.
        groups: group → the value of each of the n studies.
        resampler: the resamples of the whole cohort.
        confidence: of the intervals.
        centre: whether a value is the score of the data or the median of the replicates.

    Returns group → [{"value", "n", "too_few"?, "cells": {key: {"value", "ci_low", "ci_high",
    "doubt"?}}}]. n counts the scored studies of a subgroup; below FEW there is a value and no
    interval; doubt says why an interval is unreliable.
    """
    filled, unscored = mask_unscored(rows)
    scored = ~unscored.any(axis=0)
    names = shown_keys(scorer)

    def cells_of(places: npt.NDArray[np.int64]) -> dict[str, Json]:
        part = filled[:, places]
        only = partial(_only, scores=scorer.scores_of_sample(part), names=names)
        if len(places) < FEW:
            points = only(part.sum(axis=1)) if len(places) else {}
            values = {k: float(np.mean(points[k])) if k in points else math.nan for k in names}
            return {
                k: {"value": _finite(v), "ci_low": None, "ci_high": None} for k, v in values.items()
            }
        found = estimate(part, only, Subgroup(resampler, places), confidence, centre)
        cells = {k: _cell(e) for k, e in found.items()}
        for name, reason in doubts_of(scorer.metric, part, cells).items():
            cells[name] |= {"doubt": reason}
        return cells

    result: dict[str, list[Json]] = {}
    for group, values in groups.items():
        labels, result[group] = np.array(values), []
        for value in in_order(group, dict.fromkeys(values)):
            places = np.flatnonzero((labels == value) & scored)
            about: Json = {"value": value, "n": len(places)}
            if len(places) < FEW:
                about["too_few"] = True
            cells = {f"{scorer.label}.{k}": cell for k, cell in cells_of(places).items()}
            result[group].append({**about, "cells": cells})
    return result


def _only(total: Array, scores: Scores, names: Sequence[str]) -> dict[str, Array]:
    found = scores(total)
    return {name: found[name] for name in names}


def errors(
    rows: Array, scores: Scores, names: Sequence[str], resampler: Resampler, confidence: float
) -> Json:
    """Count the findings missed and invented per report, and how often each critical one was.

    Args:
        rows: (draws, n, k), a NaN row is unscored.
        scores: turns summed rows into the metric's keys.
        names: the findings, as `findings_in` gives them.
        resampler: the bootstrap weights.
        confidence: of the intervals.

    Returns {"n", "findings": how many are counted, "omissions", "hallucinations": per report,
    "omissions_interval", "hallucinations_interval": [low, high], "omissions_doubt" and
    "hallucinations_doubt" where one is unreliable,
    "critical": [{"name", "missed", "invented", "support"}, …]}.
    """
    filled, unscored = mask_unscored(rows)
    counted = [name for name in names if name != NO_FINDING]
    # One more column counts the studies of a resample, without those that are unscored in a draw.
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
    n = int((~unscored.any(axis=0)).sum())
    doubts = {k: _doubt(at[k], n) for k in ("omissions", "hallucinations")}
    critical = [
        {
            "name": display_name(k),
            **{what: _whole(at[f"{what} {k}"].value) for what in ("missed", "invented", "support")},
        }
        for k in CRITICAL
        if k in counted
    ]
    return {
        "n": n,
        "findings": len(counted),
        **{k: _finite(at[k].value) for k in ("omissions", "hallucinations")},
        **{
            f"{k}_interval": [_finite(at[k].low), _finite(at[k].high)]
            for k in ("omissions", "hallucinations")
        },
        **{f"{k}_doubt": doubt for k, doubt in doubts.items() if doubt},
        "critical": critical,
    }


def _missed(found: Mapping[str, Array], name: str) -> Array:
    return found[f"{name}.support"] * (1 - found[f"{name}.recall"])


def _invented(found: Mapping[str, Array], name: str, n: Array) -> Array:
    # Where every study has the finding, none can be invented: the first factor is 0.
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
    @property
    def doubt(self) -> str | None: ...


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
                "name": display_name(name),
                "support": _whole(support),
                "predicted": _whole(hits + invented),
                "f1": f1.value,
                "precision": precision,
                "recall": recall,
                "f1_low": f1.ci_low,
                "f1_high": f1.ci_high,
                **({"f1_doubt": f1.doubt} if f1.doubt else {}),
            }
        )
    return found


def display_name(name: str) -> str:
    """Write the name of a finding as a person does.

    >>> display_name("pleural_effusion")
    'Pleural effusion'
    """
    return name.replace("_", " ").capitalize()


def _cell(found: Estimate) -> Json:
    numbers = {"value": found.value, "ci_low": found.low, "ci_high": found.high}
    return {name: _finite(value) for name, value in numbers.items()}


def _doubt(found: Estimate, n: int) -> str | None:
    return doubt_of_interval(n, found.low, found.high)


def _whole(value: float) -> float:
    """Round a count, or a mean of counts over draws, so that 12.000000000000002 is 12."""
    near = round(value, 4)
    return int(near) if near == int(near) else near


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
