"""`reportcard validate rexval|radevalx`: do metrics, and a judge, agree with radiologists?

ratings.py     error counts of several raters for the same pairs
rexval.py, radevalx.py   the two data sets, as their users have them on disk
agreement.py   tau-b and leave-one-rater-out MAD, with intervals drawn by study
published.py   the figures of the LLaVA-Rad paper, shown beside
terminal.py    the tables
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from reportcard.analysis.validation.agreement import (
    LeftOut,
    draw_weights,
    leave_one_out,
    tau_with_interval,
    with_interval,
)
from reportcard.analysis.validation.metric_columns import Column, columns_of
from reportcard.analysis.validation.published_taus import IN_SAMPLE, RATER_MAD, TAU
from reportcard.analysis.validation.radevalx import read_radevalx
from reportcard.analysis.validation.ratings import Ratings
from reportcard.analysis.validation.rexval import read_rexval
from reportcard.analysis.validation.validation_tables import validation_tables
from reportcard.api import Array, Json, Pair, Progress
from reportcard.config import compose as config
from reportcard.config.catalogue import entries
from reportcard.config.settings import Protocol
from reportcard.core.progress import quiet, track
from reportcard.llm.custody import custody_of
from reportcard.score.evaluation import check_overrides
from reportcard.score.scorer import open_metrics
from reportcard.score.stats.resampling import Estimate

READERS: Mapping[str, Callable[[Path], Ratings]] = {
    "rexval": read_rexval,
    "radevalx": read_radevalx,
}
RESAMPLES, SEED, ALPHA = 500, 0, 0.05


def run_validation(
    what: str,
    *,
    root: Path,
    metrics: Sequence[str],
    overrides: Sequence[str],
    json_out: Path | None,
) -> int:
    """Print agreement of the named metrics (none named: every one) with the raters of a data set.

    Returns 0, or 2 when no metric could run. Raises ReportCardError for files or names that
    cannot be read.
    """
    from reportcard.core.files import write_atomic

    result = validate(READERS[what](root), metrics, overrides, track, _say)
    if json_out is not None:
        text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomic(json_out, text)
    validation_tables(result)
    return 0 if result["metrics"] else 2


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def validate(
    ratings: Ratings,
    metrics: Sequence[str] = (),
    overrides: Sequence[str] = (),
    progress: Progress = quiet,
    say: Callable[[str], None] = lambda text: None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Json:
    """Agreement of metrics with the raters' error counts.

    metrics: names of `reportcard list metrics`; none: every one, and those that cannot run are
        listed with the reason. overrides: `weights.…`, `annotator.…`, `judge.…`.

    Returns {"dataset", "n", "studies", "raters", "notes", "recipe", "mean_errors", "metrics":
    {key: {"n", "unscored", "reasons", "direction", "signature", "tau": {target: {"value", "ci_low",
    "ci_high", "published"}}}}, "not_run": {metric: reason}, "leave_one_out": {target: {"raters":
    …, "judges": {key: …}}}}; leave_one_out is {} where the raters gave one consensus.
    """
    check_overrides("validate", overrides)
    wanted = list(metrics) or [name for name, _ in entries("metrics")]
    annotators = config.load_annotators(overrides)
    scorers = open_metrics(config.load_metrics(wanted, Protocol()), annotators)
    pairs = [
        Pair(name, text.candidate, text.reference)
        for name, text in zip(ratings.ids, ratings.texts, strict=True)
    ]
    custody = custody_of(ratings.card, progress, say)
    columns, not_run = columns_of(scorers, pairs, custody)
    weights = draw_weights(len(pairs), resamples, seed, ratings.clusters)
    return {
        "dataset": ratings.name,
        "source": ratings.card.url,
        "n": len(pairs),
        "studies": len({text.study for text in ratings.texts}),
        "raters": list(ratings.raters),
        "consensus": ratings.consensus,
        "notes": list(ratings.notes),
        "recipe": f"tau-b|ci:percentile95%,B={resamples},seed={seed},by=study|t:paired,two-sided",
        "mean_errors": {name: float(counts.mean()) for name, counts in ratings.targets.items()},
        "metrics": {column.label: _taus(column, ratings, weights) for column in columns},
        "not_run": not_run,
        "leave_one_out": _left_out(columns, ratings, weights),
    }


def _taus(column: Column, ratings: Ratings, weights: Array) -> Json:
    """tau-b with the mean of all raters; positive = agrees, whichever way the metric points."""
    worse = column.values if column.key.direction == "lower" else -column.values
    scored = int((~np.isnan(worse)).sum())
    rexval = ratings.name == "rexval"
    published = TAU.get(column.label, {}) if rexval else {}
    return {
        "n": scored,
        "unscored": len(worse) - scored,
        **({"reasons": dict(column.reasons)} if column.reasons else {}),
        "direction": column.key.direction,
        "signature": column.signature,
        **({"caveat": column.scorer.caveat} if column.scorer.caveat else {}),
        **({"warning": IN_SAMPLE[column.label]} if rexval and column.label in IN_SAMPLE else {}),
        "tau": {
            target: _entry(tau_with_interval(worse, counts.mean(axis=1), weights))
            | {"published": published.get(target)}
            for target, counts in ratings.targets.items()
        },
    }


def _left_out(columns: Sequence[Column], ratings: Ratings, weights: Array) -> Json:
    """Per target: the raters against each other, and every judge against the same others."""
    if len(ratings.raters) < 2:
        return {}
    found: Json = {}
    for target, counts in ratings.targets.items():
        judges = [column for column in columns if column.counts == target]
        found[target] = {
            "published_rater_mad": RATER_MAD.get(target) if ratings.name == "rexval" else None,
            "raters": _summary(leave_one_out(counts, ratings.raters, weights)),
            "judges": {
                judge.label: {"n": int((~np.isnan(judge.values)).sum())}
                | _summary(leave_one_out(counts, ratings.raters, weights, judge.values))
                for judge in judges
                if not np.isnan(judge.values).all()
            },
        }
    return found


def _summary(left: Sequence[LeftOut]) -> Json:
    """Each rater's line, and the means over raters."""
    judged = left[0].judge_mad is not None
    names = ["mad", "tau", *(["judge_mad", "judge_tau"] if judged else [])]
    lines = []
    for one in left:
        line: Json = {"rater": one.rater}
        line |= {name: _entry(with_interval(getattr(one, name))) for name in names}
        if judged:
            assert one.judge_mad is not None
            line["judge_minus_rater"] = _entry(with_interval(one.judge_mad - one.mad))
            line |= {"p": one.p, "differs": None if one.p is None else one.p < ALPHA}
        lines.append(line)
    means = {name: np.mean([getattr(one, name) for one in left], axis=0) for name in names}
    if judged:
        means["judge_minus_rater"] = means["judge_mad"] - means["mad"]
    return {
        "per_rater": lines,
        "mean": {name: _entry(with_interval(values)) for name, values in means.items()},
    }


def _entry(found: Estimate) -> Json:
    numbers = {"value": found.value, "ci_low": found.low, "ci_high": found.high}
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
