"""Finds the runs that the leaderboard shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from reportcard.api import ReportCardError
from reportcard.core.files import read_json
from reportcard.core.layout import Results, RunId

SAFE_NAME = re.compile(r"(?!\.\.?$)[^/\\\0]+")


def runs(results_dir: Path, everything: bool = False) -> list[RunId]:
    """Return the runs that `current.json` lists, sorted; without that file, all on disk.

    everything: every run on disk, not only what `current.json` lists. Raises ReportCardError for
    an entry of `current.json` that names no folder.
    """
    results = Results(results_dir)
    if everything or not results.current.is_file():
        found = {run for run, _ in results.score_folders()}
    else:
        found = set(_listed(results.current))
    return sorted(found, key=lambda run: (run.cohort, run.protocol, run.system))


def _listed(path: Path) -> Iterator[RunId]:
    listed = read_json(path).get("runs")
    if not isinstance(listed, list):
        raise ReportCardError(f"{path}: no list 'runs'. Delete it to show every run on disk.")
    for entry in listed:
        try:
            run = RunId.of_json(entry)
            names = (run.cohort, run.system, run.protocol)
            # A name becomes part of a path: it must not lead out of the results folder.
            safe = all(isinstance(name, str) and SAFE_NAME.fullmatch(name) for name in names)
        except (KeyError, TypeError):
            safe = False
        if not safe:
            raise ReportCardError(f"{path}: not a run: {entry}. Run: reportcard score")
        yield run
