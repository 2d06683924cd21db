"""Reads and writes rows.npz: the additive rows of one run under one metric.

ids (n,), rows (draws, n, k) float64, where a NaN row is unscored; clusters (n,), the number of each
study's patient, where a patient has several studies.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reportcard.api import Array, Json, ReportCardError
from reportcard.core.layout import ScoreFolder
from reportcard.score.stats.resampling import Clusters


def npz(ids: Sequence[str], rows: Array, patients: Clusters | None) -> bytes:
    """Return the bytes of a rows.npz."""
    clusters: Json = {} if patients is None else {"clusters": patients}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, ids=np.array(ids), rows=rows, **clusters)
    return buffer.getvalue()


def load_rows(folder: Path) -> tuple[list[str], Array, Clusters | None]:
    """Read ids, rows and clusters of a score folder; clusters None: one study per patient.

    Raises ReportCardError when the file cannot be read. It is never unpickled.
    """
    path = ScoreFolder(folder).rows
    try:
        with np.load(path, allow_pickle=False) as saved:
            return saved["ids"].tolist(), saved["rows"], saved.get("clusters")
    except (OSError, ValueError, KeyError) as error:
        raise ReportCardError(f"{path} cannot be read ({error}). Run: reportcard score") from error
