"""results/checks/<label>@<fp8>/check.json: what a check found, written and read.

The signature says what it holds for: this model's fingerprint, this phantom, so many studies.
"""

from __future__ import annotations

from harness.publish.board.vision import VERSION

import math
from collections.abc import Sequence
from pathlib import Path

from harness.api import Json, ReportCardError
from harness.analysis.check.under_test import Check
from harness.analysis.check.vision_use import Vision
from harness.data.sources import phantom
from harness.predict.system import System
from harness.core.files import read_json, write_json



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




