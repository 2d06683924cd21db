"""What the vision-use probe of `reportcard check` found, in the words of the tables."""

from __future__ import annotations

import math
from pathlib import Path

from reportcard.api import Json, ReportCardError
from reportcard.core.files import read_json
from reportcard.data.sources import phantom


def ignores_image(row: Json) -> bool:
    """Whether the vision-use probe flagged this run; a run that was not probed is not flagged."""
    return bool((row.get("vision") or {}).get("ignores_pixels"))


def vision_sentence(row: Json) -> str:
    """'0.42 of the words …', 'not probed', or 'text only'."""
    vision = row.get("vision")
    if vision is None:
        return "not probed"
    if not vision["claims_pixels"]:
        return "text only: its card names no image"
    other, blank = vision["other"]["words"], vision["blank"]["words"]
    return (
        f"{other:.2f} of the words change with another patient’s image, {blank:.2f} with a blank"
        f" one ({vision['studies']} drawn studies)"
    )


VERSION = "1"  # of the checks: an older file is not read


def vision_of(results_dir: Path, model: str) -> Json | None:
    """What the probe found for `<label>@<fp8>`, under whatever label it was checked; None: not
    probed. Raises ReportCardError for a damaged file."""
    fp8 = model.rpartition("@")[2]
    found: Json | None = None
    for path in sorted((results_dir / "checks").glob("*/check.json")):
        if path.parent.name.rpartition("@")[2] != fp8:
            continue
        saved = read_json(path)
        if saved.get("version") == VERSION and saved.get("phantom") == phantom.VERSION:
            found = _checked(saved, fp8, path) or found
    return found


def _checked(saved: Json, fp8: str, path: Path) -> Json | None:
    vision = saved.get("vision")
    if vision is None:
        return None
    try:
        numbers = [vision[c][f] for c in ("again", "blank", "other") for f in ("words", "texts")]
        whole = all(math.isfinite(number) and 0 <= number <= 1 for number in numbers)
        whole = whole and isinstance(vision["studies"], int)
        whole = whole and str(saved["model_fingerprint"])[:8] == fp8
        whole = whole and isinstance(vision["ignores_pixels"] and vision["claims_pixels"], bool)
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise ReportCardError(f"{path} is damaged. Delete it and run: reportcard check")
    return dict(vision)
