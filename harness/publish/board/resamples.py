"""What a comparison of a board's rows starts from: the rows that were scored, the metric that can
read them, one set of resamples for all, and what the last build found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reportcard.api import Array, Json, ReportCardError
from reportcard.config import compose as config
from reportcard.core.files import canonical, file_digest, read_json
from reportcard.score.rows_file import load_rows
from reportcard.score.scorer import Scorer, open_metrics
from reportcard.score.stats.resampling import Resampler

CACHE = Path("leaderboard") / "leaderboard.json"
# Two systems with the same answers differ by rounding at most; that is a tie, not a difference.
ROUNDING = 1e-12


def competes(row: Json, column: Json) -> bool:
    cell = row["cells"][column["key"]]
    return row["kind"] != "ceiling" and cell["value"] is not None and not cell.get("other_version")


class Samplers:
    """Bootstrap weights of a board, drawn once per (n, recipe) and shared by its metrics."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, int, int, bytes], Resampler] = {}

    def get(self, n: int, stats: Json, clusters: npt.NDArray[np.int64] | None) -> Resampler:
        groups = b"" if clusters is None else clusters.tobytes()
        key = (n, stats["resamples"], stats["seed"], groups)
        if key not in self._made:
            self._made[key] = Resampler(n, stats["resamples"], stats["seed"], clusters)
        return self._made[key]


def recipe_of(files: Iterable[Json]) -> Json:
    """The interval recipe of one column: one set of weights, also where runs were scored apart."""
    found: Json = max(
        (file["stats"] for file in files), key=lambda s: (s["resamples"], canonical(s))
    )
    return found


def load(
    results_dir: Path,
    board: Json,
    metric: str,
    models: Iterable[str],
    stats: Json,
    samplers: Samplers,
) -> tuple[dict[str, Array], Resampler] | str:
    """Model → rows (draws, n, k), and the weights of all; or a sentence why they do not fit.

    Raises ReportCardError naming a file of other studies than the first.
    """
    loaded: dict[str, Array] = {}
    first: list[str] | None = None
    for model in models:
        folder = folder_of(results_dir, board, model, metric)
        ids, matrix, clusters = load_rows(folder)
        first = first or ids
        if ids != first:
            raise ReportCardError(f"{folder / 'rows.npz'} has other studies than its board.")
        if clusters is None and stats["unit"] != "study":
            return "its studies are grouped by patient and rows.npz does not say how"
        sampler = samplers.get(len(ids), stats, clusters)
        loaded[model] = matrix
    return loaded, sampler


def scorer_of(
    metric: str, fingerprint: str, protocol: str, scorers: Sequence[Scorer]
) -> Scorer | str:
    """The metric that made these rows: only its own `scores` may read their columns."""
    for scorer in scorers:
        if scorer.fingerprint == fingerprint:
            return scorer
    try:
        plugins = config.load_metrics([metric], config.load_protocol(protocol))
        found = open_metrics(plugins)[0]
    except ReportCardError as error:
        return str(error)
    if found.fingerprint != fingerprint:
        return f"{metric} has changed since these rows were scored"
    return found


def folder_of(results_dir: Path, board: Json, model: str, metric: str) -> Path:
    cohort: str = board["cohort_folder"]
    protocol: str = board["protocol"]
    return results_dir / "scores" / cohort / model / protocol / metric


def check_rows_file(folder: Path, sha256: str) -> None:
    path = folder / "rows.npz"
    if not path.is_file() or file_digest(path) != sha256:
        raise ReportCardError(
            f"{path} is not the file that {folder / 'scores.json'} was written for."
            " Run: reportcard score"
        )


def saved_in(results_dir: Path, field: str) -> dict[str, Json]:
    """Board id → a field of the last build; nothing where that file is absent or damaged."""
    path = results_dir / CACHE
    try:
        boards = read_json(path)["boards"] if path.is_file() else []
        return {board["id"]: board[field] for board in boards}
    except (ReportCardError, KeyError, TypeError):
        return {}  # a cache: the rows that it was made from are still there
