"""results/checks/<label>@<fp8>/check.json: what a check found, written and read.

The signature says what it holds for: this model's fingerprint, this phantom, so many studies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from harness.api import Json, ReportCardError
from harness.checking.subject import Check
from harness.checking.vision import Vision
from harness.datasets import phantom
from harness.predict import System
from harness.store import read_json, write_json

VERSION = "1"  # of the checks: an older file is not read


def write(
    results_dir: Path, system: System, checks: Sequence[Check], vision: Vision | None, n: int
) -> Path:
    signature = f"check|{VERSION}|phantom:{phantom.VERSION}|n:{n}|{system.fingerprint[:8]}"
    path = results_dir / "checks" / system.folder / "check.json"
    write_json(
        path,
        {
            "signature": signature,
            "version": VERSION,
            "model": system.label,
            "model_fingerprint": system.fingerprint,
            "phantom": phantom.VERSION,
            "studies": n,
            "passed": not any(check.failed for check in checks),
            "checks": [{"name": c.name, "state": c.state, "reason": c.reason} for c in checks],
            "vision": None if vision is None else vision.json(),
        },
    )
    return path


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
