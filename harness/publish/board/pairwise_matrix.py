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

from reportcard.api import Json
from reportcard.core.files import digest
from reportcard.publish.board.resamples import (
    Samplers,
    check_rows_file,
    competes,
    folder_of,
    load,
    recipe_of,
    saved_in,
    scorer_of,
)
from reportcard.score.scorer import Scorer
from reportcard.score.stats.pairwise import TRIALS, all_pairs

MOST = 40  # systems of a matrix: 780 pairs
VERSION = 1  # of this computation


def mark_pairs(
    results_dir: Path, boards: Sequence[Json], scorers: Sequence[Scorer] = (), cached: bool = True
) -> None:
    """Add `pairs` and `pairs_about` to boards; those of the last build stay where nothing that
    they depend on has changed."""
    fields = ("pairs", "pairs_about")
    saved = {field: saved_in(results_dir, field) if cached else {} for field in fields}
    for board in boards:
        known = {field: saved[field].get(board["id"]) for field in fields}
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
        (row for row in board["rows"] if competes(row, column)),
        key=lambda row: (sign * row["cells"][key]["value"], row["model"]),
    )
    chosen, left_out = rows[:MOST], [row["model"] for row in rows[MOST:]]
    about: Json = {"key": key, "direction": column["direction"], "trials": trials}
    about |= {"left_out": left_out} if left_out else {}
    if len(chosen) < 2:
        return {"pairs": [], "pairs_about": {**about, "unknown": "fewer than two rows"}}
    metric = column["metric"]
    files = {row["model"]: row["score_files"][metric] for row in chosen}
    for model, file in files.items():
        check_rows_file(folder_of(results_dir, board, model, metric), file["rows_sha256"])
    stats = recipe_of(files.values())
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
    scorer = scorer_of(metric, column["metric_fingerprint"], board["protocol"], scorers)
    if isinstance(scorer, str):
        return {"pairs": [], "pairs_about": {**about, "unknown": scorer}}
    loaded = load(results_dir, board, metric, files, stats, Samplers())
    if isinstance(loaded, str):
        return {"pairs": [], "pairs_about": {**about, "unknown": loaded}}
    found, sampler = loaded
    tests = all_pairs(
        found, scorer.metric.scores, column["name"], sampler, trials, stats["confidence"]
    )
    about |= {"confidence": stats["confidence"], "unit": sampler.unit}
    about |= {"resamples": stats["resamples"], "p_resolution": 1 / (1 + trials)}
    return {"pairs": [asdict(test) for test in tests], "pairs_about": about}
