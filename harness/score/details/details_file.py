"""The content of details.json as dataclasses, for the boards that show it.

`update.py` writes the file and drops what belongs to other rows when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reportcard.api import Json
from reportcard.core.records import OMITTED, named


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Five percentiles of the words per report."""

    p5: float
    p25: float
    p50: float
    p75: float
    p95: float


@dataclass(frozen=True, slots=True)
class Lengths:
    """Words per report of a system's answers and of the references."""

    candidate: Quantiles
    reference: Quantiles


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of the answers that were counted, and how many studies they are of."""

    read: int = field(metadata=named("in"))
    written: int = field(metadata=named("out"))
    studies: int


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """What the texts of a run show without a metric."""

    used: Mapping[str, int] | None = None
    tokens: Tokens | None = None
    lengths: Lengths | None = None
    top_share: float | None = None
    reference_top_share: float | None = None
    mode_collapse: bool | None = None
    prior_comparisons_without_prior: Json | None = None


@dataclass(frozen=True, slots=True)
class GroupScore:
    """A score of a subgroup. `n` is set where fewer studies are scored than the subgroup has.

    `doubt` says why the interval is unreliable.
    """

    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int | None = field(default=None, metadata=OMITTED)
    doubt: str | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubgroupScores:
    """The scores of the studies that share a value, by key."""

    value: str
    n: int
    too_few: bool | None = field(default=None, metadata=OMITTED)
    cells: Mapping[str, GroupScore]


@dataclass(frozen=True, slots=True)
class MetricDetails:
    """The subgroups of one metric, and the errors by finding where it scores findings."""

    subgroups: Mapping[str, tuple[SubgroupScores, ...]] = field(default_factory=dict)
    errors: Json | None = None


@dataclass(frozen=True, slots=True)
class Details:
    """The details of one run under one protocol."""

    reports: ReportFacts = ReportFacts()
    metrics: Mapping[str, MetricDetails] = field(default_factory=dict)
