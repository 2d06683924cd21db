"""The pairwise section: what the page draws of a board's pairs, once it is opened.

pairwise.py computes; here the pairs become a list that names rows by their place and holds every
pair once. matrix.js mirrors it: row less column, and the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence

from reportcard.api import Json
from reportcard.publish.page.cells import decimals
from reportcard.score.stats.effect_size import ALPHA

PAIR = ("difference", "low", "high", "p", "p_holm")


def matrix_of(board: Json, rows: Sequence[Json]) -> Json | None:
    """None where no two rows were compared. rows: the board's, as the page shows them."""
    pairs, about = board.get("pairs") or [], board.get("pairs_about")
    if not pairs or about is None:
        return None
    compared = {name for pair in pairs for name in (pair["a"], pair["b"])}
    order = [i for i, row in enumerate(board["rows"]) if row["model"] in compared]
    place = {board["rows"][i]["model"]: k for k, i in enumerate(order)}
    column = next(c for c in board["columns"] if c["key"] == about["key"])
    values = [row["cells"][about["key"]]["value"] for row in board["rows"]]
    labels = {row["model"]: row["label"] for row in board["rows"]}
    return {
        "key": about["key"],
        "better": about["direction"],
        "places": decimals(column, [v for v in values if v is not None]),
        "confidence": f"{about.get('confidence', 0.95):.0%}".replace("%", " %"),
        "trials": f"{about['trials']:,}",
        "alpha": f"{ALPHA:g}",
        "count": f"{len(pairs):,}",
        "apart": sum(pair["p_holm"] < ALPHA for pair in pairs),
        "left_out": [labels.get(name, name) for name in about.get("left_out", ())],
        "systems": [[rows[i]["label"], rows[i]["fingerprint"]] for i in order],
        "pairs": [
            [
                *(place[pair[side]] for side in ("a", "b")),
                *(_short(pair[name]) for name in PAIR),
                *(int(flag) for flag in (pair["p_holm"] < ALPHA, pair["tail"])),
            ]
            for pair in pairs
        ],
    }


def _short(value: float | None) -> float | None:
    """Six digits: a page holds 780 pairs, and leaderboard.json has them whole."""
    return None if value is None else float(f"{value:.6g}")
