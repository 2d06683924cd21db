"""Where things lie below the results folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from reportcard.core.errors import ReportCardError


def cache_folder(base: Path, data: Any) -> Path:
    """Notes and verdicts hold text: what falls under one use agreement lies in a folder of its own,
    so that deleting the folder deletes it. Raises ReportCardError for an id that is no folder name.
    """
    if data.data_class == "open":
        return base
    name = data.dua_id or data.data_class
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
        raise ReportCardError(
            f"use agreement {name!r}: an id names a folder, so it is made of letters, digits and"
            " . _ - and starts with a letter or digit."
        )
    return base / "dua" / name


def predictions_dir(results_dir: Path, cohort: Any, system: Any) -> Path:
    return results_dir / "predictions" / cohort.folder / system.folder


def scores_dir(results_dir: Path, cohort: Any, system: Any, protocol: str, metric: str) -> Path:
    return results_dir / "scores" / cohort.folder / system.folder / protocol / metric
