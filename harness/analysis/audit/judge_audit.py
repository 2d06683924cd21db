"""Runs `reportcard audit judge`: which errors that we made on purpose does a metric's judge see?

Every pair is judged `repeats` times. Rates and tau-b use the first time; test–retest compares all
times with each other. Intervals are 95 % percentile bootstraps that draw base reports, since pairs
of one base share a reference. (A rate of exactly 0 or 1 has an interval of width zero: read its n.)

A metric whose notes hold counts, {"significant": {A…F}, "insignificant": {A…F}}, is graded by type
and count, with both columns added (edited_pairs.py says why). Every metric is graded by kind of
edit: a pair is *flagged* when an error is counted in it or, for a metric without counts, when its
first headline score is worse than the best possible one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from reportcard.analysis.audit.audit_results import (
    CountGrades,
    Coverage,
    FalseAlarms,
    Grades,
    JudgeAudit,
    JudgedMetric,
    PairEstimate,
    TypeRates,
)
from reportcard.analysis.audit.edited_pairs import (
    FAITHFUL,
    KINDS,
    TYPES,
    EditedPair,
    edited_pairs,
    pairs_id,
)
from reportcard.analysis.audit.metrics import CLOSE, PROTOCOL, shown_keys
from reportcard.analysis.validation.agreement import tau_b, with_interval
from reportcard.api import Array, Custody, JudgedAnnotator, Pair, ReportCardError
from reportcard.config.compose import load_annotators, load_metrics, load_protocol
from reportcard.llm.judge.contract import Judge, Question, Verdict
from reportcard.score.evaluation import with_notes
from reportcard.score.pairs import unscored_reason
from reportcard.score.scorer import Scorer, open_metrics
from reportcard.score.stats.resampling import Estimate, Resampler, clusters_of, estimate

RESAMPLES = 1000
COLUMNS = ("significant", "insignificant")
Mask = npt.NDArray[np.bool_]


class RepeatingJudge:
    """A judge that asks every question for the `repeat`-th time.

    The verdict cache keeps each repeat under its own number, so a repeat is a new question. The
    prompts that were used are collected in `prompts`.
    """

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.repeat = 0
        self.prompts: set[str] = set()

    @property
    def identity(self) -> str:
        return self.judge.identity

    @property
    def caveat(self) -> str | None:
        return self.judge.caveat

    def missing(self) -> str | None:
        return self.judge.missing()

    def admit(self, custody: Custody) -> None:
        self.judge.admit(custody)

    def ask(self, questions: Sequence[Question], label: str) -> list[Verdict]:
        self.prompts.update(question.prompt for question in questions)
        return self.judge.ask([replace(q, repeat=self.repeat) for q in questions], label)

    def close(self) -> None:
        self.judge.close()


@dataclass(frozen=True)
class Sample:
    """Computes statistics over the pairs, with intervals from resampled base reports."""

    resampler: Resampler

    @classmethod
    def of(cls, pairs: Sequence[EditedPair]) -> Sample:
        return cls(Resampler(len(pairs), RESAMPLES, 0, clusters_of([p.base for p in pairs])))

    def mean(self, values: npt.ArrayLike, among: Mask) -> PairEstimate:
        """Return the mean of values (n,) over the pairs in `among`."""
        rows = np.column_stack([np.where(among, values, 0), among]).astype(np.float64)
        return _finite(estimate(rows[None], _ratio, self.resampler)["mean"], among)

    def tau_b(self, x: Array, y: Array, among: Mask) -> PairEstimate:
        """Return Kendall's tau-b of x and y (n,); not defined where either is constant."""
        every = np.flatnonzero(among)
        weights = np.vstack([np.ones(len(x)), self.resampler.weights])[:, every]
        return _finite(with_interval(tau_b(x[every], y[every], weights)), among)


def audit_judges(
    names: Sequence[str], overrides: Sequence[str], repeats: int, custody: Custody
) -> JudgeAudit:
    """Audit the judged metrics `names`, asking every question `repeats` times.

    Raises ReportCardError for a metric that has no judge or cannot run.

    Args:
        names: metrics of `reportcard list metrics`.
        overrides: `judge=…`, `judge.…`, `annotator.…`, `weights.…`.
        repeats: how often each question is asked.
        custody: whose text it is, for the judge.
    """
    judges: list[RepeatingJudge] = []

    def wrap(judge: Judge) -> Judge:
        judges.append(RepeatingJudge(judge))
        return judges[-1]

    metrics = load_metrics(names, load_protocol(PROTOCOL))
    scorers = open_metrics(metrics, load_annotators(overrides), wrap)
    for scorer in scorers:
        if not any(isinstance(a, JudgedAnnotator) for a in scorer.annotators):
            raise ReportCardError(
                f"{scorer.label} has no judge; use: reportcard audit metrics"
                f" --metrics {scorer.label}"
            )
        if scorer.not_run:
            raise ReportCardError(f"{scorer.label}: {scorer.not_run}")
    pairs = edited_pairs()
    found = {}
    for scorer in scorers:
        times = []
        for judge in judges:
            judge.prompts.clear()
        for repeat in range(repeats):
            for judge in judges:
                judge.repeat = repeat
            times.append(with_notes(scorer, [edited.pair for edited in pairs], custody))
        found[scorer.label] = JudgedMetric(
            judge="; ".join(judge.identity for judge in judges),
            prompts=sorted({prompt for judge in judges for prompt in judge.prompts}),
            caveat=scorer.caveat,
            signature=_signature(scorer, repeats),
            grades=grade(scorer, pairs, times),
        )
    return JudgeAudit(pairs_id(), repeats, found)


def _signature(scorer: Scorer, repeats: int) -> str:
    """Return one line to cite; an annotator's version names its judge and its prompt."""
    signature = replace(
        scorer.signature(""),
        key=f"audit:{scorer.label}",
        ci=f"percentile95%,B={RESAMPLES},seed=0,by=base report",
    )
    return signature.with_variant(f"repeats:{repeats}", pairs_id()).format()


def grade(scorer: Scorer, pairs: Sequence[EditedPair], times: Sequence[Sequence[Pair]]) -> Grades:
    """Grade a metric's answers; `times` holds the annotated pairs of each repeat.

    Raises ReportCardError when no pair was scored the first time.
    """
    sample = Sample.of(pairs)
    rows = [scorer.metric.rows(answered) for answered in times]
    scored = [np.asarray(~np.isnan(table).any(axis=1), np.bool_) for table in rows]
    reasons = Counter(
        unscored_reason(pair) or "the metric gave no row"
        for pair, ok in zip(times[0], scored[0], strict=True)
        if not ok
    )
    if not scored[0].any():
        why = "; ".join(f"{n} × {reason}" for reason, n in reasons.items())
        raise ReportCardError(f"{scorer.label}: no pair was scored ({why}).")
    counts = [_counts(answered) for answered in times]
    counted = not np.isnan(counts[0]).all()
    if counted:
        flags, known = np.nan_to_num(counts[0]).sum(axis=1) > 0, scored[0]
        flagged_by = "any error counted"
        retest = {
            "counts": _same(counts, scored, sample, lambda a: a),
            "total": _same(counts, scored, sample, lambda a: a.sum(axis=1, keepdims=True)),
        }
    else:
        flagged_by, flags, known = _flagged(scorer, rows[0])
        retest = {"row": _same(rows, scored, sample, lambda a: a)}
    return Grades(
        coverage=Coverage(len(pairs), int(scored[0].sum()), dict(reasons)),
        flagged_by=flagged_by,
        kinds={kind: sample.mean(flags, known & _kind(pairs, kind)) for kind in KINDS},
        counted=_count_grades(pairs, counts[0], scored[0], sample) if counted else None,
        retest=retest,
    )


def _count_grades(
    pairs: Sequence[EditedPair], counts: Array, scored: Mask, sample: Sample
) -> CountGrades:
    """Grade the counts of the first repeat.

    Args:
        pairs: the n pairs with their true counts.
        counts: (n, 12) counted errors: significant A…F, then insignificant A…F.
        scored: the pairs that were scored.
        sample: the statistics over the pairs.
    """
    truth = np.array([[pair.truth[letter] for letter in TYPES] for pair in pairs], np.float64)
    judged = np.nan_to_num(counts[:, :6] + counts[:, 6:])
    errors, total = truth.sum(axis=1), judged.sum(axis=1)
    types = {}
    for i, letter in enumerate(TYPES):
        there = truth[:, i] > 0
        types[letter] = TypeRates(
            recall=sample.mean(judged[:, i] > 0, scored & there),
            false_alarm=sample.mean(judged[:, i] > 0, scored & ~there),
        )
    faithful = {kind: scored & _kind(pairs, kind) for kind in FAITHFUL}
    return CountGrades(
        types=types,
        any_error=sample.mean(total > 0, scored & (errors > 0)),
        false_alarms={
            kind: FalseAlarms(sample.mean(total > 0, among), sample.mean(total, among))
            for kind, among in faithful.items()
        },
        exact_total=sample.mean(total == errors, scored),
        exact_types=sample.mean((judged == truth).all(axis=1), scored),
        tau_b=sample.tau_b(errors, total, scored),
    )


def _counts(pairs: Sequence[Pair]) -> Array:
    """Return the counts (n, 12) that the notes hold, NaN where a note holds none."""
    found = np.full((len(pairs), 2 * len(TYPES)), np.nan)
    for i, pair in enumerate(pairs):
        for note, _ in pair.notes.values():
            if note is not None and all(column in note for column in COLUMNS):
                found[i] = [note[column][letter] for column in COLUMNS for letter in TYPES]
    return found


def _flagged(scorer: Scorer, rows: Array) -> tuple[str, Mask, Mask]:
    """Return how pairs are flagged, which pairs are, and which pairs have a score at all.

    A pair is flagged when its first shown score is worse than the best possible one.
    """
    spec = scorer.metric.spec
    name = shown_keys(spec)[0]
    key, label = spec.keys[name], f"{scorer.label}.{name}"
    best = key.high if key.direction == "higher" else key.low
    if best is None:
        raise ReportCardError(f"{label} has no best value; it cannot be audited.")
    score = scorer.metric.scores(rows)[name]
    return f"{label} short of {best:g}", np.abs(score - best) > CLOSE, ~np.isnan(score)


def _same(
    tables: Sequence[Array], scored: Sequence[Mask], sample: Sample, part: Callable[[Array], Array]
) -> PairEstimate | None:
    """Return how often two repeats gave equal values; None when every question was asked once.

    Args:
        tables: the counts or rows of each repeat.
        scored: the pairs that each repeat scored.
        sample: the statistics over the pairs.
        part: what is compared of a table.
    """
    if len(tables) < 2:
        return None
    equal, both = np.zeros(len(tables[0])), np.zeros(len(tables[0]))
    for i, j in combinations(range(len(tables)), 2):
        compared = scored[i] & scored[j]
        equal += compared & (part(tables[i]) == part(tables[j])).all(axis=1)
        both += compared
    return sample.mean(equal / np.maximum(both, 1), both > 0)


def _kind(pairs: Sequence[EditedPair], kind: str) -> Mask:
    return np.array([pair.kind == kind for pair in pairs])


def _ratio(total: Array) -> dict[str, Array]:
    n = total[..., 1]
    return {"mean": np.divide(total[..., 0], n, out=np.full_like(n, np.nan), where=n > 0)}


def _finite(found: Estimate, among: Mask) -> PairEstimate:
    value, low, high = (
        float(v) if math.isfinite(v) else None for v in (found.value, found.low, found.high)
    )
    return PairEstimate(value, low, high, int(among.sum()))
