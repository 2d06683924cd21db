"""Recomputes every number of a release from its rows (`reportcard leaderboard verify`).

It needs no data, no weights and no network. It reports files that differ from the manifest, and
numbers that do not follow from their rows. Somebody who alters rows, scores and manifest together
gets another manifest: compare its sha256, which is printed, with the one that was published.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from reportcard.api import Json, ReportCardError
from reportcard.config import paths
from reportcard.core.files import file_digest, read_json
from reportcard.core.layout import Results, RunId
from reportcard.core.records import from_json, to_json
from reportcard.publish.board.boards import Board, Leaderboard
from reportcard.publish.board.build import boards_of
from reportcard.publish.board.comparison import NotComparableError, open_scorer
from reportcard.publish.board.pairwise_matrix import with_pairs
from reportcard.publish.board.ranks import with_ranks
from reportcard.publish.board.skill import with_skill
from reportcard.publish.board.ties import with_ties
from reportcard.publish.page.write import tidy
from reportcard.publish.release.manifest import MANIFEST, RELEASE_VERSION, Manifest
from reportcard.publish.release.reading import is_inside, printable, score_files, walk, why_unsafe
from reportcard.score.rows_file import load_rows
from reportcard.score.score_file import IntervalStats, KeyScore, ScoreFile
from reportcard.score.scorer import Scorer, numbers
from reportcard.score.stats.resampling import Centre, Recipe, Resampler

TOLERANCE = 1e-9  # sums in another order, on another machine
MOST_RESAMPLES = 100_000
SHOWN = 100  # problems that are printed


@dataclass
class Verified:
    """What was found. Without problems, every number follows from its rows."""

    problems: list[str] = field(default_factory=list)
    numbers: int = 0  # recomputed
    files: int = 0
    manifest: str = ""

    def report(self, text: str) -> None:
        """Add a problem."""
        self.problems.append(printable(text))

    @property
    def lines(self) -> list[str]:
        """The lines that the command prints."""
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
    """Check a release. Raises ReportCardError when the folder is not a release."""
    if not (folder / MANIFEST).is_file() or (folder / MANIFEST).is_symlink():
        raise ReportCardError(f"{folder} holds no {MANIFEST}: it is no release.")
    found = Verified()
    files, unsafe = walk(folder)
    found.files = len(files)
    for text in unsafe:
        found.report(text)
    if unsafe:  # then nothing of the release is read
        return found
    found.manifest = file_digest(folder / MANIFEST)
    _guard(found, MANIFEST, lambda: _check_manifest(found, folder, files))
    scorers: dict[tuple[str, str, str], Scorer | str] = {}
    for run, metric in sorted(score_files(files)):
        where = "/".join((run.cohort, run.system, run.protocol, metric))
        check = partial(_check_scores, found, Results(folder), where, run, metric, scorers)
        _guard(found, where, check)
    opened = [scorer for scorer in scorers.values() if isinstance(scorer, Scorer)]
    _guard(found, "leaderboard", lambda: _check_leaderboard(found, folder, opened))
    return found


def _guard(found: Verified, name: str, step: Callable[[], None]) -> None:
    """Run a check; report a file of the wrong form as a problem, so that the checks go on."""
    try:
        step()
    except ReportCardError as error:
        found.report(f"{name}: {error}")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        kind = type(error).__name__
        found.report(f"{name}: not of the form that export writes ({kind}: {error})")
    except (OSError, MemoryError, ArithmeticError) as error:
        found.report(f"{name}: cannot be read ({error})")


def _check_manifest(found: Verified, folder: Path, files: Mapping[str, int]) -> None:
    manifest = Manifest.read(folder)
    if manifest.release != RELEASE_VERSION:
        found.report(f"{MANIFEST}: release format {manifest.release!r}, not {RELEASE_VERSION}")
    for name, file in manifest.files.items():
        if not is_inside(name):
            found.report(f"{MANIFEST} names {name!r}, which is no place inside the release")
        elif name not in files:
            found.report(f"{name} is gone")
        elif file_digest(folder / name) != file.sha256:
            found.report(f"{name} was changed: it is not the file of {MANIFEST}")
    for name in files:
        if name not in manifest.files and name != MANIFEST:
            found.report(f"{name} was added: {MANIFEST} does not list it")


def _check_scores(
    found: Verified,
    release: Results,
    where: str,
    run: RunId,
    metric: str,
    scorers: dict[tuple[str, str, str], Scorer | str],
) -> None:
    """Check the scores of one metric on one run.

    Args:
        found: collects the problems.
        release: the release, which has the layout of a results folder.
        where: how messages name the metric's folder.
        run: the run.
        metric: the label of the metric.
        scorers: the metrics that are open already, or the reason why one cannot be opened.
    """
    folder = release.metric(run, metric)
    saved = from_json(ScoreFile, read_json(folder.scores))
    labels = (saved.cohort, saved.model, saved.protocol, saved.metric)
    if labels != (*run.labels, metric):
        found.report(f"{where}: its scores are of {'/'.join(map(str, labels))}")
        return
    if saved.not_run is not None:
        if any(score.value is not None for score in saved.keys.values()):
            found.report(f"{where}: it was not run and has a value")
        return
    if trouble := why_unsafe(folder.rows):
        found.report(f"{where}/rows.npz: {trouble}")
        return
    if file_digest(folder.rows) != saved.rows_sha256:
        found.report(f"{where}/rows.npz is not the file that its scores name")
    if saved.stats is None or saved.metric_fingerprint is None:
        raise ValueError("no stats, or no metric_fingerprint")
    which = (metric, saved.metric_fingerprint, run.protocol)
    if which not in scorers:
        scorers[which] = _scorer(*which)
    scorer = scorers[which]
    if isinstance(scorer, str):
        found.report(f"{where} cannot be verified: {scorer}")
        return
    _, rows, clusters = load_rows(folder.path)
    if np.isinf(rows).any():
        found.report(f"{where}/rows.npz holds an infinite value")
        return
    stats = saved.stats
    sampler, centre = _sampler(stats, rows.shape[1], clusters)
    if sampler.unit != stats.unit:
        found.report(f"{where}: resampled by {stats.unit}, the rows are by {sampler.unit}")
    again = numbers(scorer.metric, rows, sampler, float(stats.confidence), centre)
    missing = int(np.isnan(rows).any(axis=(0, 2)).sum())
    counted = {"n": rows.shape[1] - missing, "unscored": missing}
    if set(saved.keys) != {f"{metric}.{key}" for key in again}:
        found.report(f"{where}: it has other keys than {metric}")
    for key, values in again.items():
        given: Json = to_json(saved.keys.get(f"{metric}.{key}", KeyScore()))
        for what, value in {**values, **counted}.items():
            found.numbers += 1
            if not _same(given.get(what), value):
                found.report(
                    f"{where}: {key} {what} is {given.get(what)!r}, the rows give {value!r}"
                )


def _scorer(metric: str, fingerprint: str, protocol: str) -> Scorer | str:
    if protocol not in paths.names("protocol"):
        return f"protocol {protocol} is not known here"
    try:
        return open_scorer(metric, fingerprint, protocol)
    except NotComparableError as error:
        return str(error)


def _sampler(stats: IntervalStats, n: int, clusters: Any) -> tuple[Resampler, Centre]:
    """Return the resampler of an interval recipe, and its centre.

    Raises ValueError for values that no run writes. The values come from a foreign file, so their
    types are checked too.
    """
    if type(stats.resamples) is not int or not 1 <= stats.resamples <= MOST_RESAMPLES:
        raise ValueError(f"{stats.resamples!r} resamples")
    recipe, centre = stats.recipe, stats.centre
    if type(stats.seed) is not int or not 0 <= stats.seed < 2**32 or recipe is None:
        raise ValueError(f"seed {stats.seed!r}, recipe {recipe!r}")
    if recipe not in get_args(Recipe):
        raise ValueError(f"seed {stats.seed!r}, recipe {recipe!r}")
    if not 0 < float(stats.confidence) < 1 or centre not in ("point", "median"):
        raise ValueError(f"confidence {stats.confidence!r}, centre {centre!r}")
    # A larger patient number than there are studies would allocate weights for it.
    if clusters is not None and not (clusters.min() >= 0 and clusters.max() < n):
        raise ValueError("clusters are no patient numbers")
    return Resampler(n, stats.resamples, stats.seed, clusters, recipe), centre


def _check_leaderboard(found: Verified, folder: Path, scorers: Sequence[Scorer]) -> None:
    """Build the boards again from the score files, and compare leaderboard.json with them."""
    place = Results(folder).board
    saved = read_json(place.json)
    shown = Leaderboard.from_json(saved)
    boards = {board.id: board for board in shown.boards}
    again = boards_of(folder)
    if set(boards) != {board.id for board in again}:
        found.report("leaderboard.json has other boards than current.json")
    # Comparisons need the rows; rows that are not those scored have been reported already.
    if not found.problems:
        again = with_ties(folder, again, scorers, cached=False)
        again = with_pairs(folder, again, scorers, cached=False)
        again = with_ranks(folder, again, scorers, cached=False)
        again = with_skill(folder, again, scorers, cached=False)
    for board in again:
        if board.id in boards:
            _check_board(found, boards[board.id], board)
    if place.csv.read_bytes() != tidy(shown).encode("utf-8", "backslashreplace"):
        found.report("leaderboard.csv does not say what leaderboard.json says")


def _check_board(found: Verified, shown: Board, again: Board) -> None:
    """Compare a board of leaderboard.json with the one built from the scores."""
    where = f"leaderboard.json {again.id}"
    if shown.primary != again.primary:
        found.report(f"{where}: primary is {shown.primary!r}, not {again.primary!r}")
    if [entry.model for entry in shown.entries] != [entry.model for entry in again.entries]:
        found.report(f"{where}: its rows, or their order, are not those of the scores")
        return
    compared = again.pairs is not None
    for ours, theirs in zip(again.entries, shown.entries, strict=True):
        if compared and not _same(to_json(theirs.rank), to_json(ours.rank)):
            found.report(f"{where}: the rank of {ours.model} is not that of the rows")
        for key, cell in ours.cells.items():
            given = to_json(theirs.cells[key])
            for what, value in to_json(cell).items():
                found.numbers += 1
                if not _same(given.get(what), value):
                    about = f"{ours.model} {key} {what}"
                    found.report(
                        f"{where}: {about} is {given.get(what)!r}, the scores say {value!r}"
                    )
    if compared and not _same(to_json(shown.skill), to_json(again.skill)):
        found.report(f"{where}: its skill is not that of the rows")
    if compared and not _same(to_json(shown.pairs), to_json(again.pairs)):
        found.report(f"{where}: its pairs are not those of the rows")


def _same(a: Any, b: Any) -> bool:
    """Return whether two JSON values are equal, numbers up to rounding."""
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    return bool(a == b)
