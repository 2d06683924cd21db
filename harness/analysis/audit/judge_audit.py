"""`reportcard audit judge`: what a judged metric's judge sees of errors that we made on purpose.

Every pair is judged `repeats` times. Rates and tau-b are of the first time; test–retest compares
all times with each other. Intervals: 95 % percentile bootstrap that draws base reports, whose pairs
share a reference (a rate of exactly 0 or 1 has an interval of no width: read its n).

A metric whose notes hold counts, {"significant": {A…F}, "insignificant": {A…F}}, is graded by type
and count, both columns added (pairs.py says why). Any metric is graded by kind: a pair is *flagged*
when an error is counted in it, or, without counts, when its first headline score is worse than the
best there is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

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
from reportcard.api import Array, Custody, Json, JudgedAnnotator, Pair, ReportCardError
from reportcard.config.compose import load_metrics, load_protocol
from reportcard.llm.judge.contract import Judge, Question, Verdict
from reportcard.score.evaluation import noted
from reportcard.score.scorer import Scorer, open_metrics, read_by, why_not
from reportcard.score.stats.resampling import Resampler, clusters_of, estimate

RESAMPLES = 1000
COLUMNS = ("significant", "insignificant")
Mask = npt.NDArray[np.bool_]


class AskedAnew:
    """A judge whose every question is asked for the `repeat`-th time: it is cached under its number
    and so asked anew. It notes whose prompts asked."""

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
    """Statistics over the pairs, with intervals that draw base reports."""

    resampler: Resampler

    @classmethod
    def of(cls, pairs: Sequence[EditedPair]) -> Sample:
        return cls(Resampler(len(pairs), RESAMPLES, 0, clusters_of([p.base for p in pairs])))

    def mean(self, values: npt.ArrayLike, among: Mask) -> Json:
        """Mean of values (n,) over the pairs in `among`."""
        rows = np.column_stack([np.where(among, values, 0), among]).astype(np.float64)
        found = estimate(rows[None], _ratio, self.resampler)["mean"]
        return _entry(found.value, found.low, found.high, among)

    def tau_b(self, x: Array, y: Array, among: Mask) -> Json:
        """Kendall's tau-b of x and y (n,); null where either is constant, which has no order."""
        every = np.flatnonzero(among)
        weights = np.vstack([np.ones(len(x)), self.resampler.weights])[:, every]
        found = with_interval(tau_b(x[every], y[every], weights))
        return _entry(found.value, found.low, found.high, among)


def audit_judges(
    names: Sequence[str], overrides: Sequence[str], repeats: int, custody: Custody
) -> Json:
    """The judged metrics `names` over the pairs, `repeats` times each.

    Returns {"pairs", "repeats", "metrics": {name: …}} as `grade` gives it. Raises ReportCardError
    for a metric that asks no judge or cannot run.
    """
    judges: list[AskedAnew] = []

    def wrap(judge: Judge) -> Judge:
        judges.append(AskedAnew(judge))
        return judges[-1]

    scorers = open_metrics(load_metrics(names, load_protocol(PROTOCOL)), overrides, wrap)
    for scorer in scorers:
        if not any(isinstance(a, JudgedAnnotator) for a in scorer.annotators):
            raise ReportCardError(
                f"{scorer.label} asks no judge: reportcard audit metrics --metrics {scorer.label}"
            )
        if scorer.not_run:
            raise ReportCardError(f"{scorer.label}: {scorer.not_run}")
    pairs = edited_pairs()
    found: Json = {}
    for scorer in scorers:
        times = []
        for judge in judges:
            judge.prompts.clear()
        for repeat in range(repeats):
            for judge in judges:
                judge.repeat = repeat
            times.append(noted(scorer, [edited.pair for edited in pairs], custody))
        prompts = sorted({prompt for judge in judges for prompt in judge.prompts})
        about = {
            "judge": "; ".join(judge.identity for judge in judges),
            "prompts": prompts,
            "caveat": scorer.caveat,
            "signature": _signature(scorer, repeats),
        }
        found[scorer.label] = {**about, **grade(scorer, pairs, times)}
    return {"audit": "judge", "pairs": pairs_id(), "repeats": repeats, "metrics": found}


def _signature(scorer: Scorer, repeats: int) -> str:
    """One line to paste into a paper; an annotator's version names its judge and its prompt."""
    spec = scorer.metric.spec
    return "|".join(
        [
            f"audit:{scorer.label}|v{spec.version}",
            spec.signature,
            *(f"{a.id}:{read_by(a)}" for a in scorer.annotators),
            f"repeats:{repeats}|{pairs_id()}",
            f"ci:percentile95%,B={RESAMPLES},seed=0,by=base report",
        ]
    )


def grade(scorer: Scorer, pairs: Sequence[EditedPair], times: Sequence[Sequence[Pair]]) -> Json:
    """times: the noted pairs of each repeat. Coverage, retest and kinds; and, where the notes hold
    counts, types, false alarms, count agreement and tau-b. Raises ReportCardError when the first
    time scored nothing."""
    sample = Sample.of(pairs)
    rows = [scorer.metric.rows(answered) for answered in times]
    scored = [np.asarray(~np.isnan(table).any(axis=1), np.bool_) for table in rows]
    reasons = Counter(
        why_not(pair) or "the metric gave no row"
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
    else:
        flagged_by, flags, known = _flagged(scorer, rows[0])
    found: Json = {
        "coverage": {"n": len(pairs), "scored": int(scored[0].sum()), "reasons": dict(reasons)},
        "flagged_by": flagged_by,
        "kinds": {kind: sample.mean(flags, known & _kind(pairs, kind)) for kind in KINDS},
    }
    if not counted:
        return {**found, "retest": {"row": _same(rows, scored, sample, lambda a: a)}}
    return {
        **found,
        **_counted(pairs, counts[0], scored[0], sample),
        "retest": {
            "counts": _same(counts, scored, sample, lambda a: a),
            "total": _same(counts, scored, sample, lambda a: a.sum(axis=1, keepdims=True)),
        },
    }


def _counted(pairs: Sequence[EditedPair], counts: Array, scored: Mask, sample: Sample) -> Json:
    """counts: (n, 12), significant A…F and insignificant A…F of the first repeat."""
    truth = np.array([[pair.truth[letter] for letter in TYPES] for pair in pairs], np.float64)
    judged = np.nan_to_num(counts[:, :6] + counts[:, 6:])
    errors, total = truth.sum(axis=1), judged.sum(axis=1)
    types = {}
    for i, letter in enumerate(TYPES):
        there = truth[:, i] > 0
        types[letter] = {
            "recall": sample.mean(judged[:, i] > 0, scored & there),
            "false_alarm": sample.mean(judged[:, i] > 0, scored & ~there),
        }
    faithful = {kind: scored & _kind(pairs, kind) for kind in FAITHFUL}
    return {
        "types": types,
        "any_error": sample.mean(total > 0, scored & (errors > 0)),
        "false_alarms": {
            kind: {"share": sample.mean(total > 0, among), "mean": sample.mean(total, among)}
            for kind, among in faithful.items()
        },
        "exact_total": sample.mean(total == errors, scored),
        "exact_types": sample.mean((judged == truth).all(axis=1), scored),
        "tau_b": sample.tau_b(errors, total, scored),
    }


def _counts(pairs: Sequence[Pair]) -> Array:
    """(n, 12) counts out of the notes, NaN where a note holds none."""
    found = np.full((len(pairs), 2 * len(TYPES)), np.nan)
    for i, pair in enumerate(pairs):
        for note, _ in pair.notes.values():
            if note is not None and all(column in note for column in COLUMNS):
                found[i] = [note[column][letter] for column in COLUMNS for letter in TYPES]
    return found


def _flagged(scorer: Scorer, rows: Array) -> tuple[str, Mask, Mask]:
    """The first shown key, whether each pair's score is worse than the best there is, and whether
    the pair has one."""
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
) -> Json | None:
    """Mean over pairs of repeats of the share with equal values; None when asked once."""
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


def _entry(value: float, low: float, high: float, among: Mask) -> Json:
    numbers = {"value": value, "low": low, "high": high}
    finite = {k: float(v) if math.isfinite(v) else None for k, v in numbers.items()}
    return {**finite, "n": int(among.sum())}
