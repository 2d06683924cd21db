"""The content of a scores.json as dataclasses, for everything that reads score files.

`scoring_stage.py` writes the file; the boards, MLflow, a release and the analyses read it here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from reportcard.api import Direction, ReportCardError
from reportcard.core.files import read_json
from reportcard.core.layout import Results, RunId, VersionedName
from reportcard.core.records import OMITTED, from_json

NUMBERS = ("value", "ci_low", "ci_high", "spread")


@dataclass(frozen=True, slots=True)
class IntervalStats:
    """The interval recipe of a metric, as numbers that repeat it."""

    resamples: int
    seed: int
    confidence: float
    unit: str
    recipe: Literal["scipy", "bca", "sacrebleu"] | None = field(default=None, metadata=OMITTED)
    centre: Literal["point", "median"] | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, slots=True)
class KeyScore:
    """The score of one key (`bleu.bleu_4`): its value with an interval, and how it was made.

    `bounds` is the lowest and highest value that the unscored studies leave possible; `spread` is
    the standard deviation over `draws` answers; `doubt` says why the interval is unreliable.
    """

    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None
    unscored: int | None = None
    direction: Direction = "higher"
    unit: str = "fraction"
    range: tuple[float | None, float | None] = (None, None)
    signature: str | None = None
    caveat: str | None = None
    doubt: str | None = None
    draws: int | None = None
    spread: float | None = None
    bounds: tuple[float | None, float | None] | None = None


@dataclass(frozen=True, slots=True)
class ScoreFile:
    """A metric's scores on one run. `not_run` says why it failed; then there are no values."""

    metric: str
    keys: Mapping[str, KeyScore]
    cohort: str = ""
    cohort_fingerprint: str = ""
    model: str = ""
    model_fingerprint: str = ""
    protocol: str = ""
    metric_fingerprint: str | None = None
    rows_sha256: str | None = None
    stats: IntervalStats | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    read_by: tuple[tuple[str, str], ...] = ()
    primary: tuple[str, ...] = ()
    headline: tuple[str, ...] = ()
    boxes: bool = False
    not_run: str | None = None
    not_applicable: bool = False

    @classmethod
    def read(cls, path: Path) -> ScoreFile:
        """Read and check a scores.json. Raises ReportCardError naming a damaged file."""
        saved = read_json(path)
        try:
            found = from_json(cls, saved)
            for key, entry in saved["keys"].items():
                for name in NUMBERS:
                    if not (entry.get(name) is None or _is_finite(entry[name])):
                        raise ValueError(f"{key}.{name} is not a finite number")
                if "not_run" not in saved:
                    _require(entry, ("value", "n", "unscored", "direction", "signature"), key)
            if "not_run" not in saved:
                names = ("metric_fingerprint", "rows_sha256", "stats", "counts")
                _require(saved, names, "the file")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise _damaged(path, error) from None
        return found

    @classmethod
    def read_of(cls, path: Path, cohort: str, system: str) -> ScoreFile:
        """Read the scores of this cohort and this system, both named as their folders are.

        Raises ReportCardError when the file is damaged or belongs to another cohort or system.
        """
        found = cls.read(path)
        for kind, name, fingerprint, folder in (
            ("cohort", found.cohort, found.cohort_fingerprint, cohort),
            ("model", found.model, found.model_fingerprint, system),
        ):
            if str(VersionedName(name, fingerprint)) != folder:
                raise _damaged(path, ValueError(f"it belongs to another {kind}"))
        return found

    @classmethod
    def read_run(cls, results_dir: Path, run: RunId) -> dict[str, ScoreFile]:
        """Read every score file of a run: metric → scores, in the order of the metrics' names."""
        results = Results(results_dir)
        return {
            metric: cls.read_of(results.metric(run, metric).scores, run.cohort, run.system)
            for metric in results.metrics(run)
        }

    @property
    def recipe(self) -> IntervalStats:
        """The interval recipe. Raises ReportCardError for a metric that was not run."""
        if self.stats is None:
            raise ReportCardError(f"{self.metric} of {self.model} was not run: {self.not_run}")
        return self.stats

    @property
    def headline_keys(self) -> tuple[str, ...]:
        """The keys that tables show: those that the metric names, else all."""
        return self.headline or tuple(self.keys)

    @property
    def lead(self) -> str | None:
        """The key that represents the metric where there is room for only one."""
        if self.headline:
            return self.headline[0]
        return next(reversed(list(self.keys)), None)


def _damaged(path: Path, error: Exception) -> ReportCardError:
    what = f"no {error}" if isinstance(error, KeyError) else str(error)
    return ReportCardError(f"{path} is damaged ({what}). Delete it and run: reportcard score")


def _is_finite(number: Any) -> bool:
    return (
        isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
    )


def _require(value: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    for name in names:
        if name not in value:
            raise ValueError(f"{where} has no {name}")
