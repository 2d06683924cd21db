"""rows.npz: the additive rows of one run under one metric.

ids (n,), rows (draws, n, k) float64, NaN row = unscored; clusters (n,), the number of each
study's patient, where a patient has several
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reportcard.api import Array, Json, ReportCardError
from reportcard.score.stats.resampling import Clusters


def npz(ids: Sequence[str], rows: Array, patients: Clusters | None) -> bytes:
    clusters: Json = {} if patients is None else {"clusters": patients}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, ids=np.array(ids), rows=rows, **clusters)
    return buffer.getvalue()


def load_rows(folder: Path) -> tuple[list[str], Array, Clusters | None]:
    """ids, rows and clusters (None: one study per patient) of a score folder; never a pickle."""
    try:
        with np.load(folder / "rows.npz", allow_pickle=False) as saved:
            return saved["ids"].tolist(), saved["rows"], saved.get("clusters")
    except (OSError, ValueError, KeyError) as error:
        raise ReportCardError(
            f"{folder / 'rows.npz'} cannot be read ({error}). Run: reportcard score"
        ) from error
