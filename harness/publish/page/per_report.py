"""What each report scores for itself: the order of "worst first", and the labels it gets wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reportcard.api import Array, Json
from reportcard.publish.board.resamples import folder_of, scorer_of
from reportcard.score.details.breakdown import NO_FINDING, PARTS, findings_in
from reportcard.score.rows_file import load_rows
from reportcard.score.scorer import Scorer


@dataclass
class Reports:
    """What each report scores for itself.

    keys     of `values`, best end first: {"key", "direction"}
    values   model → key → study → value, the mean over draws
    labels   (model, study) → findings missed and invented, in the first draw
    """

    keys: list[Json]
    values: dict[str, dict[str, dict[str, float]]]
    labels: dict[tuple[str, str], Json]
    primary: str | None = None


def per_report(board: Json, results_dir: Path, scorers: Sequence[Scorer]) -> Reports:
    """Headline keys of one report alone, and its label errors.

    An F1 over findings has no meaning for one report (of one without findings it is 0 however good
    it is): what stands for such a metric is how many findings the report misses or invents. A score
    of the whole corpus (CIDEr's word weights) is left out.
    """
    reports = Reports([], {row["model"]: {} for row in board["rows"]}, {})
    for metric in dict.fromkeys(c["metric"] for c in board["columns"] if c["headline"]):
        columns = [c for c in board["columns"] if c["metric"] == metric]
        fingerprint = columns[0]["metric_fingerprint"]
        if fingerprint is None:
            continue
        scorer = scorer_of(metric, fingerprint, board["protocol"], scorers)
        if isinstance(scorer, str) or scorer.metric.spec.whole_corpus:
            continue
        labelled = bool(findings_in([column["name"] for column in columns]))
        errors = f"{metric}: findings missed or invented"
        keys = (
            [{"key": errors, "direction": "lower"}]
            if labelled
            else [
                {name: c[name] for name in ("key", "direction")} for c in columns if c["headline"]
            ]
        )
        reports.keys += keys
        if board["primary"] in {column["key"] for column in columns}:
            known = {key["key"] for key in keys}
            reports.primary = board["primary"] if board["primary"] in known else keys[0]["key"]
        for row in board["rows"]:
            file = row["score_files"].get(metric, {})
            if file.get("metric_fingerprint") != fingerprint or "rows_sha256" not in file:
                continue
            ids, rows, _ = load_rows(folder_of(results_dir, board, row["model"], metric))
            with np.errstate(invalid="ignore", divide="ignore"):
                found = scorer.metric.scores(rows)
            unscored = np.isnan(rows).any(axis=-1)
            if labelled:
                said = _labels(ids, found)
                for name, of in said.items():
                    reports.labels.setdefault((row["model"], name), of)
                found = {errors: _count(ids, said)[None, :]}
            for key in keys:
                name = key["key"].removeprefix(f"{metric}.")
                mean = np.where(unscored, np.nan, found[name]).mean(axis=0)
                reports.values[row["model"]][key["key"]] = {
                    study: round(float(v), 4)
                    for study, v in zip(ids, mean, strict=True)
                    if np.isfinite(v)
                }
    return reports


def _count(ids: Sequence[str], said: Mapping[str, Json]) -> Array:
    """How many findings each report misses or invents."""
    none: Json = {"missed": [], "invented": []}
    return np.array([sum(map(len, said.get(name, none).values())) for name in ids], dtype=float)


def _labels(ids: Sequence[str], found: Mapping[str, Array]) -> dict[str, Json]:
    """Study → findings missed and invented in the first draw, by a metric's own labels."""
    said: dict[str, Json] = {}
    for name in findings_in(list(found)):
        if name == NO_FINDING:
            continue
        _, _, recall, specificity, support = (found[f"{name}.{part}"][0] for part in PARTS)
        for kind, hit in (
            ("missed", (support > 0) & (np.nan_to_num(recall) < 1)),
            ("invented", (support == 0) & (np.nan_to_num(specificity, nan=1.0) < 1)),
        ):
            for i in np.flatnonzero(hit):
                of = said.setdefault(ids[int(i)], {"missed": [], "invented": []})
                of[kind].append(name.replace("_", " "))
    return said
