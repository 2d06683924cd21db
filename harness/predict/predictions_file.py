"""predictions.jsonl: how an answer is written, and read again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from reportcard.api import Box, Json, Phrase, Prediction, Report, ReportCardError
from reportcard.core.files import file_digest, read_json, read_jsonl


def to_json(prediction: Prediction) -> Json:
    """The stored line; absent fields are left out, wall time and token ids are never in it."""
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
    """(study_id, draw, report, status) line by line."""
    for _, row in read_jsonl(folder / "predictions.jsonl"):
        phrases = tuple(
            Phrase(p["text"], tuple(Box(**box) for box in p["boxes"]))
            for p in row.get("phrases", ())
        )
        report = Report(row.get("findings"), row.get("impression"), phrases)
        yield row["study_id"], row["draw"], report, row["status"]


def read_reports(folder: Path) -> list[dict[str, tuple[Report, str]]]:
    """Per draw: study_id → (report, status) of a finished run."""
    draws: list[dict[str, tuple[Report, str]]] = []
    for study_id, draw, report, status in read_answers(folder):
        while len(draws) <= draw:
            draws.append({})
        draws[draw][study_id] = (report, status)
    return draws


def is_done(folder: Path) -> bool:
    """Whether a run is complete and its predictions are the ones that DONE was written for."""
    if not (folder / "DONE").is_file():
        return False
    path = folder / "predictions.jsonl"
    if not path.is_file() or file_digest(path) != read_json(folder / "DONE")["predictions_sha256"]:
        raise ReportCardError(
            f"{path} is not the file that the run completed with. Delete {folder} to run it again,"
            " or bring changed predictions in with model=replay."
        )
    return True


def image_failures(folder: Path) -> Mapping[str, int]:
    """Studies of a finished run that failed for their image, by kind; empty when none did."""
    counts: Mapping[str, int] = read_json(folder / "DONE").get("image_failures", {})
    return counts
