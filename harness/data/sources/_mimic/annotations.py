"""Reads published annotation files of MIMIC-CXR that list images with findings of their own.

LLaVA-Rad (PhysioNet, credentialed): chat_test_MIMIC_CXR_all_gpt4extract_rulebased_v1.json, a list
of {"id", "image", "generate_method", "reason", "view", "conversations": [question, answer]}. Its
test set keeps the rule-based rows whose findings are a string and whose view is AP or PA
(microsoft/LLaVA-Rad llava/utils.py@1fc4409). Several images of a report have the same `id`, so
(id, image) identifies a row.

R2Gen: annotation.json, {"train": […], "val": […], "test": [{"id", "report", "image_path": […]}]}.
The outer key is the split, because the inner one is misspelt in some copies. Every view is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reportcard.api import ReportCardError, Step
from reportcard.data.sources._mimic.select import FRONTAL
from reportcard.data.sources._tables import load_json

IMAGE = re.compile(
    r"(?:mimic/)?(?:files/)?p(1\d)/p(1\d{7})/s(5\d{7})/([0-9a-f]{8}(?:-[0-9a-f]{8}){4})\.(?:jpe?g|png|dcm)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Annotation:
    """One row with its image paths parsed.

    reason, view: as in the file, None if it has none. LLaVA-Rad's prompt keeps the white space of
    the reason and shows an empty one, so both are kept.
    """

    row_id: str
    subject: int
    study: int
    dicoms: tuple[str, ...]
    findings: str
    reason: str | None = None
    view: str | None = None


@dataclass
class Filtered:
    """Filters rows by one rule after another and records the attrition."""

    items: list[Any]
    steps: list[Step]

    def keep(self, rule: str, test: Callable[[Any], bool]) -> None:
        kept = [item for item in self.items if test(item)]
        self.steps.append(Step(rule, len(self.items), len(kept)))
        self.items = kept


def read_llava_rad(path: Path) -> tuple[list[Annotation], list[Step]]:
    """Return the test rows of LLaVA-Rad, in the order of their images, and the attrition."""
    rows = Filtered(_objects(path, load_json(path)), [])
    rows.keep("image path of MIMIC-CXR's form", lambda row: _places([row.get("image")]) is not None)
    rows.keep("generate_method is rule-based", lambda r: r.get("generate_method") == "rule-based")
    rows.keep("findings are a text", lambda row: isinstance(_answer(row), str))
    rows.keep("findings not empty", lambda row: bool(_answer(row).strip()))
    rows.keep("view is AP or PA", lambda row: row.get("view") in FRONTAL)
    return _unique(path, [_llava_rad(row) for row in rows.items], rows.steps)


def read_r2gen(path: Path, split: str) -> tuple[list[Annotation], list[Step]]:
    """Return the rows under "train", "val" or "test", and the attrition."""
    value = load_json(path)
    if not isinstance(value, dict) or not isinstance(value.get(split), list):
        raise ReportCardError(f"{path}: expected an object with a list under '{split}'.")
    rows = Filtered(_objects(path, value[split]), [])
    rows.keep(
        "image paths of MIMIC-CXR's form", lambda row: _places(row.get("image_path")) is not None
    )
    rows.keep("report not empty", lambda row: bool(_text(row.get("report"))))
    return _unique(path, [_r2gen(row) for row in rows.items], rows.steps)


def _objects(path: Path, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ReportCardError(f"{path}: expected a list, found a {type(value).__name__}.")
    for number, row in enumerate(value):
        if not isinstance(row, dict):
            raise ReportCardError(f"{path}: entry {number} is no object.")
    return value


def _places(paths: Any) -> list[tuple[int, int, str]] | None:
    """Return (subject, study, dicom_id) of each path; None unless all belong to one study.

    A path must match completely, so an absolute path or one with ".." is never opened.
    """
    if not isinstance(paths, list) or not paths:
        return None
    found = []
    for path in paths:
        match = IMAGE.fullmatch(path) if isinstance(path, str) else None
        if match is None or match[2][:2] != match[1]:
            return None
        found.append((int(match[2]), int(match[3]), match[4]))
    return found if len({place[:2] for place in found}) == 1 else None


def _answer(row: dict[str, Any]) -> Any:
    turns = row.get("conversations")
    if not isinstance(turns, list) or len(turns) < 2 or not isinstance(turns[1], dict):
        return None
    return turns[1].get("value")


def _text(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _llava_rad(row: dict[str, Any]) -> Annotation:
    subject, study, dicom = (_places([row["image"]]) or [])[0]
    return Annotation(
        *(str(row.get("id")), subject, study, (dicom,), _text(_answer(row))),
        reason=reason if isinstance(reason := row.get("reason"), str) else None,
        view=row["view"],
    )


def _r2gen(row: dict[str, Any]) -> Annotation:
    places = _places(row["image_path"]) or []
    subject, study, _ = places[0]
    dicoms = tuple(dict.fromkeys(dicom for _, _, dicom in places))
    return Annotation(str(row.get("id")), subject, study, dicoms, _text(row["report"]))


def _whole(row: Annotation) -> tuple[object, ...]:
    place = (row.subject, row.study, row.dicoms, row.row_id)
    return (*place, row.findings, row.reason or "", row.view or "")


def _unique(
    path: Path, rows: list[Annotation], steps: list[Step]
) -> tuple[list[Annotation], list[Step]]:
    """Keep one row per image. Raises ReportCardError when two rows give it different findings."""
    found: dict[tuple[str, str], Annotation] = {}
    by_image: dict[str, Annotation] = {}
    for row in sorted(rows, key=_whole):
        if by_image.setdefault(row.dicoms[0], row).findings != row.findings:
            raise ReportCardError(f"{path}: one image occurs in two rows with different findings.")
        found.setdefault((row.row_id, row.dicoms[0]), row)
    steps.append(Step("one row per (id, image)", len(rows), len(found)))
    # The same image with the same findings under a second id is not a second example.
    kept = [row for row in found.values() if by_image[row.dicoms[0]] is row]
    steps.append(Step("one id per image", len(found), len(kept)))
    return kept, steps
