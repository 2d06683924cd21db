"""rows.npz: the additive rows of one run under one metric.

ids (n,), rows (draws, n, k) float64, NaN row = unscored; clusters (n,), the number of each
study's patient, where a patient has several
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.api import Array, Json, ReportCardError
from harness.stats import Clusters


def npz(ids: Sequence[str], rows: Array, patients: Clusters | None) -> bytes:
    clusters: Json = {} if patients is None else {"clusters": patients}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, ids=np.array(ids), rows=rows, **clusters)
    return buffer.getvalue()


def load_rows(folder: Path) -> tuple[list[str], Array]:
    """ids and rows (draws, n, k) of a score folder; never a pickle."""
    try:
        with np.load(folder / "rows.npz", allow_pickle=False) as saved:
            return saved["ids"].tolist(), saved["rows"]
    except (OSError, ValueError, KeyError) as error:
        raise ReportCardError(
            f"{folder / 'rows.npz'} cannot be read ({error}). Run: reportcard score"
        ) from error


def load_clusters(folder: Path) -> Clusters | None:
    """The number of each study's patient, where patients have several studies."""
    with np.load(folder / "rows.npz", allow_pickle=False) as saved:
        clusters: Clusters | None = saved.get("clusters")
    return clusters
