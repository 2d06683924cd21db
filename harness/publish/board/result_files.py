"""Which runs there are, and what their score files say: read, checked, refused where damaged."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reportcard.api import Json, ReportCardError
from reportcard.core.files import read_json

RUN_FIELDS = ("cohort", "protocol", "model")
SAFE_NAME = re.compile(r"(?!\.\.?$)[^/\\\0]+")
NUMBERS = ("value", "ci_low", "ci_high", "spread")


@dataclass(frozen=True, order=True)
class Run:
    """A model on a cohort under a protocol, by the names of its folders."""

    cohort: str
    protocol: str
    model: str


def runs(results_dir: Path, everything: bool = False) -> list[Run]:
    """Sorted; everything: every score folder on disk, not only what `current.json` lists."""
    listed = results_dir / "current.json"
    if everything or not listed.is_file():
        return sorted(set(_on_disk(results_dir)))
    return sorted(set(_listed(listed)))


def _on_disk(results_dir: Path) -> Iterator[Run]:
    for path in (results_dir / "scores").glob("*/*/*/*/scores.json"):
        cohort, model, protocol, _, _ = path.parts[-5:]
        yield Run(cohort, protocol, model)


def _listed(path: Path) -> Iterator[Run]:
    runs = read_json(path).get("runs")
    if not isinstance(runs, list):
        raise ReportCardError(f"{path}: no list 'runs'. Delete it to show every run on disk.")
    for run in runs:
        names = [run.get(k) if isinstance(run, dict) else None for k in RUN_FIELDS]
        # A name becomes part of a path: it must not lead out of the results folder.
        safe = [n for n in names if isinstance(n, str) and SAFE_NAME.fullmatch(n)]
        if len(safe) < len(RUN_FIELDS):
            raise ReportCardError(f"{path}: not a run: {run}. Run: reportcard score")
        yield Run(*safe)


def score_files(results_dir: Path, cohort: str, model: str, protocol: str) -> dict[str, Json]:
    """Metric label → content of scores.json, in the order of the labels."""
    folder = results_dir / "scores" / cohort / model / protocol
    return {
        path.parent.name: _score_file(path, cohort, model)
        for path in sorted(folder.glob("*/scores.json"))
    }


def _score_file(path: Path, cohort: str, model: str) -> Json:
    saved = read_json(path)
    try:
        for kind, folder in (("cohort", cohort), ("model", model)):
            if f"{saved[kind]}@{saved[f'{kind}_fingerprint'][:8]}" != folder:
                raise ValueError(f"it belongs to another {kind}")
        for key, entry in saved["keys"].items():
            for name in NUMBERS:
                number = entry.get(name)
                if not (number is None or _is_finite(number)):
                    raise ValueError(f"{key}.{name} is not a finite number")
            if "not_run" not in saved:
                _require(entry, ("value", "n", "unscored", "direction", "signature"), key)
        if "not_run" not in saved:
            _require(saved, ("metric_fingerprint", "rows_sha256", "stats", "counts"), "the file")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ReportCardError(
            f"{path} is damaged ({what}). Delete it and run: reportcard score"
        ) from None
    return saved


def _is_finite(number: Any) -> bool:
    return (
        isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
    )


def _require(value: Json, names: Iterable[str], where: str) -> None:
    for name in names:
        if name not in value:
            raise ValueError(f"{where} has no {name}")
