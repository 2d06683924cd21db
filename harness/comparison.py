"""`reportcard compare A B`: is the difference between two systems more than chance?"""

from __future__ import annotations

from dataclasses import dataclass

from harness.api import ReportCardError
from harness.cohort import Cohort
from harness.predict import System
from harness.registry import did_you_mean
from harness.score import Scorer
from harness.scoring import Scoring, load_rows, scores_dir
from harness.settings import RunConfig
from harness.stats import Difference, compare, holm
from harness.store import read_json


@dataclass(frozen=True, slots=True)
class Row:
    """One key: both scores, the paired difference A − B, and its p-value raw and adjusted."""

    key: str
    direction: str
    a: float
    b: float
    difference: Difference
    p_holm: float


def compare_systems(
    config: RunConfig,
    cohort: Cohort,
    pair: tuple[System, System],
    scorers: list[Scorer],
    only: str | None = None,
    trials: int = 10_000,
) -> list[Row]:
    """Paired bootstrap interval and approximate randomisation per key; Holm over the keys shown.

    only: restrict the family to one key (`bleu.bleu_4`) or one metric (`bleu`). Raises
    ReportCardError when a system has no scores here, or no key has that name.
    """
    scoring = Scoring(config.results_dir, cohort, config.protocol, config.stats, scorers)
    found: list[tuple[str, str, float, float, Difference]] = []
    every: list[str] = []
    for scorer in scorers:
        folders = [
            scores_dir(config.results_dir, cohort, s, config.protocol.name, scorer.label)
            for s in pair
        ]
        for system, folder in zip(pair, folders, strict=True):
            if not (folder / "scores.json").is_file():
                raise ReportCardError(
                    f"{system.label} has no {scorer.label} scores on {cohort.folder}. Run:"
                    f" reportcard run model={pair[0].label},{pair[1].label} with the same settings"
                )
        names = [f"{scorer.label}.{key}" for key in scorer.metric.spec.keys]
        every += names
        if only not in (None, scorer.label, *names):
            continue
        saved = [read_json(folder / "scores.json") for folder in folders]
        if any("not_run" in file for file in saved):
            reason = next(file["not_run"] for file in saved if "not_run" in file)
            if only is not None:
                raise ReportCardError(f"{scorer.label} was not run: {reason}")
            continue
        (ids_a, a), (ids_b, b) = (load_rows(folder) for folder in folders)
        if ids_a != ids_b:
            raise ReportCardError(f"{folders[0]} and {folders[1]} hold different studies.")
        tests = compare(
            a, b, scorer.metric.scores, scoring.setting.resampler(scorer, scoring.patients), trials
        )
        for key, spec in scorer.metric.spec.keys.items():
            name = f"{scorer.label}.{key}"
            if only in (None, scorer.label, name):
                values = [file["keys"][name]["value"] for file in saved]
                found.append((name, spec.direction, values[0], values[1], tests[key]))
    if not found:
        raise ReportCardError(f"No key '{only}'.{did_you_mean(only or '', every)}")
    adjusted = holm([test.p for *_, test in found])
    return [Row(*row, p) for row, p in zip(found, adjusted, strict=True)]
