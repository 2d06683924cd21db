"""What a row says of itself besides its scores: where its reports come from, what the model used,
how fast and how dear it was, how its texts look; and what it can be opened to.

Read from files that the stages wrote; nothing is computed here that takes time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reportcard.api import Json
from reportcard.core.files import read_json, read_jsonl
from reportcard.score.details import breakdown
from reportcard.score.details import update as details
from reportcard.score.details.report_texts import REPLAY

TIERS = ("generated here", "re-scored from predictions", details.AGAIN)


@dataclass(frozen=True)
class Disclosures:
    """The files of one run: its predictions, and its scores under one protocol."""

    predictions: Path
    scores: Path
    files: Mapping[str, Json]  # metric → scores.json

    def of(self, cells: Mapping[str, Json], counts: Json, primary: Sequence[str]) -> Json:
        """The fields of a row. cells: its own; primary: the protocol's keys, first the first."""
        saved = details.read(self.scores, self.files)
        reports: Json = saved["reports"] if saved else {}
        card = _json(self.predictions / "card.json")
        evaluated, unique = counts.get("evaluated"), counts.get("unique_candidates")
        return {
            "tier": _tier(card),
            "used": reports.get("used"),
            "speed": self._speed(),
            "cost": self._cost(card, reports.get("tokens")),
            "lengths": reports.get("lengths"),
            "unique_share": round(unique / evaluated, 6) if evaluated and unique else None,
            "top_share": reports.get("top_share"),
            "reference_top_share": reports.get("reference_top_share"),
            "mode_collapse": reports.get("mode_collapse"),
            "details": _details(cells, saved, primary),
        }

    def _speed(self) -> Json | None:
        """Wall time of this model's sessions, its loading among it, per 1,000 studies.

        A session that was killed left no time and counts no study.
        """
        path = self.predictions / "timing.jsonl"
        sessions = [line for _, line in read_jsonl(path)] if path.is_file() else []
        answers = sum(session["studies"] for session in sessions)
        if not answers:
            return None
        draws = _json(self.predictions / "DONE").get("draws", 1)
        seconds = sum(session["seconds"] for session in sessions) / answers * draws
        return {
            "seconds_per_1000": float(f"{1000 * seconds:.3g}"),
            "studies": answers // draws,
        }

    @staticmethod
    def _cost(card: Json, tokens: Json | None) -> Json | None:
        """USD of the tokens that were answered, at the prices of the run's options (per million).

        Without discounts for cached input and without what was asked in vain.
        """
        prices = card.get("options", {}).get("prices")
        if not prices or not tokens:
            return None
        usd = (tokens["in"] * prices["input"] + tokens["out"] * prices["output"]) / 1e6
        return {
            "usd_per_1000": float(f"{1000 * usd / tokens['studies']:.4g}"),
            "studies": tokens["studies"],
        }


def _tier(card: Json) -> str:
    here, rescored, unknown = TIERS
    if "plugin" not in card:  # scores alone: a release, say
        return unknown
    return rescored if card["plugin"] == REPLAY else here


def _details(cells: Mapping[str, Json], saved: Json | None, primary: Sequence[str]) -> Json:
    metric = label_metric(cells, primary)
    by_metric: Json = saved["metrics"] if saved else {}
    reports: Json = saved["reports"] if saved else {}
    errors = by_metric.get(metric or "", {}).get("errors")
    found: Json = {
        "findings_from": metric,
        "findings": breakdown.findings(cells, metric) if metric else [],
        "subgroups": _merged([part.get("subgroups", {}) for part in by_metric.values()]),
        "errors": {
            **(errors or {"omissions": None, "hallucinations": None, "critical": []}),
            "prior_comparisons_without_prior": reports.get("prior_comparisons_without_prior"),
        },
    }
    return found if saved else {**found, "not_recorded": details.AGAIN}


def label_metric(cells: Mapping[str, Json], primary: Sequence[str]) -> str | None:
    """The metric whose findings a row is opened to: of those that scored any, the one that the
    protocol prefers, else the first by name."""
    metrics = dict.fromkeys(key.partition(".")[0] for key in cells)
    able = [metric for metric in metrics if breakdown.findings(cells, metric)]
    preferred = [key.partition(".")[0] for key in primary]
    return min(
        able,
        key=lambda m: (preferred.index(m) if m in preferred else len(preferred), m),
        default=None,
    )


def _merged(parts: Sequence[Json]) -> Json:
    """Group → values, each with the cells of all metrics; n is that of the first."""
    merged: dict[str, dict[str, Json]] = {}
    for part in parts:
        for group, values in part.items():
            mine = merged.setdefault(group, {})
            for entry in values:
                known = mine.setdefault(entry["value"], {**entry, "cells": {}})
                cells = entry["cells"]
                if entry["n"] != known["n"]:  # some studies are unscored under this metric
                    cells = {key: {**cell, "n": entry["n"]} for key, cell in cells.items()}
                known["cells"].update(cells)
    return {group: list(values.values()) for group, values in merged.items()}


def _json(path: Path) -> Json:
    return read_json(path) if path.is_file() else {}
