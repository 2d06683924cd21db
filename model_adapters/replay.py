"""Replays saved predictions: `model=replay model.predictions=FILE model.label=NAME`.

The file is JSONL or CSV with `study_id` and one of candidate, prediction, findings, report; or
ReXrank's JSON (an object by id with `model_prediction`: "Findings: … Impression: …"). Every study
needs exactly one prediction: missing and duplicate ids are errors that name them. Thoughts
of a reasoning model are no part of a prediction.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from reportcard.api import ModelCard, Prediction, Report, ReportCardError, Request
from reportcard.core.model_answer import answer_in
from reportcard.core.user_files import by_id, listed, read_records

COLUMNS = ("candidate", "prediction", "model_prediction", "findings", "report")
SECTIONS = re.compile(r"\s*findings\s*:(?P<findings>.*?)(?:\bimpression\s*:(?P<impression>.*))?$",
                      re.IGNORECASE | re.DOTALL)  # fmt: skip


class Replay:
    """Replay answers with the predictions of a file."""

    def __init__(self, predictions: str) -> None:
        path = Path(predictions)
        self.path = path
        self._records = by_id(read_records(path))
        column = _column(path, next(iter(self._records.values())).row)
        self._raw = {k: r.text(column) for k, r in self._records.items()}
        self._reports = {k: parse(text) for k, text in self._raw.items()}
        sha = hashlib.sha256(path.read_bytes()).hexdigest()
        self.card = ModelCard(f"Predictions read from {path.name}", revision=f"sha256:{sha}")

    @property
    def identity(self) -> Mapping[str, str]:
        """The file's bytes decide the answers; its path does not."""
        return {"sha256": str(self.card.revision)}

    def plan(self, requests: Sequence[Request]) -> None:
        """Raise ReportCardError before the first batch if a study has no prediction."""
        missing = [r.study_id for r in requests if r.study_id not in self._reports]
        if missing:
            raise ReportCardError(
                f"{self.path}: no prediction for {len(missing):,} of {len(requests):,} studies:"
                f" {listed(missing)}"
            )

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Prediction:
        report = self._reports[request.study_id]
        text = report.text(("findings", "impression"))
        raw = self._raw[request.study_id]
        return Prediction(
            request.study_id, report, raw=raw, status="ok" if text.strip() else "empty"
        )


def _column(path: Path, row: Mapping[str, object]) -> str:
    """Return the column of predictions.

    `report` beside a reference is ambiguous: in R2Gen's and ReXrank's files it *is* the reference.
    """
    column = next((name for name in COLUMNS if name in row), None)
    if column is None:
        raise ReportCardError(
            f"{path}: no column {', '.join(COLUMNS)}; there are {', '.join(map(str, row))}."
        )
    if column == "report" and {"reference", "image_path", "section_findings"} & set(row):
        raise ReportCardError(
            f"{path}: 'report' may be the reference here; name the predictions 'candidate'."
        )
    return column


def parse(text: str) -> Report:
    """Split ReXrank's "Findings: … Impression: …"; any other text is the findings."""
    text = answer_in(text)
    match = SECTIONS.match(text)
    if match is None:
        return Report(findings=text)
    return Report(_section(match["findings"]), _section(match["impression"]))


def _section(text: str | None) -> str | None:
    """Return a section, or None: ReXrank writes the word None for a missing section."""
    return None if text is None or text.strip() in ("", "None") else text.strip()
