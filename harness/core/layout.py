"""Names every path below the results folder; no other module spells one.

    results/
      current.json                                      the runs that the leaderboard shows
      cohorts/<cohort>.json                             ids and attrition of one cohort
      predictions/<cohort>/<system>/                    predictions, timing, card.json, DONE
      predictions/<cohort>/<system>/shards/<K>-of-<N>/  the same of one shard, while it is unmerged
      scores/<cohort>/<system>/<protocol>/details.json  what each report scores
      scores/<cohort>/<system>/<protocol>/<metric>/     rows.npz, scores.json
      checks/<name>@<digest>/check.json                 what `reportcard check` found
      cache/                                            annotations and verdicts; can be rebuilt
      leaderboard/                                      index.html, leaderboard.json and .csv
      leaderboard/mlflow.html                           links from the leaderboard to MLflow's runs
      tracking.json, mlflow.db, mlartifacts/            what MLflow was given, and its local store
      release-salt                                      the secret behind a release's pseudonyms

A cohort and a system are written `label@fp8`: a name and eight digits of its fingerprint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from reportcard.core.errors import ReportCardError


@dataclass(frozen=True, slots=True, order=True)
class VersionedName:
    """A name with the fingerprint of what it names, written `label@fp8`."""

    label: str
    fingerprint: str

    @classmethod
    def parse(cls, text: str) -> VersionedName:
        """Split `label@fp8` at its last @; without an @, everything is the label."""
        label, at, fingerprint = text.rpartition("@")
        return cls(label, fingerprint) if at else cls(text, "")

    def __str__(self) -> str:
        return f"{self.label}@{self.fingerprint[:8]}"


@dataclass(frozen=True, slots=True, order=True)
class RunId:
    """Identifies a line of the leaderboard: system, cohort and protocol, as folder names."""

    cohort: str
    system: str
    protocol: str

    @classmethod
    def of_json(cls, entry: Mapping[str, str]) -> RunId:
        """Read an entry of current.json."""
        return cls(entry["cohort"], entry["model"], entry["protocol"])

    def to_json(self) -> dict[str, str]:
        """Return the entry of current.json."""
        return {"cohort": self.cohort, "model": self.system, "protocol": self.protocol}

    @property
    def labels(self) -> tuple[str, str, str]:
        """Cohort, system and protocol without fingerprints, as the user names them."""
        return (
            VersionedName.parse(self.cohort).label,
            VersionedName.parse(self.system).label,
            self.protocol,
        )


@dataclass(frozen=True, slots=True)
class PredictionFolder:
    """The files with the answers of one system on one cohort. DONE is written last."""

    path: Path

    @property
    def log(self) -> Path:
        return self.path / "predictions.jsonl"

    @property
    def timing(self) -> Path:
        return self.path / "timing.jsonl"

    @property
    def card(self) -> Path:
        return self.path / "card.json"

    @property
    def done(self) -> Path:
        return self.path / "DONE"

    @property
    def all_shards(self) -> Path:
        return self.path / "shards"

    def shard(self, number: int, of: int) -> PredictionFolder:
        """The folder in which `shard=number/of` writes its part of this run."""
        return PredictionFolder(self.all_shards / f"{number}-of-{of}")

    def shards(self) -> list[PredictionFolder]:
        """The folders of the shards that lie on the disk, sorted by name."""
        return [PredictionFolder(path) for path in sorted(self.all_shards.glob("*"))]


@dataclass(frozen=True, slots=True)
class ScoreFolder:
    """The files of one metric on one run."""

    path: Path

    @property
    def scores(self) -> Path:
        return self.path / "scores.json"

    @property
    def rows(self) -> Path:
        return self.path / "rows.npz"


@dataclass(frozen=True, slots=True)
class BoardFolder:
    """The published leaderboard."""

    path: Path

    @property
    def page(self) -> Path:
        return self.path / "index.html"

    @property
    def json(self) -> Path:
        return self.path / "leaderboard.json"

    @property
    def csv(self) -> Path:
        return self.path / "leaderboard.csv"

    @property
    def studies(self) -> Path:
        return self.path / "studies"

    def viewer(self, cohort: str) -> Path:
        """Return the study viewer of a cohort."""
        return self.studies / cohort / "index.html"

    @property
    def mlflow_links(self) -> Path:
        return self.path / "mlflow.html"


@dataclass(frozen=True, slots=True)
class CacheFolder:
    """What was computed about a dataset's reports: the folder that `cache_folder` returns."""

    path: Path

    @property
    def verdicts(self) -> Path:
        """The live judge's verdicts."""
        return self.path / "judge.sqlite"


@dataclass(frozen=True, slots=True)
class Results:
    """A results folder. Methods that return lists or iterators look at the disk."""

    root: Path

    @property
    def current(self) -> Path:
        return self.root / "current.json"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def board(self) -> BoardFolder:
        return BoardFolder(self.root / "leaderboard")

    @property
    def tracking(self) -> Path:
        return self.root / "tracking.json"

    @property
    def mlflow_db(self) -> Path:
        return self.root / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlartifacts"

    @property
    def release_salt(self) -> Path:
        return self.root / "release-salt"

    @property
    def all_predictions(self) -> Path:
        return self.root / "predictions"

    @property
    def all_scores(self) -> Path:
        return self.root / "scores"

    def cohort(self, cohort: str) -> Path:
        return self.root / "cohorts" / f"{cohort}.json"

    def predictions(self, cohort: str, system: str) -> PredictionFolder:
        return PredictionFolder(self.all_predictions / cohort / system)

    def scores(self, run: RunId) -> Path:
        """Return the folder of a run, which has one folder per metric."""
        return self.all_scores / run.cohort / run.system / run.protocol

    def metric(self, run: RunId, metric: str) -> ScoreFolder:
        return ScoreFolder(self.scores(run) / metric)

    def details(self, run: RunId) -> Path:
        return self.scores(run) / "details.json"

    def check(self, system: str) -> Path:
        """Return the file that `reportcard check` writes for a model."""
        return self.root / "checks" / system / "check.json"

    def metrics(self, run: RunId) -> list[str]:
        """Return the metrics of a run that have a score file, sorted."""
        return sorted(path.parent.name for path in self.scores(run).glob("*/scores.json"))

    def checked(self) -> Iterator[tuple[VersionedName, Path]]:
        """Yield (system, its check.json) of every check, sorted by path."""
        for path in sorted((self.root / "checks").glob("*/check.json")):
            yield VersionedName.parse(path.parent.name), path

    def rows_of(self, cohort: str) -> list[ScoreFolder]:
        """Return every folder with rows of this cohort, with or without scores."""
        found = sorted((self.all_scores / cohort).glob("*/*/*/rows.npz"))
        return [ScoreFolder(path.parent) for path in found]

    def score_folders(self) -> Iterator[tuple[RunId, ScoreFolder]]:
        """Yield every metric of every run that has a score file, sorted by path."""
        for path in sorted(self.all_scores.glob("*/*/*/*/scores.json")):
            cohort, system, protocol = path.parts[-5:-2]
            yield RunId(cohort, system, protocol), ScoreFolder(path.parent)


def score_files_in(folder: Path) -> list[Path]:
    """Return the score files in a folder and in its subfolders: of a metric, or of a run."""
    return [*folder.glob("scores.json"), *sorted(folder.glob("*/scores.json"))]


def scores_named(name: str) -> tuple[RunId, str] | None:
    """Return run and metric of a score file, by its name relative to the results folder, or None.

    >>> scores_named("scores/c@1/s@2/reportcard/bleu/scores.json")
    (RunId(cohort='c@1', system='s@2', protocol='reportcard'), 'bleu')
    """
    parts = PurePosixPath(name).parts
    if len(parts) != 6 or parts[0] != "scores" or parts[-1] != "scores.json":
        return None
    return RunId(*parts[1:4]), parts[4]


class HasCustody(Protocol):
    """The part of reportcard.api.DatasetCard that `cache_folder` needs."""

    @property
    def data_class(self) -> str: ...

    @property
    def dua_id(self) -> str | None: ...


def cache_folder(base: Path, data: HasCustody) -> Path:
    """Return the folder for notes and verdicts about a dataset, one per data use agreement.

    Notes and verdicts contain report text. Deleting the folder deletes all text of one agreement.
    Raises ReportCardError for an id that is no folder name.
    """
    if data.data_class == "open":
        return base
    name = data.dua_id or data.data_class
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
        raise ReportCardError(
            f"use agreement {name!r}: an id names a folder, so it is made of letters, digits and"
            " . _ - and starts with a letter or digit."
        )
    return base / "dua" / name


def notes_file(cache: Path) -> Path:
    """Return the database of annotators' notes in a `cache_folder`."""
    return cache / "annotations.sqlite"
