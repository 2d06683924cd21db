"""The leaderboard as dataclasses: boards, their columns, their entries, and one cell per score.

`build.py` makes these from score files; the page, the terminal table, leaderboard.json and
leaderboard.csv are written from them. Whatever a reader sees is in leaderboard.json, where the
fields have the same names (except that entries are called `rows`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reportcard.api import Direction, Json
from reportcard.core.files import read_json
from reportcard.core.layout import RunId
from reportcard.core.records import OMITTED, from_json, named, omitted_without, to_json
from reportcard.data.cohort_file import Overlap, SelectionStep
from reportcard.publish.board.published import PublishedCohort
from reportcard.publish.board.vision import VisionUse
from reportcard.score.details.details_file import Lengths
from reportcard.score.score_file import IntervalStats
from reportcard.score.stats.pairwise import PairTest

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Cell:
    """One score of one entry.

    An empty `value` comes with `not_run`, a sentence, unless no study could be scored. `best`,
    `tied_with_best` and `difference` (the interval of this entry minus the best one) are set where
    the entries of a column were compared. `doubt` says why the interval is unreliable.
    """

    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = field(default=None, metadata=OMITTED)
    unscored: int | None = field(default=None, metadata=OMITTED)
    bounds: tuple[float | None, float | None] | None = field(default=None, metadata=OMITTED)
    draws: int | None = field(default=None, metadata=OMITTED)
    spread: float | None = field(default=None, metadata=omitted_without("draws"))
    signature: str | None = field(default=None, metadata=OMITTED)
    caveat: str | None = field(default=None, metadata=OMITTED)
    doubt: str | None = field(default=None, metadata=OMITTED)
    not_run: str | None = field(default=None, metadata=OMITTED)
    not_applicable: bool | None = field(default=None, metadata=OMITTED)
    other_version: bool | None = field(default=None, metadata=OMITTED)
    best: bool | None = field(default=None, metadata=OMITTED)
    tied_with_best: bool | None = field(default=None, metadata=OMITTED)
    difference: Interval | None = field(default=None, metadata=OMITTED)

    @property
    def interval(self) -> Interval | None:
        """Both ends of the confidence interval, or None where there is none."""
        if self.ci_low is None or self.ci_high is None:
            return None
        return self.ci_low, self.ci_high

    @property
    def why_empty(self) -> str:
        """Why the cell has no number, in a word or two.

        A score is undefined where studies were scored and there was nothing to count.
        """
        if self.not_applicable:
            return "–"
        if self.not_run:
            return "not run"
        return "undefined" if self.n else "unscored"


@dataclass(frozen=True, slots=True)
class Column:
    """One key of one metric. `headline`: tables show it; `lead`: it represents its metric.

    Where entries were scored by several versions of the metric, the column is of the version that
    most entries have (`version_of_rows`). `not_headline` says why a headline key of the metric is
    none on this board, and `floor_leads` that a floor has the best value.
    """

    key: str
    metric: str
    name: str
    direction: Direction = "higher"
    unit: str = "fraction"
    range: tuple[float | None, float | None] = (None, None)
    version: str | None = None
    signature: str | None = None
    metric_fingerprint: str | None = None
    version_of_rows: str | None = None
    headline: bool = True
    lead: bool = False
    ties_unknown: str | None = field(default=None, metadata=OMITTED)
    not_headline: str | None = field(default=None, metadata=OMITTED)
    floor_leads: str | None = field(default=None, metadata=OMITTED)

    @property
    def sign(self) -> int:
        """The factor that makes the best value the smallest."""
        return -1 if self.direction == "higher" else 1


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the studies of a cohort in one run."""

    cohort: int | None = None
    excluded_empty_reference: int | None = None
    evaluated: int | None = None
    failed: int | None = None
    empty_candidates: int | None = None
    unique_candidates: int | None = None


@dataclass(frozen=True, slots=True)
class RankInterval:
    """The ranks that the verdicts on all pairs leave open.

    share_first  the share of resamples in which no other system is better: not the probability
                 that the system is the best (docs/statistics.md)
    """

    low: int
    high: int
    share_first: float | None = None


@dataclass(frozen=True, slots=True)
class Rank:
    """The rank interval of one entry by the primary key. `floor`: the entry is a floor."""

    key: str
    low: int
    high: int
    share_first: float | None = None
    floor: bool = False


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of wall time per 1,000 studies, and the studies that were timed."""

    seconds_per_1000: float
    studies: int


@dataclass(frozen=True, slots=True)
class Cost:
    """US dollars per 1,000 studies, and the studies whose tokens were counted."""

    usd_per_1000: float
    studies: int


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """Which rows.npz a metric's scores of one entry were made from; empty for a failed metric."""

    rows_sha256: str | None = field(default=None, metadata=OMITTED)
    stats: IntervalStats | None = field(default=None, metadata=OMITTED)
    metric_fingerprint: str | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, slots=True)
class Entry:
    """One system on a board: what it is, its scores, and what is known of its reports.

    `model` is the name of its folder; `label` is the shortest name that is unique on the board.
    """

    label: str
    model: str
    fingerprint: str
    kind: str = "model"
    description: str | None = None
    inputs: tuple[str, ...] | None = None
    trained_on: tuple[str, ...] | None = None
    sees_references: bool | None = None
    needs_train: bool | None = None
    draws: int | None = None
    vision: VisionUse | None = None
    counts: Counts = Counts()
    cells: Mapping[str, Cell] = field(default_factory=dict)
    rank: Rank | None = None
    score_files: Mapping[str, ScoredRows] = field(default_factory=dict)
    status: str = "complete"
    tier: str | None = None
    used: Mapping[str, int] | None = None
    speed: Speed | None = None
    cost: Cost | None = None
    lengths: Lengths | None = None
    unique_share: float | None = None
    top_share: float | None = None
    reference_top_share: float | None = None
    mode_collapse: bool | None = None
    details: Json = field(default_factory=dict)

    @property
    def ignores_image(self) -> bool:
        """Whether the vision-use probe flagged the run; one that was not probed is not flagged."""
        return self.vision is not None and self.vision.ignores_pixels

    def has_score(self, column: Column) -> bool:
        """Whether the entry has a value that compares with the others of this column."""
        cell = self.cells[column.key]
        return cell.value is not None and not cell.other_version

    def competes(self, column: Column) -> bool:
        """Whether the entry is compared with others in this column; a ceiling never is."""
        return self.kind != "ceiling" and self.has_score(column)


@dataclass(frozen=True, slots=True)
class BoardCohort:
    """The cohort of a board, as its cohort file describes it."""

    name: str
    fingerprint: str
    dataset: str | None = None
    data_class: str | None = None
    licence: str | None = None
    unit: str | None = None
    n_studies: int | None = None
    n_patients: int | None = None
    n_images: int | None = None
    views: Mapping[str, int] | None = None
    attrition: tuple[SelectionStep, ...] | None = None
    overlap: Overlap | None = None
    notes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class KeyTies:
    """The best entry of one key, and the interval of each other entry minus the best one.

    An interval is None where no resample gives both entries a score. `apart` are the entries that
    differ significantly from the best.
    """

    best: str | None
    intervals: Mapping[str, Interval | None]
    apart: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MetricTies:
    """The ties of one metric's keys. `inputs` is a digest of everything that they depend on."""

    inputs: str | None
    keys: Mapping[str, KeyTies]


@dataclass(frozen=True, slots=True)
class Skill:
    """A value between the best floor (0) and the ceiling (1) of its column, with its interval.

    The floor and the ceiling themselves have no interval. `doubt` says why one is unreliable.
    """

    value: float
    low: float | None = field(default=None, metadata=OMITTED)
    high: float | None = field(default=None, metadata=OMITTED)
    doubt: str | None = field(default=None, metadata=OMITTED)

    @property
    def interval(self) -> Interval | None:
        """Both ends of the confidence interval, or None where there is none."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySkill:
    """The skill of every entry in one column; `unknown` is a sentence where there is none.

    `floor` and `ceiling` name the entries that are 0 and 1; `inputs` is a digest of everything that
    the numbers depend on.
    """

    inputs: str | None = field(default=None, metadata=OMITTED)
    unknown: str | None = field(default=None, metadata=OMITTED)
    floor: str | None = field(default=None, metadata=OMITTED)
    floor_value: float | None = field(default=None, metadata=OMITTED)
    ceiling: str | None = field(default=None, metadata=OMITTED)
    ceiling_value: float | None = field(default=None, metadata=OMITTED)
    systems: Mapping[str, Skill] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The rank intervals of a board; `unknown` is a sentence where there are none."""

    inputs: str | None = field(default=None, metadata=OMITTED)
    key: str
    unknown: str | None = field(default=None, metadata=OMITTED)
    n: int | None = field(default=None, metadata=OMITTED)
    resamples: int | None = field(default=None, metadata=OMITTED)
    unit: str | None = field(default=None, metadata=OMITTED)
    systems: Mapping[str, RankInterval] | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsAbout:
    """What the pairwise tests of a board are of; `unknown` is a sentence where there are none.

    `left_out` names the entries beyond the first eighty; `family` says in a sentence which pairs
    are corrected together.
    """

    key: str
    direction: Direction
    trials: int
    left_out: tuple[str, ...] | None = field(default=None, metadata=OMITTED)
    inputs: str | None = field(default=None, metadata=OMITTED)
    unknown: str | None = field(default=None, metadata=OMITTED)
    confidence: float | None = field(default=None, metadata=OMITTED)
    unit: str | None = field(default=None, metadata=OMITTED)
    resamples: int | None = field(default=None, metadata=OMITTED)
    p_resolution: float | None = field(default=None, metadata=OMITTED)
    family: str | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, slots=True)
class Board:
    """The entries of one cohort under one protocol, best first.

    `ties`, `ranking`, `skill` (by key) and the pairs are None until the entries are compared.
    """

    id: str
    cohort_folder: str
    cohort: BoardCohort
    protocol: str
    primary: str | None
    columns: tuple[Column, ...]
    entries: tuple[Entry, ...] = field(metadata=named("rows"))
    ties: Mapping[str, MetricTies] | None = field(default=None, metadata=OMITTED)
    ranking: Ranking | None = None
    skill: Mapping[str, KeySkill] | None = field(default=None, metadata=OMITTED)
    pairs: tuple[PairTest, ...] | None = field(default=None, metadata=OMITTED)
    pairs_about: PairsAbout | None = None

    def column(self, key: str | None) -> Column | None:
        """The column of a key, or None."""
        return next((column for column in self.columns if column.key == key), None)

    def run(self, model: str) -> RunId:
        """The run that an entry shows."""
        return RunId(self.cohort_folder, model, self.protocol)

    def values(self, column: Column) -> list[float]:
        """Every value of a column."""
        cells = (entry.cells[column.key] for entry in self.entries)
        return [cell.value for cell in cells if cell.value is not None]


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """All boards, and the cohorts of figures that other people printed."""

    version: int
    boards: tuple[Board, ...]
    published: tuple[PublishedCohort, ...] = ()

    @classmethod
    def from_json(cls, saved: Any) -> Leaderboard:
        """Read what `to_json` gave. Raises ValueError naming a key that is absent or misshapen."""
        return from_json(cls, saved)

    @classmethod
    def read(cls, path: Path) -> Leaderboard:
        """Read a leaderboard.json."""
        return cls.from_json(read_json(path))

    def to_json(self) -> Json:
        """Return the content of leaderboard.json."""
        found: Json = to_json(self)
        return found
