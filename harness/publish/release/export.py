"""`reportcard leaderboard export DIR`: the part of a results folder that may be published."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reportcard.api import Json, ReportCardError
from reportcard.core.environment import git_state
from reportcard.core.files import (
    canonical,
    file_digest,
    jsonl,
    read_json,
    read_jsonl,
    write_atomic,
    write_json,
)
from reportcard.core.version import __version__
from reportcard.publish.board.boards import Leaderboard
from reportcard.publish.board.build import collect
from reportcard.publish.board.published import published_dir
from reportcard.publish.page.write import write_leaderboard
from reportcard.publish.release.pseudonyms import Scrub, pseudonyms, salt_of
from reportcard.score.rows_file import load_rows, npz

RELEASE_VERSION = 1
MANIFEST = "MANIFEST.json"


@dataclass
class _Release:
    """What is being written: source, target, and what was replaced on the way."""

    source: Path
    target: Path
    ids: dict[str, str] = field(default_factory=dict)  # pseudonyms of closed data, all cohorts
    digests: dict[str, str] = field(default_factory=dict)  # of rows.npz: before → after
    signatures: list[str] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)  # cohort folders

    def scrub(self, cohort: str | None = None) -> Scrub:
        ids = self.ids if cohort is None or cohort in self.closed else {}
        return Scrub(self.source, ids, self.digests)


def export(results_dir: Path, target: Path, everything: bool = False) -> str:
    """Write a release into a new folder; returns a sentence. The same results give the same bytes.

    Raises ReportCardError when the folder is there and not empty, when there is nothing to release,
    or when a file is damaged.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ReportCardError(f"{target} is there and not empty. Name a new folder.")
    if target.absolute().is_relative_to((results_dir / "scores").absolute()):
        raise ReportCardError(f"{target} lies inside the scores. Name a folder elsewhere.")
    found = collect(results_dir, everything)
    release = _Release(results_dir, target)
    boards = found.boards
    for cohort in dict.fromkeys(board.cohort_folder for board in boards):
        _cohort(release, cohort)
    runs = [board.run(entry.model).to_json() for board in boards for entry in board.entries]
    for cohort, name in dict.fromkeys((run["cohort"], run["model"]) for run in runs):
        _predictions(release, cohort, name)
    for run in sorted(runs, key=canonical):
        _scores(release, run)
    write_json(target / "current.json", {"runs": sorted(runs, key=canonical)})
    scrubbed = release.scrub().value(found.to_json())
    write_leaderboard(Leaderboard.from_json(scrubbed), target)
    for path in sorted(published_dir().glob("*.yaml")):
        write_atomic(target / "published" / path.name, path.read_bytes())
    write_atomic(target / "signatures.txt", "".join(f"{x}\n" for x in release.signatures))
    files = _manifest(target)
    hidden = f"; ids of {len(release.closed)} closed cohorts are pseudonyms" * bool(release.closed)
    return (
        f"{target}: {len(runs)} rows of {len(boards)} boards in {files} files{hidden}.\n"
        f"{MANIFEST} sha256 {file_digest(target / MANIFEST)} (publish it beside the release)"
    )


def _cohort(release: _Release, cohort: str) -> None:
    """The cohort file; one that is absent counts as closed, as an unknown data class does."""
    path = release.source / "cohorts" / f"{cohort}.json"
    saved = read_json(path) if path.is_file() else {}
    if saved.get("data_class") == "open":
        write_json(release.target / "cohorts" / path.name, release.scrub(cohort).value(saved))
        return
    release.closed.add(cohort)
    known = [str(study[0]) for study in saved.get("studies", ())]
    for rows in sorted((release.source / "scores" / cohort).glob("*/*/*/rows.npz")):
        known += load_rows(rows.parent)[0]
    release.ids |= pseudonyms(dict.fromkeys(known), salt_of(release.source))
    if saved:
        studies = [[release.ids[str(study[0])]] for study in saved.pop("studies", ())]
        found = {**release.scrub(cohort).value(saved), "studies": studies}
        write_json(release.target / "cohorts" / path.name, found)


def _predictions(release: _Release, cohort: str, model: str) -> None:
    source = release.source / "predictions" / cohort / model
    target = release.target / "predictions" / cohort / model
    scrub = release.scrub(cohort)
    if (source / "card.json").is_file():
        write_json(target / "card.json", scrub.value(read_json(source / "card.json")))
    if cohort in release.closed or not (source / "DONE").is_file():
        return
    # What a model said stays as it is; what went wrong may name a place on this machine.
    rows = (
        {**row, "error": scrub.text(str(row["error"]))} if "error" in row else row
        for _, row in read_jsonl(source / "predictions.jsonl")
    )
    write_atomic(target / "predictions.jsonl", jsonl(rows))
    done = {**read_json(source / "DONE"), "predictions_sha256": file_digest(
        target / "predictions.jsonl"
    )}  # fmt: skip
    write_json(target / "DONE", done)
    if (source / "timing.jsonl").is_file():
        shutil.copyfile(source / "timing.jsonl", target / "timing.jsonl")


def _scores(release: _Release, run: Json) -> None:
    part = Path("scores", run["cohort"], run["model"], run["protocol"])
    for path in sorted((release.source / part).glob("*/scores.json")):
        saved, target = read_json(path), release.target / part / path.parent.name
        if "rows_sha256" in saved:
            rows = path.parent / "rows.npz"
            if not rows.is_file() or file_digest(rows) != saved["rows_sha256"]:
                raise ReportCardError(
                    f"{rows} is not the file that {path} was written for. Run: reportcard score"
                )
            if run["cohort"] in release.closed:
                ids, matrix, clusters = load_rows(path.parent)
                hidden = [release.ids[name] for name in ids]
                write_atomic(target / "rows.npz", npz(hidden, matrix, clusters))
                release.digests[saved["rows_sha256"]] = file_digest(target / "rows.npz")
            else:
                write_atomic(target / "rows.npz", rows.read_bytes())
        write_json(target / "scores.json", release.scrub(run["cohort"]).value(saved))
        release.signatures += _lines(run["model"], saved)
    details = release.source / part / "details.json"
    if details.is_file():  # counts of groups and findings: no text, no ids
        found = release.scrub(run["cohort"]).value(read_json(details))
        write_json(release.target / part / "details.json", found)


def _lines(model: str, saved: Json) -> Iterator[str]:
    for entry in saved["keys"].values():
        if entry.get("value") is not None:
            low, high = entry["ci_low"], entry["ci_high"]
            yield f"{model}\t{entry['value']!r} [{low!r}, {high!r}]\t{entry['signature']}"


def _manifest(target: Path) -> int:
    """Written last: a folder without it is no release."""
    paths = sorted(p for p in target.rglob("*") if p.is_file())
    files = {
        path.relative_to(target).as_posix(): {
            "sha256": file_digest(path),
            "bytes": path.stat().st_size,
        }
        for path in paths
    }
    code = {"reportcard": __version__, "git": git_state(Path(__file__).parent)}
    write_json(target / MANIFEST, {"release": RELEASE_VERSION, "code": code, "files": files})
    return len(files) + 1
