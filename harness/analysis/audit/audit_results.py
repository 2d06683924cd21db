"""The results of both audits as typed values, and how they are written to JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from reportcard.api import Direction, Json


@dataclass(frozen=True, slots=True)
class PairEstimate:
    """A statistic over n pairs with its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class EditRates:
    """What one score does on the n pairs of one kind of edit; None where it is not defined.

    seen, missed, wrong are shares of the pairs; change is in the score's own unit.
    """

    n: int
    seen: float | None
    missed: float | None
    wrong: float | None
    change: float | None


@dataclass(frozen=True, slots=True)
class AuditedKey:
    """One score of a metric, with its rates for each kind of edit."""

    direction: Direction
    unit: str
    signature: str
    unscored: int
    kinds: Mapping[str, EditRates]
    caveat: str | None = None

    def to_json(self) -> Json:
        written = asdict(self)
        if not self.caveat:
            del written["caveat"]
        return written


@dataclass(frozen=True, slots=True)
class MetricsAudit:
    """What `reportcard audit metrics` found.

    pairs is the identity of the pairs; keys maps `metric.score` to its rates; not_run maps a metric
    to the reason why it could not run.
    """

    pairs: str
    keys: Mapping[str, AuditedKey]
    not_run: Mapping[str, str]

    def to_json(self) -> Json:
        keys = {name: key.to_json() for name, key in self.keys.items()}
        return {"audit": "metrics", "pairs": self.pairs, "keys": keys, "not_run": self.not_run}


@dataclass(frozen=True, slots=True)
class TypeRates:
    """How often an error type is counted where it is (recall), and where it is not."""

    recall: PairEstimate
    false_alarm: PairEstimate


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """Errors counted in candidates without any: the share of such pairs, and the mean count."""

    share: PairEstimate
    mean: PairEstimate


@dataclass(frozen=True, slots=True)
class CountGrades:
    """Grades of a judge that counts errors by type.

    types has an entry per error type A…F; false_alarms one per kind of faithful candidate.
    """

    types: Mapping[str, TypeRates]
    any_error: PairEstimate
    false_alarms: Mapping[str, FalseAlarms]
    exact_total: PairEstimate
    exact_types: PairEstimate
    tau_b: PairEstimate


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of n pairs were scored the first time, and why the others were not."""

    n: int
    scored: int
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Grades:
    """What a judged metric's answers are worth.

    kinds is the share of pairs flagged, by kind of edit. counted is None for a metric whose judge
    does not count errors by type. retest is None where every question was asked once.
    """

    coverage: Coverage
    flagged_by: str
    kinds: Mapping[str, PairEstimate]
    counted: CountGrades | None
    retest: Mapping[str, PairEstimate | None]

    def to_json(self) -> Json:
        written = asdict(self)
        counted, retest = written.pop("counted"), written.pop("retest")
        return {**written, **(counted or {}), "retest": retest}


@dataclass(frozen=True, slots=True)
class JudgedMetric:
    """A judged metric with its judge, the prompts that were used, and its grades."""

    judge: str
    prompts: Sequence[str]
    caveat: str | None
    signature: str
    grades: Grades

    def to_json(self) -> Json:
        about = {"judge": self.judge, "prompts": self.prompts, "caveat": self.caveat}
        return {**about, "signature": self.signature, **self.grades.to_json()}


@dataclass(frozen=True, slots=True)
class JudgeAudit:
    """What `reportcard audit judge` found, by metric. pairs is the identity of the pairs."""

    pairs: str
    repeats: int
    metrics: Mapping[str, JudgedMetric]

    def to_json(self) -> Json:
        return {
            "audit": "judge",
            "pairs": self.pairs,
            "repeats": self.repeats,
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
        }
