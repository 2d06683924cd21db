"""Reads what the vision-use probe of `reportcard check` found, and says it in the tables' words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from reportcard.api import Json, ReportCardError
from reportcard.core.files import read_json
from reportcard.core.layout import Results, VersionedName
from reportcard.core.records import OMITTED, from_json
from reportcard.data.sources import phantom

VERSION = "1"  # of the checks: a file of another version is not read


@dataclass(frozen=True, slots=True)
class ChangedShare:
    """The share of the words and of the texts that changed when the images did."""

    words: float
    texts: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionUse:
    """What the probe measured over the studies that were answered under all three conditions.

    `again`: the same images once more; `blank`: grey images; `other`: another patient's images.
    """

    studies: int
    failed: int | None = field(default=None, metadata=OMITTED)
    again: ChangedShare
    blank: ChangedShare
    other: ChangedShare
    claims_pixels: bool
    ignores_pixels: bool


def vision_sentence(vision: VisionUse | None) -> str:
    """Return '0.42 of the words change …', 'not probed', or 'text only: …'."""
    if vision is None:
        return "not probed"
    if not vision.claims_pixels:
        return "text only: its card names no image"
    return (
        f"{vision.other.words:.2f} of the words change with another patient’s image,"
        f" {vision.blank.words:.2f} with a blank one ({vision.studies} drawn studies)"
    )


def vision_of(results_dir: Path, model: str) -> VisionUse | None:
    """Return what the probe found for the system `<label>@<fp8>`, or None if it was not probed.

    The label does not matter, only the fingerprint. Raises ReportCardError for a damaged file.
    """
    fp8 = VersionedName.parse(model).fingerprint
    found: VisionUse | None = None
    for system, path in Results(results_dir).checked():
        if system.fingerprint != fp8:
            continue
        saved = read_json(path)
        if saved.get("version") == VERSION and saved.get("phantom") == phantom.VERSION:
            found = _checked(saved, fp8, path) or found
    return found


def _checked(saved: Json, fp8: str, path: Path) -> VisionUse | None:
    if saved.get("vision") is None:
        return None
    try:
        vision = from_json(VisionUse, saved.get("vision"))
        shares = (vision.again, vision.blank, vision.other)
        numbers = [number for share in shares for number in (share.words, share.texts)]
        whole = all(math.isfinite(number) and 0 <= number <= 1 for number in numbers)
        whole = whole and isinstance(vision.studies, int)
        whole = whole and str(saved.get("model_fingerprint"))[:8] == fp8
        whole = whole and isinstance(vision.ignores_pixels and vision.claims_pixels, bool)
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise ReportCardError(f"{path} is damaged. Delete it and run: reportcard check")
    return vision
