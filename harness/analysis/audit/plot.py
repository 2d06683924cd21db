"""Draws the metrics audit as a heatmap: a row per score, a column per kind of edit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from reportcard.analysis.audit.audit_results import MetricsAudit
from reportcard.analysis.audit.edited_pairs import KINDS
from reportcard.api import Array
from reportcard.core.files import write_atomic

PANELS = {
    "seen": "Share of edits that lower the score\n(paraphrase: false alarms)",
    "wrong": "Share of erroneous reports that score better\nthan a faithful paraphrase",
}


def heatmap(result: MetricsAudit, path: Path) -> None:
    """Write two panels of percentages as a PNG.

    The colour map cividis looks the same to colour-blind readers, and every cell shows its number.
    """
    keys = list(result.keys)
    if not keys:
        return
    figure = Figure(figsize=(15, 1.8 + 0.32 * len(keys)), dpi=110, layout="constrained")
    figure.suptitle("What each metric sees of errors made on purpose, in percent of pairs")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (what, title) in zip(axes, PANELS.items(), strict=True):
        kinds = [k for k in KINDS if k != "identity" and (what, k) != ("wrong", "paraphrase")]
        table = [[getattr(result.keys[k].kinds[kind], what) for kind in kinds] for k in keys]
        _panel(ax, np.array(table, float), kinds, keys)
        ax.set_title(title, fontsize=10)
    buffer = io.BytesIO()
    about = {
        "Title": "Audit of metrics",
        "Description": f"Heatmap: {'; '.join(PANELS.values())}. {result.pairs}".replace("\n", " "),
        "Software": None,
    }
    figure.savefig(buffer, format="png", metadata=about)
    write_atomic(path, buffer.getvalue())


def _panel(ax: Any, shares: Array, kinds: list[str], keys: list[str]) -> None:
    colours = mpl.colormaps["cividis"].with_extremes(bad="white")
    ax.imshow(np.ma.masked_invalid(shares), cmap=colours, vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(kinds)), [k.replace("_", "\n") for k in kinds], fontsize=8)
    ax.set_yticks(range(len(keys)), keys, fontsize=8)
    for (row, column), share in np.ndenumerate(shares):
        text = "–" if np.isnan(share) else f"{100 * share:.0f}"
        shade = "white" if share < 0.5 else "black"
        ax.text(column, row, text, ha="center", va="center", color=shade, fontsize=8)
