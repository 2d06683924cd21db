"""Runs `reportcard validate rexval|radevalx`: do metrics, and a judge, agree with radiologists?

ratings.py             reads error counts of several raters for the same pairs
rexval.py, radevalx.py read the two data sets, as their users have them on disk
metric_columns.py      computes each metric pair by pair
agreement.py           computes tau-b and leave-one-rater-out MAD, with intervals drawn by study
published_taus.py      holds the figures of the LLaVA-Rad paper, which are shown beside ours
validation_results.py  the result as typed values
validation_tables.py   shows the result in the terminal
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from reportcard.analysis.validation.agreement import (
    RaterLeftOut,
    draw_weights,
    leave_one_out,
    tau_with_interval,
    with_interval,
)
from reportcard.analysis.validation.metric_columns import PairScores, columns_of
from reportcard.analysis.validation.published_taus import IN_SAMPLE, RATER_MAD, TAU
from reportcard.analysis.validation.radevalx import read_radevalx
from reportcard.analysis.validation.ratings import Ratings
from reportcard.analysis.validation.rexval import read_rexval
from reportcard.analysis.validation.validation_results import (
    Agreement,
    JudgeBesideRater,
    JudgeSummary,
    LeaveOneOut,
    MetricAgreement,
    PublishedAgreement,
    RaterAgreement,
    RaterSummary,
    ValidationResult,
)
from reportcard.analysis.validation.validation_tables import validation_tables
from reportcard.api import Array, Pair, Progress
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
    """Print the agreement of metrics with the raters of a data set, and return the exit code.

    The code is 2 when no metric could run. Raises ReportCardError for files or names that cannot
    be read.

    Args:
        what: "rexval" or "radevalx".
        root: the folder with its files.
        metrics: names; empty means every metric.
        overrides: `weights.…`, `annotator.…`, `judge.…`.
        json_out: where to write the result; None writes nothing.
    """
    from reportcard.core.files import write_atomic

    result = validate(READERS[what](root), metrics, overrides, track, _say)
    if json_out is not None:
        text = json.dumps(result.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomic(json_out, text)
    validation_tables(result)
    return 0 if result.metrics else 2


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
) -> ValidationResult:
    """Compute the agreement of metrics with the raters' error counts.

    Args:
        ratings: pairs with the error counts of every rater.
        metrics: names of `reportcard list metrics`; empty means every one, and those that cannot
            run are listed with the reason.
        overrides: `weights.…`, `annotator.…`, `judge.…`.
        progress: shows how many pairs are done.
        say: prints a line.
        resamples: bootstrap replicates.
        seed: seed of the bootstrap.
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
    return ValidationResult(
        dataset=ratings.name,
        source=ratings.card.url,
        n=len(pairs),
        studies=len({text.study for text in ratings.texts}),
        raters=ratings.raters,
        consensus=ratings.consensus,
        notes=ratings.notes,
        recipe=f"tau-b|ci:percentile95%,B={resamples},seed={seed},by=study|t:paired,two-sided",
        mean_errors={name: float(counts.mean()) for name, counts in ratings.targets.items()},
        metrics={column.label: _agreement(column, ratings, weights) for column in columns},
        not_run=not_run,
        leave_one_out=_leave_one_out(columns, ratings, weights),
    )


def _agreement(column: PairScores, ratings: Ratings, weights: Array) -> MetricAgreement:
    """Compute tau-b with the mean of all raters.

    Positive means agreement, whether the metric is better when higher or when lower.
    """
    worse = column.values if column.key.direction == "lower" else -column.values
    scored = int((~np.isnan(worse)).sum())
    rexval = ratings.name == "rexval"
    published = TAU.get(column.label, {}) if rexval else {}
    tau = {}
    for target, counts in ratings.targets.items():
        value, low, high = _finite(tau_with_interval(worse, counts.mean(axis=1), weights))
        tau[target] = PublishedAgreement(value, low, high, published.get(target))
    return MetricAgreement(
        n=scored,
        unscored=len(worse) - scored,
        reasons=column.reasons,
        direction=column.key.direction,
        signature=column.signature,
        caveat=column.scorer.caveat,
        warning=IN_SAMPLE.get(column.label) if rexval else None,
        tau=tau,
    )


def _leave_one_out(
    columns: Sequence[PairScores], ratings: Ratings, weights: Array
) -> dict[str, LeaveOneOut]:
    """Compare, for each target, the raters with each other and every judge with the same raters."""
    if len(ratings.raters) < 2:
        return {}
    found = {}
    for target, counts in ratings.targets.items():
        judges = {
            judge.label: JudgeSummary(
                int((~np.isnan(judge.values)).sum()),
                _summary(leave_one_out(counts, ratings.raters, weights, judge.values)),
            )
            for judge in columns
            if judge.counts == target and not np.isnan(judge.values).all()
        }
        found[target] = LeaveOneOut(
            published_rater_mad=RATER_MAD.get(target) if ratings.name == "rexval" else None,
            raters=_summary(leave_one_out(counts, ratings.raters, weights)),
            judges=judges,
        )
    return found


def _summary(left: Sequence[RaterLeftOut]) -> RaterSummary:
    """Summarise each rater, and the mean over raters."""
    mad = np.mean([one.mad for one in left], axis=0)
    tau = np.mean([one.tau for one in left], axis=0)
    judges = [one.judge for one in left if one.judge is not None]
    mean_judge = None
    if judges:
        judge_mad = np.mean([judge.mad for judge in judges], axis=0)
        judge_tau = np.mean([judge.tau for judge in judges], axis=0)
        mean_judge = JudgeBesideRater(
            _measure(judge_mad), _measure(judge_tau), _measure(judge_mad - mad)
        )
    mean = RaterAgreement("mean", _measure(mad), _measure(tau), mean_judge)
    return RaterSummary([_line(one) for one in left], mean)


def _line(one: RaterLeftOut) -> RaterAgreement:
    beside = None
    if one.judge is not None:
        p = one.judge.p
        beside = JudgeBesideRater(
            _measure(one.judge.mad),
            _measure(one.judge.tau),
            _measure(one.judge.mad - one.mad),
            p,
            None if p is None else p < ALPHA,
        )
    return RaterAgreement(one.rater, _measure(one.mad), _measure(one.tau), beside)


def _measure(statistic: Array) -> Agreement:
    return Agreement(*_finite(with_interval(statistic)))


def _finite(found: Estimate) -> tuple[float | None, float | None, float | None]:
    """Return value and limits, with None for what is not a number."""
    value, low, high = (
        number if math.isfinite(number) else None for number in (found.value, found.low, found.high)
    )
    return value, low, high
