"""Computes what each report scores for itself: the order of "worst first", and its label errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from reportcard.api import Array
from reportcard.core.layout import Results
from reportcard.publish.board.boards import Board, Column
from reportcard.publish.board.comparison import NotComparableError, open_scorer
from reportcard.score.details.breakdown import NO_FINDING, PARTS, findings_in
from reportcard.score.rows_file import load_rows
from reportcard.score.scorer import Scorer


@dataclass(frozen=True, slots=True)
class RatedKey:
    """A key by which single reports are ordered."""

    key: str
    direction: str


@dataclass(slots=True)
class LabelErrors:
    """The findings that a report misses and those that it invents."""

    missed: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)


@dataclass
class ReportScores:
    """What each report scores for itself.

    keys     of `values`
    values   model → key → study → value, the mean over draws
    labels   (model, study) → findings missed and invented, in the first draw
    primary  the key that "worst first" goes by
    """

    keys: list[RatedKey]
    values: dict[str, dict[str, dict[str, float]]]
    labels: dict[tuple[str, str], LabelErrors]
    primary: str | None = None


def per_report(board: Board, results_dir: Path, scorers: Sequence[Scorer]) -> ReportScores:
    """Score every report alone, by the headline keys of each metric, and collect label errors.

    An F1 over findings has no meaning for one report (of one without findings it is 0 however good
    it is): instead the findings that the report misses or invents are counted. A score of the whole
    corpus (CIDEr's word weights) is left out.
    """
    reports = ReportScores([], {entry.model: {} for entry in board.entries}, {})
    for metric in dict.fromkeys(column.metric for column in board.columns if column.headline):
        columns = [column for column in board.columns if column.metric == metric]
        fingerprint = columns[0].metric_fingerprint
        try:
            scorer = open_scorer(metric, fingerprint, board.protocol, scorers)
        except NotComparableError:
            continue
        if not scorer.metric.spec.whole_corpus:
            _add_metric(reports, board, columns, results_dir, scorer)
    return reports


def _add_metric(
    reports: ReportScores,
    board: Board,
    columns: Sequence[Column],
    results_dir: Path,
    scorer: Scorer,
) -> None:
    metric, fingerprint = columns[0].metric, columns[0].metric_fingerprint
    labelled = bool(findings_in([column.name for column in columns]))
    errors = f"{metric}: findings missed or invented"
    keys = [RatedKey(column.key, column.direction) for column in columns if column.headline]
    if labelled:
        keys = [RatedKey(errors, "lower")]
    reports.keys += keys
    if board.primary in {column.key for column in columns}:
        known = {key.key for key in keys}
        reports.primary = board.primary if board.primary in known else keys[0].key
    for entry in board.entries:
        file = entry.score_files.get(metric)
        if file is None or file.metric_fingerprint != fingerprint or file.rows_sha256 is None:
            continue
        folder = Results(results_dir).metric(board.run(entry.model), metric)
        ids, rows, _ = load_rows(folder.path)
        with np.errstate(invalid="ignore", divide="ignore"):
            found = scorer.metric.scores(rows)
        unscored = np.isnan(rows).any(axis=-1)
        if labelled:
            labels = _labels(ids, found)
            for name, of in labels.items():
                reports.labels.setdefault((entry.model, name), of)
            found = {errors: _count(ids, labels)[None, :]}
        for key in keys:
            name = key.key.removeprefix(f"{metric}.")
            mean = np.where(unscored, np.nan, found[name]).mean(axis=0)
            reports.values[entry.model][key.key] = {
                study: round(float(v), 4)
                for study, v in zip(ids, mean, strict=True)
                if np.isfinite(v)
            }


def _count(ids: Sequence[str], labels: Mapping[str, LabelErrors]) -> Array:
    """Count the findings that each report misses or invents."""
    none = LabelErrors()
    found = [labels.get(name, none) for name in ids]
    return np.array([len(of.missed) + len(of.invented) for of in found], dtype=float)


def _labels(ids: Sequence[str], found: Mapping[str, Array]) -> dict[str, LabelErrors]:
    """Return the findings that each study's first answer misses and invents, by a metric's labels.

    found: the metric's scores, (draws, n) by key. Studies without errors are left out.
    """
    errors: dict[str, LabelErrors] = {}
    for name in findings_in(list(found)):
        if name == NO_FINDING:
            continue
        _, _, recall, specificity, support = (found[f"{name}.{part}"][0] for part in PARTS)
        missed = (support > 0) & (np.nan_to_num(recall) < 1)
        invented = (support == 0) & (np.nan_to_num(specificity, nan=1.0) < 1)
        spoken = name.replace("_", " ")
        for i in np.flatnonzero(missed):
            errors.setdefault(ids[int(i)], LabelErrors()).missed.append(spoken)
        for i in np.flatnonzero(invented):
            errors.setdefault(ids[int(i)], LabelErrors()).invented.append(spoken)
    return errors
