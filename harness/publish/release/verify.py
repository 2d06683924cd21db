"""`reportcard leaderboard verify DIR`: every number of a release again, from its rows.

Needs no data, no weights and no network. Two things are told apart: a file that is not the one of
the manifest, and a number that does not follow from its rows. Who alters rows, scores and manifest
alike gets another manifest: compare its sha256, which is printed, with the one that was published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reportcard.api import Json, ReportCardError
from reportcard.config import paths
from reportcard.core.files import file_digest, read_json
from reportcard.core.layout import Results
from reportcard.core.records import to_json
from reportcard.publish.board.boards import Board, Leaderboard
from reportcard.publish.board.build import boards_of
from reportcard.publish.board.comparison import NotComparableError, open_scorer
from reportcard.publish.board.pairwise_matrix import with_pairs
from reportcard.publish.board.ranks import with_ranks
from reportcard.publish.board.ties import with_ties
from reportcard.publish.page.write import tidy
from reportcard.publish.release.export import MANIFEST, RELEASE_VERSION
from reportcard.publish.release.reading import is_inside, printable, score_files, walk, why_unsafe
from reportcard.score.rows_file import load_rows
from reportcard.score.scorer import Scorer, numbers
from reportcard.score.stats.resampling import Resampler

TOLERANCE = 1e-9  # sums in another order, on another machine
MOST_RESAMPLES = 100_000
SHOWN = 100  # problems that are printed


@dataclass
class Verified:
    """What was found; without problems every number follows from its rows."""

    problems: list[str] = field(default_factory=list)
    numbers: int = 0  # recomputed
    files: int = 0
    manifest: str = ""

    def wrong(self, text: str) -> None:
        self.problems.append(printable(text))

    @property
    def lines(self) -> list[str]:
        shown = self.problems[:SHOWN]
        more = len(self.problems) - len(shown)
        last = [f"… and {more:,} more"] if more else []
        result = f"{len(self.problems):,} problems" if self.problems else "all as released"
        about = f"{self.files:,} files, {self.numbers:,} numbers recomputed: {result}"
        return [
            *shown,
            *last,
            about,
            *([f"{MANIFEST} sha256 {self.manifest}"] * bool(self.manifest)),
        ]


def verify(folder: Path) -> Verified:
    """Raises ReportCardError when there is no release to look at."""
    if not (folder / MANIFEST).is_file() or (folder / MANIFEST).is_symlink():
        raise ReportCardError(f"{folder} holds no {MANIFEST}: it is no release.")
    found = Verified()
    files, unsafe = walk(folder)
    found.files = len(files)
    for text in unsafe:
        found.wrong(text)
    if unsafe:  # nothing of it is read
        return found
    found.manifest = file_digest(folder / MANIFEST)
    _guard(found, MANIFEST, lambda: _check_manifest(found, folder, files))
    scorers: dict[tuple[str, str, str], Scorer | str] = {}
    for parts in sorted(score_files(files)):
        name = "/".join(parts)
        _guard(found, name, lambda parts=parts: _check_scores(found, folder, parts, scorers))
    opened = [scorer for scorer in scorers.values() if isinstance(scorer, Scorer)]
    _guard(found, "leaderboard", lambda: _check_leaderboard(found, folder, opened))
    return found


def _guard(found: Verified, name: str, step: Any) -> None:
    """A file of the wrong shape is a finding about that file; the others are still looked at."""
    try:
        step()
    except ReportCardError as error:
        found.wrong(f"{name}: {error}")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        found.wrong(f"{name}: not of the form that export writes ({type(error).__name__}: {error})")
    except (OSError, MemoryError, ArithmeticError) as error:
        found.wrong(f"{name}: cannot be read ({error})")


def _check_manifest(found: Verified, folder: Path, files: Mapping[str, int]) -> None:
    manifest = read_json(folder / MANIFEST)
    if manifest["release"] != RELEASE_VERSION:
        found.wrong(f"{MANIFEST}: release format {manifest['release']!r}, not {RELEASE_VERSION}")
    listed = manifest["files"]
    for name, about in listed.items():
        if not is_inside(name):
            found.wrong(f"{MANIFEST} names {name!r}, which is no place inside the release")
        elif name not in files:
            found.wrong(f"{name} is gone")
        elif file_digest(folder / name) != about["sha256"]:
            found.wrong(f"{name} was changed: it is not the file of {MANIFEST}")
    for name in files:
        if name not in listed and name != MANIFEST:
            found.wrong(f"{name} was added: {MANIFEST} does not list it")


def _check_scores(
    found: Verified,
    folder: Path,
    parts: Sequence[str],
    scorers: dict[tuple[str, str, str], Scorer | str],
) -> None:
    cohort, model, protocol, metric = parts
    name, place = "/".join(parts), folder / "scores" / "/".join(parts)
    saved = read_json(place / "scores.json")
    labels = (saved["cohort"], saved["model"], saved["protocol"], saved["metric"])
    if labels != (cohort[:-9], model[:-9], protocol, metric):
        found.wrong(f"{name}: its scores are of {'/'.join(map(str, labels))}")
        return
    if "not_run" in saved:
        if any(entry["value"] is not None for entry in saved["keys"].values()):
            found.wrong(f"{name}: it was not run and has a value")
        return
    if trouble := why_unsafe(place / "rows.npz"):
        found.wrong(f"{name}/rows.npz: {trouble}")
        return
    if file_digest(place / "rows.npz") != saved["rows_sha256"]:
        found.wrong(f"{name}/rows.npz is not the file that its scores name")
    which = (metric, saved["metric_fingerprint"], protocol)
    if which not in scorers:
        scorers[which] = _scorer(*which)
    scorer = scorers[which]
    if isinstance(scorer, str):
        found.wrong(f"{name} cannot be verified: {scorer}")
        return
    _, rows, clusters = load_rows(place)
    if np.isinf(rows).any():
        found.wrong(f"{name}/rows.npz holds an infinite value")
        return
    sampler = _sampler(saved["stats"], rows.shape[1], clusters)
    if sampler.unit != saved["stats"]["unit"]:
        found.wrong(
            f"{name}: resampled by {saved['stats']['unit']}, the rows are by {sampler.unit}"
        )
    stats = saved["stats"]
    again = numbers(scorer.metric, rows, sampler, float(stats["confidence"]), stats["centre"])
    missing = int(np.isnan(rows).any(axis=(0, 2)).sum())
    counted = {"n": rows.shape[1] - missing, "unscored": missing}
    if set(saved["keys"]) != {f"{metric}.{key}" for key in again}:
        found.wrong(f"{name}: it has other keys than {metric}")
    for key, values in again.items():
        entry = saved["keys"].get(f"{metric}.{key}", {})
        for what, value in {**values, **counted}.items():
            found.numbers += 1
            if not _same(given := entry.get(what), value):
                found.wrong(f"{name}: {key} {what} is {given!r}, the rows give {value!r}")


def _scorer(metric: str, fingerprint: str, protocol: str) -> Scorer | str:
    if protocol not in paths.names("protocol"):
        return f"protocol {protocol} is not known here"
    try:
        return open_scorer(metric, fingerprint, protocol)
    except NotComparableError as error:
        return str(error)


def _sampler(stats: Json, n: int, clusters: Any) -> Resampler:
    resamples, seed, recipe = stats["resamples"], stats["seed"], stats["recipe"]
    if type(resamples) is not int or not 1 <= resamples <= MOST_RESAMPLES:
        raise ValueError(f"{resamples!r} resamples")
    if type(seed) is not int or not 0 <= seed < 2**32 or recipe not in ("scipy", "sacrebleu"):
        raise ValueError(f"seed {seed!r}, recipe {recipe!r}")
    if not 0 < float(stats["confidence"]) < 1 or stats["centre"] not in ("point", "median"):
        raise ValueError(f"confidence {stats['confidence']!r}, centre {stats['centre']!r}")
    # A number of patients that nobody has: it would size the weights.
    if clusters is not None and not (clusters.min() >= 0 and clusters.max() < n):
        raise ValueError("clusters are no patient numbers")
    return Resampler(n, resamples, seed, clusters, recipe)


def _check_leaderboard(found: Verified, folder: Path, scorers: Sequence[Scorer]) -> None:
    """Build the boards again from the score files, and compare leaderboard.json with them."""
    place = Results(folder).board
    saved = read_json(place.json)
    shown = Leaderboard.from_json(saved)
    boards = {board.id: board for board in shown.boards}
    again = boards_of(folder)
    if set(boards) != {board.id for board in again}:
        found.wrong("leaderboard.json has other boards than current.json")
    if not found.problems:  # rows that are not those scored have been named already
        again = with_ties(folder, again, scorers, cached=False)
        again = with_ranks(folder, again, scorers, cached=False)
        again = with_pairs(folder, again, scorers, cached=False)
    for board in again:
        if board.id in boards:
            _check_board(found, boards[board.id], board)
    if place.csv.read_bytes() != tidy(shown).encode("utf-8", "backslashreplace"):
        found.wrong("leaderboard.csv does not say what leaderboard.json says")


def _check_board(found: Verified, shown: Board, again: Board) -> None:
    where = f"leaderboard.json {again.id}"
    if shown.primary != again.primary:
        found.wrong(f"{where}: primary is {shown.primary!r}, not {again.primary!r}")
    if [entry.model for entry in shown.entries] != [entry.model for entry in again.entries]:
        found.wrong(f"{where}: its rows, or their order, are not those of the scores")
        return
    compared = again.pairs is not None
    for ours, theirs in zip(again.entries, shown.entries, strict=True):
        if compared and not _same(to_json(theirs.rank), to_json(ours.rank)):
            found.wrong(f"{where}: the rank of {ours.model} is not that of the rows")
        for key, cell in ours.cells.items():
            given = to_json(theirs.cells[key])
            for what, value in to_json(cell).items():
                found.numbers += 1
                if not _same(given.get(what), value):
                    about = f"{ours.model} {key} {what}"
                    found.wrong(
                        f"{where}: {about} is {given.get(what)!r}, the scores say {value!r}"
                    )
    if compared and not _same(to_json(shown.pairs), to_json(again.pairs)):
        found.wrong(f"{where}: its pairs are not those of the rows")


def _same(a: Any, b: Any) -> bool:
    """Equal, numbers up to rounding."""
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    return bool(a == b)
