"""The result of a validation as typed values, and how it is written to JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from reportcard.api import Direction, Json


@dataclass(frozen=True, slots=True)
class Agreement:
    """A measure of agreement with its 95 % interval; None where it is not defined."""

    value: float | None
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, slots=True)
class PublishedAgreement(Agreement):
    """Agreement beside the figure that the LLaVA-Rad paper prints, where it prints one."""

    published: str | None


@dataclass(frozen=True, slots=True)
class MetricAgreement:
    """Kendall's tau-b of one score with the raters' mean error counts, by target.

    n counts the scored pairs. reasons maps an unscored pair to its reason. warning says that the
    metric was fitted on these pairs.
    """

    n: int
    unscored: int
    reasons: Mapping[str, str]
    direction: Direction
    signature: str
    caveat: str | None
    warning: str | None
    tau: Mapping[str, PublishedAgreement]

    def to_json(self) -> Json:
        return {
            "n": self.n,
            "unscored": self.unscored,
            **({"reasons": dict(self.reasons)} if self.reasons else {}),
            "direction": self.direction,
            "signature": self.signature,
            **({"caveat": self.caveat} if self.caveat else {}),
            **({"warning": self.warning} if self.warning else {}),
            "tau": {target: asdict(tau) for target, tau in self.tau.items()},
        }


@dataclass(frozen=True, slots=True)
class JudgeBesideRater:
    """A judge's agreement with the mean of the other raters, where one rater is left out.

    p is that of the paired t-test between the judge's and the rater's absolute differences.
    """

    mad: Agreement
    tau: Agreement
    minus_rater: Agreement
    p: float | None = None
    differs: bool | None = None


@dataclass(frozen=True, slots=True)
class RaterAgreement:
    """One rater's agreement with the mean of the others (MAD and tau-b), and the judge's."""

    rater: str
    mad: Agreement
    tau: Agreement
    judge: JudgeBesideRater | None = None

    def measures(self) -> dict[str, Agreement]:
        """Return every measure under its name in JSON."""
        own = {"mad": self.mad, "tau": self.tau}
        if self.judge is None:
            return own
        judge = self.judge
        theirs = {"judge_mad": judge.mad, "judge_tau": judge.tau}
        return {**own, **theirs, "judge_minus_rater": judge.minus_rater}

    def to_json(self) -> Json:
        tested = {"p": self.judge.p, "differs": self.judge.differs} if self.judge else {}
        return {"rater": self.rater, **_plain(self.measures()), **tested}


@dataclass(frozen=True, slots=True)
class RaterSummary:
    """Every rater's agreement with the others, and the mean over raters."""

    per_rater: Sequence[RaterAgreement]
    mean: RaterAgreement

    def to_json(self) -> Json:
        lines = [line.to_json() for line in self.per_rater]
        return {"per_rater": lines, "mean": _plain(self.mean.measures())}


@dataclass(frozen=True, slots=True)
class JudgeSummary:
    """A judge beside the raters, on the n pairs that the judge scored."""

    n: int
    summary: RaterSummary

    def to_json(self) -> Json:
        return {"n": self.n, **self.summary.to_json()}


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """Raters against each other, and each judge against the same raters, for one target."""

    published_rater_mad: float | None
    raters: RaterSummary
    judges: Mapping[str, JudgeSummary]

    def to_json(self) -> Json:
        return {
            "published_rater_mad": self.published_rater_mad,
            "raters": self.raters.to_json(),
            "judges": {name: judge.to_json() for name, judge in self.judges.items()},
        }


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What `reportcard validate` found.

    leave_one_out is empty where the raters gave one consensus count; not_run maps a metric to the
    reason why it could not run.
    """

    dataset: str
    source: str | None
    n: int
    studies: int
    raters: Sequence[str]
    consensus: bool
    notes: Sequence[str]
    recipe: str
    mean_errors: Mapping[str, float]
    metrics: Mapping[str, MetricAgreement]
    not_run: Mapping[str, str]
    leave_one_out: Mapping[str, LeaveOneOut]

    def to_json(self) -> Json:
        return {
            "dataset": self.dataset,
            "source": self.source,
            "n": self.n,
            "studies": self.studies,
            "raters": list(self.raters),
            "consensus": self.consensus,
            "notes": list(self.notes),
            "recipe": self.recipe,
            "mean_errors": dict(self.mean_errors),
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
            "not_run": dict(self.not_run),
            "leave_one_out": {name: found.to_json() for name, found in self.leave_one_out.items()},
        }


def _plain(measures: Mapping[str, Agreement]) -> Json:
    return {name: asdict(measure) for name, measure in measures.items()}
