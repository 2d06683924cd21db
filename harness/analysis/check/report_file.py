"""results/checks/<label>@<fp8>/check.json: what a check found, written and read.

The signature says what it holds for: this model's fingerprint, this phantom, so many studies.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reportcard.analysis.check.under_test import Check
from reportcard.analysis.check.vision_use import Vision
from reportcard.core.files import write_json
from reportcard.data.sources import phantom
from reportcard.predict.system import System
from reportcard.publish.board.vision import VERSION


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
