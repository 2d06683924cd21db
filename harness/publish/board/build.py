"""Score files → one JSON-able model: a board per (cohort, protocol), its columns and its rows.

Nothing is typed by hand and nothing is dropped: a metric that did not run for a model is a cell
that says why, and the order of the rows is computed from the values on every build.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from reportcard.api import Json, ReportCardError
from reportcard.core.files import digest, read_json
from reportcard.publish.board.disclosures import Disclosures
from reportcard.publish.board.pairwise_matrix import mark_pairs
from reportcard.publish.board.published import published
from reportcard.publish.board.ranks import mark_ranks
from reportcard.publish.board.result_files import runs, score_files
from reportcard.publish.board.ties import mark_ties
from reportcard.publish.board.vision import vision_of
from reportcard.score.scorer import Scorer
from reportcard.score.signature import Signature

MODEL_VERSION = 2
VALUE = ("value", "ci_low", "ci_high")
COHORT_FIELDS = (
    *("dataset", "data_class", "licence", "unit", "n_studies", "n_patients", "n_images"),
    *("views", "attrition", "overlap", "notes"),
)
CARD_FIELDS = ("description", "inputs", "trained_on", "sees_references", "needs_train", "draws")
COUNTS = (
    *("cohort", "excluded_empty_reference", "evaluated", "failed", "empty_candidates"),
    "unique_candidates",
)


def collect(results_dir: Path, everything: bool = False, scorers: Sequence[Scorer] = ()) -> Json:
    """{"version", "boards": [{"id", "cohort", "protocol", "primary", "columns", "rows"}, …],
    "published": cohorts of figures that others printed}.

    everything: every score folder on disk, not only the runs that `current.json` lists.
    scorers: metrics that are open already; others are opened by name when ties need them.
    Raises ReportCardError naming the file when one is damaged, or when there are no scores.
    """
    built = boards_of(results_dir, everything)
    mark_ties(results_dir, built, scorers)
    mark_ranks(results_dir, built, scorers)
    mark_pairs(results_dir, built, scorers)
    return {"version": MODEL_VERSION, "boards": built, "published": published()}


def boards_of(results_dir: Path, everything: bool = False) -> list[Json]:
    """The boards as the score files have them, before rows are compared with each other."""
    boards: dict[tuple[str, str], list[str]] = {}
    for run in runs(results_dir, everything):
        boards.setdefault((run.cohort, run.protocol), []).append(run.model)
    if not boards:
        raise ReportCardError(f"No scores in {results_dir / 'scores'}. Run: reportcard run")
    return [
        _board(results_dir, cohort, protocol, models)
        for (cohort, protocol), models in boards.items()
    ]


def _board(results_dir: Path, cohort: str, protocol: str, models: Sequence[str]) -> Json:
    found = {model: score_files(results_dir, cohort, model, protocol) for model in models}
    columns = _columns(list(found.values()))
    labels = Counter(model.rpartition("@")[0] for model in models)
    rows = []
    for model, files in found.items():
        label, _, fp8 = model.rpartition("@")
        card = _card(results_dir / "predictions" / cohort / model / "card.json")
        rows.append(
            {
                "label": model if labels[label] > 1 else label,
                "model": model,
                "fingerprint": fp8,
                **card,
                "vision": vision_of(results_dir, model),  # what `reportcard check` found, or None
                **_counted(files),
                "cells": {c["key"]: _cell(files, c, label) for c in columns},
                "rank": None,  # mark_ranks fills it in
                "score_files": {
                    m: {k: f[k] for k in ("rows_sha256", "stats", "metric_fingerprint") if k in f}
                    for m, f in files.items()
                },
            }
        )
        rows[-1]["status"] = _status(rows[-1])
        about = Disclosures(
            results_dir / "predictions" / cohort / model,
            results_dir / "scores" / cohort / model / protocol,
            files,
        )
        wanted: list[str] = next((f["primary"] for f in files.values() if "primary" in f), [])
        rows[-1] |= about.of(rows[-1]["cells"], rows[-1]["counts"], wanted)
    primary = _primary(columns, found.values())
    return {
        "id": f"{cohort}/{protocol}",
        "cohort_folder": cohort,
        "cohort": _cohort(results_dir, cohort),
        "protocol": protocol,
        "primary": primary and primary["key"],
        "columns": columns,
        "rows": sorted(rows, key=lambda row: rank_key(row, primary)),
    }


def _primary(columns: Sequence[Json], found: Iterable[dict[str, Json]]) -> Json | None:
    """The first key of the protocol's list that has a column here; else the first column."""
    wanted = [key for files in found for f in files.values() for key in f.get("primary", ())]
    by_key = {column["key"]: column for column in columns}
    return next((by_key[key] for key in wanted if key in by_key), columns[0] if columns else None)


def rank_key(row: Json, column: Json | None) -> tuple[bool, bool, float, str]:
    """Ceilings first, then best first; a row without a value goes last, equals by name."""
    value = row["cells"][column["key"]]["value"] if column else None
    sign = -1 if column and column["direction"] == "higher" else 1
    return (
        row["kind"] != "ceiling",
        value is None,
        0.0 if value is None else sign * value,
        row["model"],
    )


def _columns(found: Sequence[dict[str, Json]]) -> list[Json]:
    """Metrics by name, those of boxes after those of text, their keys in the metric's own order.

    Where rows come from several versions of a metric, the column is the version that most rows
    have; `_cell` marks the others, which are not comparable with it. Other weights or another judge
    make another version too.
    """
    columns = []
    metrics = {metric: f for files in found for metric, f in files.items()}
    for metric in sorted(metrics, key=lambda m: (bool(metrics[m].get("boxes")), m)):
        files = [f[metric] for f in found if metric in f]
        versions = Counter(_version(f) for f in files if "not_run" not in f)
        chosen = min(versions, key=lambda v: (-versions[v], v)) if versions else None
        first = next((f for f in files if chosen and _version(f) == chosen), files[0])
        headline = first.get("headline") or list(first["keys"])
        # The key that stands for its metric where room is short.
        lead = headline[0] if first.get("headline") else headline[-1]
        for key, entry in first["keys"].items():
            signature = Signature.parse(entry.get("signature", ""))
            columns.append(
                {
                    "key": key,
                    "metric": metric,
                    "name": key.removeprefix(f"{metric}."),
                    "direction": entry.get("direction", "higher"),
                    "unit": entry.get("unit", "fraction"),
                    "range": entry.get("range", [None, None]),
                    "version": signature.version,
                    "signature": replace(signature, n=None).format() or None,
                    "metric_fingerprint": chosen and first["metric_fingerprint"],
                    "version_of_rows": chosen,
                    # A metric with dozens of keys names those that a table shows.
                    "headline": key in headline,
                    "lead": key == lead,
                }
            )
    return columns


def _version(saved: Json) -> str:
    """What must be equal for two rows to be comparable: the metric, and who read the texts."""
    return digest([saved.get("metric_fingerprint"), saved.get("read_by", [])])


def _cell(files: dict[str, Json], column: Json, label: str) -> Json:
    """value, ci_low, ci_high, n, unscored, signature; `not_run` is a sentence where it applies."""
    metric, key = column["metric"], column["key"]
    saved = files.get(metric, {})
    entry = saved.get("keys", {}).get(key, {})
    names = (
        *("value", "ci_low", "ci_high", "n", "unscored", "bounds", "draws", "spread"),
        *("signature", "caveat"),
    )
    cell = {name: entry.get(name) for name in names if name in entry or name in VALUE}
    if "not_run" in saved:
        cell |= {"value": None, "ci_low": None, "ci_high": None, "not_run": str(saved["not_run"])}
        if saved.get("not_applicable"):
            cell["not_applicable"] = True
    elif not entry:
        cell["not_run"] = (
            f"{label} has no score for {key}. Run: reportcard score model={label} metrics={metric}"
        )
    elif _version(saved) != column["version_of_rows"]:
        cell["other_version"] = True
    return cell


def why_empty(cell: Json) -> str:
    """Why a cell has no number, in a word. Undefined: studies are scored and have nothing to count
    (no phrases, no boxes)."""
    if cell.get("not_applicable"):
        return "–"
    if cell.get("not_run"):
        return "not run"
    return "undefined" if cell.get("n") else "unscored"


def _counted(files: dict[str, Json]) -> Json:
    """What became of the studies. It is a property of the predictions: any score file tells it."""
    counts: Json = next((f["counts"] for f in files.values() if f.get("counts")), {})
    return {"counts": {name: counts.get(name) for name in COUNTS}}


def _status(row: Json) -> str:
    cells = [cell for cell in row["cells"].values() if not cell.get("not_applicable")]
    if not any(cell["value"] is not None for cell in cells):
        return "not run"
    # A ratio with nothing to count (no boxes in narrative reports) is whole without a value.
    whole = not row["counts"]["failed"]
    whole = whole and all(
        cell["value"] is not None or (cell.get("n") and not cell.get("not_run")) for cell in cells
    )
    whole = whole and not any(cell.get("unscored") for cell in cells)
    return "complete" if whole else "incomplete"


def _card(path: Path) -> Json:
    """What the model says of itself. Scores alone (a release, say) come without a card."""
    card = read_json(path).get("card") if path.is_file() else {}
    if not isinstance(card, dict):
        raise ReportCardError(f"{path} is damaged (no 'card'). Run: reportcard predict")
    return {"kind": card.get("kind", "model"), **{name: card.get(name) for name in CARD_FIELDS}}


def _cohort(results_dir: Path, folder: str) -> Json:
    path = results_dir / "cohorts" / f"{folder}.json"
    saved = read_json(path) if path.is_file() else {}
    name, _, fp8 = folder.rpartition("@")
    summary = {field: saved.get(field) for field in COHORT_FIELDS}
    return {"name": name, "fingerprint": saved.get("fingerprint", fp8), **summary}
