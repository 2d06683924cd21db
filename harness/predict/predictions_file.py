"""Reads and writes the files of one run: predictions.jsonl, card.json and DONE.

predictions.jsonl has one line per study and draw. card.json says which model and which cohort the
run belongs to. DONE is written last; it holds the sha256 of predictions.jsonl, so that a run whose
answers were edited afterwards is noticed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from reportcard.api import Box, Json, Phrase, Prediction, Report, ReportCardError, Request
from reportcard.core import records
from reportcard.core.files import file_digest, read_json, read_jsonl, write_json
from reportcard.core.layout import PredictionFolder
from reportcard.core.records import OMITTED

T = TypeVar("T")
AnswerKey = tuple[str, int]  # (study id, draw)

IMAGE_FAILURE = re.compile(r"image ([a-z_]+): ")  # how `failures.explain` begins an ImageError


def answer_key(item: Request | Prediction) -> AnswerKey:
    """Return (study id, draw), which identifies one answer of a run."""
    return (item.study_id, item.draw)


def line_key(line: Json) -> AnswerKey:
    """Return the `answer_key` of a stored line."""
    return (line["study_id"], line["draw"])


def to_json(prediction: Prediction) -> Json:
    """Return the stored line of an answer.

    Absent fields are left out. Wall time and token ids are never stored here: the file must have
    the same bytes whenever the same answers are generated.
    """
    report = prediction.report
    row: Json = {
        "study_id": prediction.study_id,
        "draw": prediction.draw,
        "status": prediction.status,
        "findings": report.findings,
        "impression": report.impression,
        "phrases": [
            {"text": p.text, "boxes": [asdict(box) for box in p.boxes]} for p in report.phrases
        ]
        or None,
        "raw": prediction.raw if prediction.raw != (report.findings or "") else None,
        "used": list(prediction.used) or None,
        "tokens_in": prediction.tokens_in,
        "tokens_out": prediction.tokens_out,
        "error": prediction.error,
        "answered_by": prediction.answered_by,
    }
    return {key: value for key, value in row.items() if value is not None}


def read_answers(folder: Path) -> Iterator[tuple[str, int, Report, str]]:
    """Yield (study id, draw, report, status) for each line of a run's predictions.jsonl."""
    for _, row in read_jsonl(PredictionFolder(folder).log):
        phrases = tuple(
            Phrase(p["text"], tuple(Box(**box) for box in p["boxes"]))
            for p in row.get("phrases", ())
        )
        report = Report(row.get("findings"), row.get("impression"), phrases)
        yield *line_key(row), report, row["status"]


def read_reports(folder: Path) -> list[dict[str, tuple[Report, str]]]:
    """Return, per draw, study id → (report, status) of a finished run."""
    draws: list[dict[str, tuple[Report, str]]] = []
    for study_id, draw, report, status in read_answers(folder):
        while len(draws) <= draw:
            draws.append({})
        draws[draw][study_id] = (report, status)
    return draws


def count_status(lines: Iterable[Json]) -> dict[str, int]:
    """Count stored lines by status, sorted by name: {"failed": 1, "ok": 11}."""
    return dict(sorted(Counter(line["status"] for line in lines).items()))


def count_image_failures(lines: Iterable[Json]) -> dict[str, int]:
    """Count studies that failed in any draw because of an image, by kind of ImageError."""
    found = {
        (line["study_id"], match[1])
        for line in lines
        if line["status"] == "failed" and (match := IMAGE_FAILURE.match(line.get("error", "")))
    }
    return dict(sorted(Counter(kind for _, kind in found).items()))


@dataclass(frozen=True)
class CardFile:
    """The content of card.json: which model answered which cohort, with which code.

    card         the adapter's ModelCard as JSON
    marks        what set-of-mark images were made with; None: plain images
    notes        what the adapter reports about its fit and the marks: counts, never report text
    environment  versions, git state and GPUs (core/environment.py)
    """

    model: str = ""
    model_fingerprint: str = ""
    plugin: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    cohort: str = ""
    cohort_fingerprint: str = ""
    train_fingerprint: str = ""
    marks: Mapping[str, Any] | None = field(default=None, metadata=OMITTED)
    notes: tuple[str, ...] | None = field(default=None, metadata=OMITTED)
    environment: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        write_json(path, records.to_json(self))

    @classmethod
    def read(cls, path: Path) -> CardFile:
        """Read a card.json. Raises ReportCardError when it is absent or damaged."""
        return _read(cls, path)


@dataclass(frozen=True)
class DoneFile:
    """The content of DONE.

    predictions_sha256  digest of the predictions.jsonl that the run completed with
    n                   studies of the cohort
    draws               answers per study
    status              answers by status: {"failed": 1, "ok": 11}
    image_failures      studies that failed because of an image, by kind of ImageError
    """

    predictions_sha256: str = ""
    n: int = 0
    draws: int = 1
    status: Mapping[str, int] = field(default_factory=dict)
    image_failures: Mapping[str, int] | None = field(default=None, metadata=OMITTED)

    def write(self, path: Path) -> None:
        write_json(path, records.to_json(self))

    @classmethod
    def read(cls, path: Path) -> DoneFile:
        """Read a DONE file. Raises ReportCardError when it is absent or damaged."""
        return _read(cls, path)


def _read(kind: type[T], path: Path) -> T:
    try:
        return records.from_json(kind, read_json(path))
    except ValueError as error:
        raise ReportCardError(f"{path} is damaged ({error}).") from None


def is_done(folder: Path) -> bool:
    """Return whether a run is complete.

    Raises ReportCardError when predictions.jsonl is not the file that DONE was written for.
    """
    run = PredictionFolder(folder)
    if not run.done.is_file():
        return False
    expected = DoneFile.read(run.done).predictions_sha256
    if not run.log.is_file() or file_digest(run.log) != expected:
        raise ReportCardError(
            f"{run.log} is not the file that the run completed with. Delete {folder} to run it"
            " again, or bring changed predictions in with model=replay."
        )
    return True


def image_failures(folder: Path) -> Mapping[str, int]:
    """Return how many studies of a finished run failed because of an image, by kind."""
    return DoneFile.read(PredictionFolder(folder).done).image_failures or {}
