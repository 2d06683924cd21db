"""Exports the part of a results folder that may be published (`reportcard leaderboard export`)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reportcard.api import ReportCardError
from reportcard.core.files import (
    canonical,
    file_digest,
    jsonl,
    read_json,
    read_jsonl,
    write_atomic,
    write_json,
)
from reportcard.core.layout import Results, RunId, ScoreFolder
from reportcard.publish.board.boards import Leaderboard
from reportcard.publish.board.build import collect
from reportcard.publish.board.published import published_dir
from reportcard.publish.page.write import write_leaderboard
from reportcard.publish.release.manifest import MANIFEST, Manifest
from reportcard.publish.release.pseudonyms import Scrub, pseudonyms, salt_of
from reportcard.score.rows_file import load_rows, npz
from reportcard.score.score_file import ScoreFile


@dataclass
class _Release:
    """A release that is being written: its source and target, and what was replaced so far."""

    source: Results
    target: Results
    ids: dict[str, str] = field(default_factory=dict)  # study id → pseudonym, of closed data
    digests: dict[str, str] = field(default_factory=dict)  # of rows.npz: before → after
    signatures: list[str] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)  # cohort folders

    def scrub(self, cohort: str | None = None) -> Scrub:
        """Return what rewrites the files of a cohort, or those of all cohorts together."""
        ids = self.ids if cohort is None or cohort in self.closed else {}
        return Scrub(self.source.root, ids, self.digests)


def export(results_dir: Path, target: Path, everything: bool = False) -> str:
    """Write a release into a new folder, and return a sentence about it.

    The same results give the same bytes. everything: release every run on disk, not only those
    that `current.json` lists. Raises ReportCardError when the folder is not empty, when there is
    nothing to release, or when a file is damaged.
    """
    release = _Release(Results(results_dir), Results(target))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ReportCardError(f"{target} is there and not empty. Name a new folder.")
    if target.absolute().is_relative_to(release.source.all_scores.absolute()):
        raise ReportCardError(f"{target} lies inside the scores. Name a folder elsewhere.")
    found = collect(results_dir, everything)
    boards = found.boards
    for cohort in dict.fromkeys(board.cohort_folder for board in boards):
        _cohort(release, cohort)
    runs = [board.run(entry.model) for board in boards for entry in board.entries]
    for cohort, system in dict.fromkeys((run.cohort, run.system) for run in runs):
        _predictions(release, cohort, system)
    runs = sorted(runs, key=lambda run: canonical(run.to_json()))
    for run in runs:
        _scores(release, run)
    write_json(release.target.current, {"runs": [run.to_json() for run in runs]})
    scrubbed = release.scrub().value(found.to_json())
    write_leaderboard(Leaderboard.from_json(scrubbed), target)
    for path in sorted(published_dir().glob("*.yaml")):
        write_atomic(target / "published" / path.name, path.read_bytes())
    write_atomic(target / "signatures.txt", "".join(f"{x}\n" for x in release.signatures))
    manifest = Manifest.of_folder(target)
    manifest.write(target)
    hidden = f"; ids of {len(release.closed)} closed cohorts are pseudonyms" * bool(release.closed)
    return (
        f"{target}: {len(runs)} rows of {len(boards)} boards in {len(manifest.files) + 1}"
        f" files{hidden}.\n"
        f"{MANIFEST} sha256 {file_digest(target / MANIFEST)} (publish it beside the release)"
    )


def _cohort(release: _Release, cohort: str) -> None:
    """Write the cohort file.

    A cohort without a file, or with an unknown data class, counts as closed.
    """
    path = release.source.cohort(cohort)
    saved = read_json(path) if path.is_file() else {}
    if saved.get("data_class") == "open":
        write_json(release.target.cohort(cohort), release.scrub(cohort).value(saved))
        return
    release.closed.add(cohort)
    known = [str(study[0]) for study in saved.get("studies", ())]
    for folder in release.source.rows_of(cohort):
        known += load_rows(folder.path)[0]
    release.ids |= pseudonyms(dict.fromkeys(known), salt_of(release.source.root))
    if saved:
        studies = [[release.ids[str(study[0])]] for study in saved.pop("studies", ())]
        found = {**release.scrub(cohort).value(saved), "studies": studies}
        write_json(release.target.cohort(cohort), found)


def _predictions(release: _Release, cohort: str, system: str) -> None:
    """Write a system's card, and its predictions if the cohort is open and the run is finished."""
    source = release.source.predictions(cohort, system)
    target = release.target.predictions(cohort, system)
    scrub = release.scrub(cohort)
    if source.card.is_file():
        write_json(target.card, scrub.value(read_json(source.card)))
    if cohort in release.closed or not source.done.is_file():
        return
    # A report stays as the model wrote it; an error message may name a place on this machine.
    lines = (
        {**line, "error": scrub.text(str(line.get("error")))} if "error" in line else line
        for _, line in read_jsonl(source.log)
    )
    write_atomic(target.log, jsonl(lines))
    write_json(
        target.done, {**read_json(source.done), "predictions_sha256": file_digest(target.log)}
    )
    if source.timing.is_file():
        shutil.copyfile(source.timing, target.timing)


def _scores(release: _Release, run: RunId) -> None:
    """Write the rows, scores and details of a run."""
    scrub = release.scrub(run.cohort)
    for metric in release.source.metrics(run):
        source, target = release.source.metric(run, metric), release.target.metric(run, metric)
        scores = ScoreFile.read(source.scores)
        if scores.rows_sha256 is not None:
            _rows(release, run, source, target, scores.rows_sha256)
        write_json(target.scores, scrub.value(read_json(source.scores)))
        release.signatures += _lines(run.system, scores)
    details = release.source.details(run)
    if details.is_file():  # counts of groups and findings: no text, no ids
        write_json(release.target.details(run), scrub.value(read_json(details)))


def _rows(
    release: _Release, run: RunId, source: ScoreFolder, target: ScoreFolder, sha256: str
) -> None:
    """Write rows.npz, with pseudonyms instead of the ids of closed data.

    Args:
        release: the release.
        run: the run that the rows are of.
        source: the folder of one metric in the results.
        target: the folder of that metric in the release.
        sha256: the digest of the rows that the scores were made from.
    """
    if not source.rows.is_file() or file_digest(source.rows) != sha256:
        raise ReportCardError(
            f"{source.rows} is not the file that {source.scores} was written for."
            " Run: reportcard score"
        )
    if run.cohort in release.closed:
        ids, matrix, clusters = load_rows(source.path)
        hidden = [release.ids[name] for name in ids]
        write_atomic(target.rows, npz(hidden, matrix, clusters))
        release.digests[sha256] = file_digest(target.rows)
    else:
        write_atomic(target.rows, source.rows.read_bytes())


def _lines(system: str, scores: ScoreFile) -> Iterator[str]:
    """Yield one line for signatures.txt per key that has a value."""
    for score in scores.keys.values():
        if score.value is not None:
            interval = f"[{score.ci_low!r}, {score.ci_high!r}]"
            yield f"{system}\t{score.value!r} {interval}\t{score.signature}"
