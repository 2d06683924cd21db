"""Writes results/checks/<label>@<fp8>/check.json.

Its signature names the model's fingerprint, the version of the phantom, and the number of studies.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reportcard.analysis.check.under_test import Check
from reportcard.analysis.check.vision_use import ImageUse
from reportcard.api import Json
from reportcard.core.files import write_json
from reportcard.core.layout import Results
from reportcard.data.sources import phantom
from reportcard.predict.system import System
from reportcard.publish.board.vision import VERSION


def write(
    results_dir: Path, system: System, checks: Sequence[Check], vision: ImageUse | None, n: int
) -> Path:
    """Write what a check of `n` studies found, and return the path.

    Args:
        results_dir: the results folder.
        system: the model.
        checks: one line each.
        vision: the measured use of the image; None where it could not be measured.
        n: studies of that measurement.
    """
    signature = f"check|{VERSION}|phantom:{phantom.VERSION}|n:{n}|{system.fingerprint[:8]}"
    path = Results(results_dir).check(system.folder)
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
            "checks": [_line(check) for check in checks],
            "vision": None if vision is None else vision.to_json(),
        },
    )
    return path


def _line(check: Check) -> Json:
    # The files of version 1 call "info" by another name.
    state = "told" if check.state == "info" else check.state
    return {"name": check.name, "state": state, "reason": check.reason}
