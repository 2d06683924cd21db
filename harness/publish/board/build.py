"""Builds the boards from the score files: one board per cohort and protocol.

No number is typed by hand and none is dropped: a metric that did not run for a system gives a cell
that says why, and the order of the entries is computed from the values on every build.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from reportcard.api import ReportCardError
from reportcard.core.files import digest, read_json
from reportcard.core.layout import Results, RunId, VersionedName
from reportcard.core.records import from_json
from reportcard.publish.board.boards import (
    Board,
    BoardCohort,
    Cell,
    Column,
    Counts,
    Entry,
    Leaderboard,
    ScoredRows,
)
from reportcard.publish.board.column_marks import exact, marked_columns, primary_column
from reportcard.publish.board.disclosures import disclosed, read_card
from reportcard.publish.board.listed_runs import runs
from reportcard.publish.board.pairwise_matrix import with_pairs
from reportcard.publish.board.published import published
from reportcard.publish.board.ranks import with_ranks
from reportcard.publish.board.skill import with_skill
from reportcard.publish.board.ties import with_ties
from reportcard.publish.board.vision import vision_of
from reportcard.score.score_file import ScoreFile
from reportcard.score.scorer import Scorer
from reportcard.score.signature import Signature

MODEL_VERSION = 2  # of leaderboard.json
Scores = Mapping[str, ScoreFile]  # metric → its score file


def collect(
    results_dir: Path, everything: bool = False, scorers: Sequence[Scorer] = ()
) -> Leaderboard:
    """Build the leaderboard: boards with ties, ranks, pairs, skill, and the published figures.

    everything: every score folder on disk, not only the runs that `current.json` lists.
    scorers: metrics that are open already; others are opened by name when ties need them.
    Raises ReportCardError naming the file when one is damaged, or when there are no scores.
    """
    boards = boards_of(results_dir, everything)
    # Ranks come from the pairs' verdicts.
    for compared in (with_ties, with_pairs, with_ranks, with_skill):
        boards = compared(results_dir, boards, scorers)
    return Leaderboard(MODEL_VERSION, tuple(boards), published())


def boards_of(results_dir: Path, everything: bool = False) -> list[Board]:
    """Build the boards from the score files, before entries are compared with each other."""
    boards: dict[tuple[str, str], list[RunId]] = {}
    for run in runs(results_dir, everything):
        boards.setdefault((run.cohort, run.protocol), []).append(run)
    if not boards:
        scores = Results(results_dir).all_scores
        raise ReportCardError(f"No scores in {scores}. Run: reportcard run")
    return [_board(results_dir, listed) for listed in boards.values()]


def _board(results_dir: Path, listed: Sequence[RunId]) -> Board:
    found = {run: ScoreFile.read_run(results_dir, run) for run in listed}
    columns = _columns(list(found.values()))
    labels = Counter(VersionedName.parse(run.system).label for run in listed)
    entries = [
        _entry(results_dir, run, files, columns, unique=labels[run.labels[1]] == 1)
        for run, files in found.items()
    ]
    columns = marked_columns(columns, entries)
    wanted = [key for files in found.values() for file in files.values() for key in file.primary]
    primary = primary_column(wanted, columns, entries)
    first = listed[0]
    return Board(
        id=f"{first.cohort}/{first.protocol}",
        cohort_folder=first.cohort,
        cohort=_cohort(results_dir, first.cohort),
        protocol=first.protocol,
        primary=primary.key if primary else None,
        columns=tuple(columns),
        entries=tuple(sorted(entries, key=lambda entry: rank_key(entry, primary))),
    )


def _entry(
    results_dir: Path, run: RunId, files: Scores, columns: Sequence[Column], unique: bool
) -> Entry:
    """Build one line of a board. unique: whether no other line has the same label."""
    name = VersionedName.parse(run.system)
    cells = {column.key: _cell(files, column, name.label) for column in columns}
    card = read_card(results_dir, run)
    counts = _counts(files)
    model = card.card
    if model.kind == "ceiling" and model.sees_references:
        cells = {column.key: exact(cells[column.key], column) for column in columns}
    about = disclosed(results_dir, run, files, cells, counts, card)
    return Entry(
        label=name.label if unique else run.system,
        model=run.system,
        fingerprint=name.fingerprint,
        kind=model.kind,
        description=model.description,
        inputs=model.inputs,
        trained_on=model.trained_on,
        sees_references=model.sees_references,
        needs_train=model.needs_train,
        draws=model.draws,
        vision=vision_of(results_dir, run.system),
        counts=counts,
        cells=cells,
        score_files={
            metric: ScoredRows(file.rows_sha256, file.stats, file.metric_fingerprint)
            for metric, file in files.items()
        },
        status=_status(cells.values(), counts),
        tier=about.tier,
        used=about.used,
        speed=about.speed,
        cost=about.cost,
        lengths=about.lengths,
        unique_share=about.unique_share,
        top_share=about.top_share,
        reference_top_share=about.reference_top_share,
        mode_collapse=about.mode_collapse,
        details=about.details,
    )


def rank_key(entry: Entry, column: Column | None) -> tuple[bool, bool, float, str]:
    """Order entries: ceilings first, then best first; those without a value last, ties by name."""
    value = entry.cells[column.key].value if column else None
    known = 0.0 if column is None or value is None else column.sign * value
    return (entry.kind != "ceiling", value is None, known, entry.model)


def _columns(found: Sequence[Scores]) -> list[Column]:
    """Return the columns: metrics by name, those of boxes last, keys in the metric's own order.

    Where entries come from several versions of a metric, the column is the version that most
    entries have; `_cell` marks the others, which are not comparable with it. Other weights or
    another judge make another version too.
    """
    columns = []
    metrics = {metric: file for files in found for metric, file in files.items()}
    for metric in sorted(metrics, key=lambda name: (metrics[name].boxes, name)):
        files = [scores[metric] for scores in found if metric in scores]
        versions = Counter(_version(file) for file in files if file.not_run is None)
        chosen = min(versions, key=lambda v: (-versions[v], v)) if versions else None
        first = next((f for f in files if chosen and _version(f) == chosen), files[0])
        headline = first.headline_keys
        for key, entry in first.keys.items():
            signature = Signature.parse(entry.signature or "")
            columns.append(
                Column(
                    key=key,
                    metric=metric,
                    name=key.removeprefix(f"{metric}."),
                    direction=entry.direction,
                    unit=entry.unit,
                    range=entry.range,
                    version=signature.version,
                    signature=replace(signature, n=None).format() or None,
                    metric_fingerprint=first.metric_fingerprint if chosen else None,
                    version_of_rows=chosen,
                    headline=key in headline,
                    lead=key == first.lead,
                )
            )
    return columns


def _version(file: ScoreFile) -> str:
    """Digest what must be equal for two scores to be comparable: the metric and its annotators."""
    return digest([file.metric_fingerprint, file.read_by])


def _cell(files: Scores, column: Column, label: str) -> Cell:
    file = files.get(column.metric)
    score = file.keys.get(column.key) if file else None
    if file is None or score is None:
        reason = (
            f"{label} has no score for {column.key}. Run: reportcard score model={label}"
            f" metrics={column.metric}"
        )
        if file is not None and file.not_run is not None:
            return Cell(not_run=file.not_run, not_applicable=file.not_applicable or None)
        return Cell(not_run=reason)
    other = file.not_run is None and _version(file) != column.version_of_rows
    ran = file.not_run is None
    return Cell(
        value=score.value if ran else None,
        ci_low=score.ci_low if ran else None,
        ci_high=score.ci_high if ran else None,
        n=score.n,
        unscored=score.unscored,
        bounds=score.bounds,
        draws=score.draws,
        spread=score.spread,
        signature=score.signature,
        caveat=score.caveat,
        doubt=score.doubt if ran else None,
        not_run=file.not_run,
        not_applicable=file.not_applicable or None,
        other_version=other or None,
    )


def _counts(files: Scores) -> Counts:
    """Return what became of the studies. Every score file of a run says the same."""
    counts = next((file.counts for file in files.values() if file.counts), {})
    return from_json(Counts, counts)


def _status(cells: Collection[Cell], counts: Counts) -> str:
    applicable = [cell for cell in cells if not cell.not_applicable]
    if not any(cell.value is not None for cell in applicable):
        return "not run"
    # A ratio with nothing to count (no boxes in narrative reports) is complete without a value.
    whole = all(cell.value is not None or (cell.n and cell.not_run is None) for cell in applicable)
    whole = whole and not counts.failed and not any(cell.unscored for cell in applicable)
    return "complete" if whole else "incomplete"


def _cohort(results_dir: Path, folder: str) -> BoardCohort:
    path = Results(results_dir).cohort(folder)
    name = VersionedName.parse(folder)
    saved = read_json(path) if path.is_file() else {}
    try:
        given = {"fingerprint": name.fingerprint, **saved, "name": name.label}
        return from_json(BoardCohort, given)
    except ValueError as error:
        raise ReportCardError(f"{path} is damaged ({error}).") from None
