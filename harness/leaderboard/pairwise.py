"""The pairwise tab: every pair of a board's rows on its primary key, told apart or not.

`board["pairs"]` is a list of {"a", "b", "difference", "low", "high", "p", "tail", "p_holm"}, a and
b the folders of two rows and the difference a − b over the studies that both have; the matrix's
other half is its mirror. `board["pairs_about"]` says what they are of: the key, the trials of the
test, who was left out and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from harness.api import Json, ReportCardError
from harness.leaderboard import ties
from harness.pairs import TRIALS, all_pairs
from harness.rows import load_rows
from harness.score import Scorer
from harness.stats import Resampler
from harness.store import digest, read_json

MOST = 40  # systems of a matrix: 780 pairs
VERSION = 1  # of this computation


def mark_pairs(
    results_dir: Path, boards: Sequence[Json], scorers: Sequence[Scorer] = (), cached: bool = True
) -> None:
    """Add `pairs` and `pairs_about` to boards; those of the last build stay where nothing that
    they depend on has changed."""
    saved = _saved(results_dir) if cached else {}
    for board in boards:
        known = saved.get(board["id"], {})
        key = board["primary"]
        found: Json = {"pairs": [], "pairs_about": None}
        if key is not None:
            found = pairs_of_board(results_dir, board, key, scorers, known=known)
        board |= found


def pairs_of_board(
    results_dir: Path,
    board: Json,
    key: str,
    scorers: Sequence[Scorer] = (),
    trials: int = TRIALS,
    known: Json | None = None,
) -> Json:
    """{"pairs", "pairs_about"} of one column. Ceilings do not compete; of more than 40 systems the
    best 40 do. Raises ReportCardError for rows that are not those scored."""
    column = next(c for c in board["columns"] if c["key"] == key)
    sign = -1 if column["direction"] == "higher" else 1
    rows = sorted(
        (row for row in board["rows"] if ties.competes(row, column)),
        key=lambda row: (sign * row["cells"][key]["value"], row["model"]),
    )
    chosen, left_out = rows[:MOST], [row["model"] for row in rows[MOST:]]
    about: Json = {"key": key, "direction": column["direction"], "trials": trials}
    about |= {"left_out": left_out} if left_out else {}
    if len(chosen) < 2:
        return {"pairs": [], "pairs_about": {**about, "unknown": "fewer than two rows"}}
    metric = column["metric"]
    files = {row["model"]: row["score_files"][metric] for row in chosen}
    stats = max((f["stats"] for f in files.values()), key=lambda s: s["resamples"])
    about["inputs"] = digest(
        {
            "pairs": VERSION,
            "metric": column["metric_fingerprint"],
            "key": key,
            "trials": trials,
            "stats": stats,
            "rows": [[model, file["rows_sha256"]] for model, file in files.items()],
        }
    )
    if known and (known.get("pairs_about") or {}).get("inputs") == about["inputs"]:
        return {"pairs": known["pairs"], "pairs_about": known["pairs_about"]}
    scorer = ties.scorer_of(metric, column["metric_fingerprint"], board["protocol"], scorers)
    if isinstance(scorer, str):
        return {"pairs": [], "pairs_about": {**about, "unknown": scorer}}
    loaded, first, clusters = {}, None, None
    for model, file in files.items():
        folder = ties.metric_folder(results_dir, board, model, metric)
        ties.check_rows_file(folder, file["rows_sha256"])
        ids, loaded[model], clusters = load_rows(folder)
        first = first or ids
        if ids != first:
            raise ReportCardError(f"{folder / 'rows.npz'} has other studies than its board.")
        if clusters is None and stats["unit"] != "study":
            unknown = "its studies are grouped by patient and rows.npz does not say how"
            return {"pairs": [], "pairs_about": {**about, "unknown": unknown}}
    assert first is not None
    sampler = Resampler(len(first), stats["resamples"], stats["seed"], clusters)
    tests = all_pairs(
        loaded, scorer.metric.scores, column["name"], sampler, trials, stats["confidence"]
    )
    about |= {"confidence": stats["confidence"], "unit": sampler.unit}
    about |= {"resamples": stats["resamples"], "p_resolution": 1 / (1 + trials)}
    return {"pairs": [asdict(test) for test in tests], "pairs_about": about}


def _saved(results_dir: Path) -> dict[str, Json]:
    """Board id → its pairs of the last build; nothing where that file is absent or damaged."""
    path = results_dir / ties.CACHE
    try:
        boards = read_json(path)["boards"] if path.is_file() else []
        return {b["id"]: {k: b[k] for k in ("pairs", "pairs_about")} for b in boards}
    except (ReportCardError, KeyError, TypeError):
        return {}  # a cache: the rows that it was made from are still there
