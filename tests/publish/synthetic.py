"""Makes an invented leaderboard.json of any size, for tests of the page.

Nothing in it was measured. The same arguments give the same model.
"""

from __future__ import annotations

import random
from itertools import combinations

from reportcard.api import Json

METRICS = {
    "bleu": ("bleu_1", "bleu_2", "bleu_3", "bleu_4"),
    "rouge": ("rouge_1", "rouge_2", "rouge_l"),
    "f1_chexpert_rules": tuple(f"f1_{i}" for i in range(1, 34)),
    "radcliq": ("radcliq_v1", "bertscore", "semb"),
    "chexprompt": tuple(f"errors_{i}" for i in range(1, 9)),
    "grounding": tuple(f"iou_{i}" for i in range(1, 10)),
}
LOWER = ("radcliq", "chexprompt")
HEADLINE = (
    *("bleu.bleu_4", "rouge.rouge_l", "f1_chexpert_rules.f1_1", "f1_chexpert_rules.f1_2"),
    *("radcliq.radcliq_v1", "chexprompt.errors_1", "grounding.iou_1", "grounding.iou_2"),
)
STATS = {"resamples": 500, "seed": 0, "confidence": 0.95, "unit": "study"}
FINDINGS = ("Pneumothorax", "Pleural effusion", "Consolidation", "Edema", "Fracture")


def leaderboard(models: int = 60, cohorts: int = 4, seed: int = 0, **of_row: object) -> Json:
    """Boards of 60 keys each. of_row: fields that every row gets, a hostile description say."""
    rng = random.Random(seed)
    boards = [_board(rng, f"cohort_{i}", models, of_row) for i in range(cohorts)]
    return {"version": 1, "boards": boards, "published": []}


def _board(rng: random.Random, name: str, models: int, of_row: Json) -> Json:
    columns = [_column(metric, key) for metric, keys in METRICS.items() for key in keys]
    rows = [_row(rng, i, columns, of_row) for i in range(models)]
    primary = "f1_chexpert_rules.f1_1"
    rows.sort(key=lambda row: (row["kind"] != "ceiling", -row["cells"][primary]["value"]))
    ranked = [row for row in rows if row["kind"] == "model"]
    for place, row in enumerate(ranked, 1):
        low, high = max(1, place - 2), min(len(ranked), place + 2)
        row["rank"] = {
            "key": primary,
            "low": low,
            "high": high,
            "share_first": round(0.6**place, 3),
        }
    for column in columns:
        best = max(ranked, key=lambda row: row["cells"][column["key"]]["value"])
        best["cells"][column["key"]] |= {"best": True, "tied_with_best": True}
    return {
        "id": f"{name}/reportcard",
        "cohort_folder": f"{name}@0123abcd",
        "cohort": {
            **{"name": name, "fingerprint": "0123abcd" * 8, "dataset": f"Invented {name}"},
            **{"data_class": "open", "licence": "CC0", "unit": "study", "n_studies": 500},
            **{"n_patients": 400, "n_images": 800, "views": {"PA": 500, "LATERAL": 300}},
            "attrition": [{"rule": "with findings", "before": 510, "after": 500, "dropped": 10}],
            "overlap": None,
            "notes": ["All of this is invented."],
        },
        "protocol": "reportcard",
        "primary": primary,
        "columns": columns,
        "rows": rows,
        "skill": {c["key"]: _skill(c, rows) for c in columns if c["headline"]},
        **_pairs(primary, rows),
    }


def _pairs(key: str, rows: list[Json]) -> Json:
    """As pairwise.py gives them: the best forty that are no ceiling, each pair once."""
    compared = [row for row in rows if row["kind"] != "ceiling"]
    pairs = []
    for a, b in combinations(compared[:40], 2):
        gap = a["cells"][key]["value"] - b["cells"][key]["value"]
        p = 0.0005 if abs(gap) > 0.1 else 0.4
        pairs.append(
            {
                **{"a": a["model"], "b": b["model"], "difference": gap, "low": gap - 0.04},
                **{"high": gap + 0.04, "p": p, "p_holm": min(1.0, 20 * p), "tail": False},
                "told_apart": 20 * p < 0.05,
            }
        )
    about: Json = {"key": key, "direction": "higher", "trials": 2_000, "confidence": 0.95}
    left_out = [row["model"] for row in compared[40:]]
    about |= {"left_out": left_out} if left_out else {}
    return {"pairs": pairs, "pairs_about": about}


def _column(metric: str, key: str) -> Json:
    return {
        **{"key": f"{metric}.{key}", "metric": metric, "name": key, "unit": "fraction"},
        "direction": "lower" if metric in LOWER else "higher",
        **{"range": [0.0, 1.0], "version": "v1", "signature": f"{metric}|v1|seed:0"},
        **{"metric_fingerprint": "0" * 64, "version_of_rows": "0" * 64, "lead": False},
        "headline": f"{metric}.{key}" in HEADLINE,
    }


def _row(rng: random.Random, i: int, columns: list[Json], of_row: Json) -> Json:
    kind = {0: "ceiling", 1: "floor"}.get(i, "model")
    label = f"{kind}_{i:02d}"
    return {
        **{"label": label, "model": f"{label}@{i:08x}", "fingerprint": f"{i:08x}", "kind": kind},
        **{"description": f"Invented system number {i}", "inputs": ["frontal", "indication"]},
        **{"trained_on": ["Invented cohort_1"] if i % 7 == 2 else [], "sees_references": i == 0},
        **{"needs_train": False, "draws": 1, "vision": None, "status": "complete"},
        "counts": {
            **{"cohort": 500, "excluded_empty_reference": 0, "evaluated": 500, "failed": i % 3},
            **{"empty_candidates": 0, "unique_candidates": 400 - 5 * i},
        },
        "cells": {c["key"]: _cell(rng, c) for c in columns},
        "score_files": {metric: {"stats": STATS} for metric in METRICS},
        "tier": "generated here" if i % 2 else "re-scored from predictions",
        "used": {"frontal": 500, "lateral": 10 * i},
        "speed": {"seconds_per_1000": 40.0 + i, "studies": 500},
        "cost": {"usd_per_1000": 0.5 * i, "studies": 500} if i % 4 == 3 else None,
        "lengths": {
            "candidate": {"p5": 8, "p25": 20, "p50": 30 + i, "p75": 95, "p95": 120},
            "reference": {"p5": 9, "p25": 21, "p50": 33, "p75": 58, "p95": 90},
        },
        "unique_share": (400 - 5 * i) / 500,
        "mode_collapse": i == 5,
        "details": _details(rng),
        **of_row,
    }


def _skill(column: Json, rows: list[Json]) -> Json:
    """As skill.py gives it: the floor is 0, the ceiling 1, and a system counts from the floor."""
    key = column["key"]
    ceiling, floor = ([row for row in rows if row["kind"] == k] for k in ("ceiling", "floor"))
    if key == "grounding.iou_2" or not floor:
        return {"unknown": "no floor has a score"}
    sign = -1 if column["direction"] == "lower" else 1
    systems = {ceiling[0]["model"]: {"value": 1.0}, floor[0]["model"]: {"value": 0.0}}
    for row in rows:
        value = sign * row["cells"][key]["value"]
        systems.setdefault(row["model"], {"value": value, "low": value - 0.2, "high": value + 0.1})
    return {
        **{"floor": floor[0]["model"], "floor_value": 0.25, "ceiling": ceiling[0]["model"]},
        **{"ceiling_value": 1.0, "systems": systems},
    }


def _cell(rng: random.Random, column: Json) -> Json:
    value = round(rng.random(), 4)
    return {
        **{"value": value, "ci_low": max(0.0, value - 0.03), "ci_high": min(1.0, value + 0.03)},
        **{"n": 500, "unscored": 0, "signature": f"{column['signature']}|n:500"},
    }


def _details(rng: random.Random) -> Json:
    names = ("support", "predicted")
    return {
        "findings": [
            {
                "name": name,
                **{count: rng.randrange(90) for count in names},
                **{of: round(rng.random(), 3) for of in ("precision", "recall", "f1")},
                **{"f1_low": 0.1, "f1_high": 0.9},
            }
            for name in FINDINGS
        ],
        "subgroups": {
            "view": [
                {
                    "value": view,
                    "n": 250,
                    "cells": {k: {"value": 0.4, "ci_low": 0.3, "ci_high": 0.5} for k in HEADLINE},
                }
                for view in ("PA", "AP")
            ]
        },
        "errors": {
            **{"omissions": 0.42, "hallucinations": 0.17},
            "critical": [{"name": n, "missed": 3, "invented": 1, "support": 9} for n in FINDINGS],
            "prior_comparisons_without_prior": {"share": 0.031, "n": 480},
        },
    }
