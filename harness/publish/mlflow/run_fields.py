"""Builds the names, parameters, metrics and tags of a run in MLflow, without any report text.

Metric keys begin with a group, which MLflow's pages fold: `clinical/f1_chexbert.macro_f1_14` with
`…_ci_low` and `…_ci_high`. Keys that are no headline are in `clinical/details/`. Parameters are few
and short, so that MLflow's compare page shows what differs; the rest are tags and artifacts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reportcard.api import Json
from reportcard.config.settings import RunConfig
from reportcard.core.console import unreliable_lines
from reportcard.core.files import digest, read_json
from reportcard.core.layout import Results, RunId
from reportcard.core.records import from_json, to_json
from reportcard.data.cohort import Cohort
from reportcard.predict.system import System
from reportcard.publish.board.metric_group import group_of
from reportcard.score.score_file import ScoreFile

# In the order in which MLflow's pages show them.
GROUPS = ("clinical", "judged", "grounding", "lexical", "other")
LAYOUT = 2  # version of what is logged; with another number everything is logged as new runs
LONGEST_PARAM = 120  # characters: what a column of the compare page shows
COLUMNS = (
    *("key", "value", "ci_low", "ci_high", "n", "unscored", "bounds", "direction"),
    *("caveat", "doubt", "signature"),
)


@dataclass(frozen=True, slots=True)
class GitState:
    """The commit of a checkout; `dirty`: it has changes that are not committed."""

    commit: str | None = None
    dirty: bool | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """The part of a card's environment that is logged."""

    git: GitState | None = None


@dataclass(frozen=True, slots=True)
class PredictionCard:
    """The part of card.json that is logged."""

    environment: Environment | None = None


def score_files(config: RunConfig, cohort: Cohort, system: System) -> list[Path]:
    """Return the score files of a system that exist, one per metric."""
    run = RunId(cohort.folder, system.folder, config.protocol.name)
    results = Results(config.results_dir)
    paths = [results.metric(run, metric.label).scores for metric in config.metrics]
    return [path for path in paths if path.is_file()]


def read_scores(config: RunConfig, cohort: Cohort, system: System) -> list[ScoreFile]:
    """Read the score files of a system."""
    return [ScoreFile.read(path) for path in score_files(config, cohort, system)]


def run_name(config: RunConfig, cohort: Cohort, label: str) -> str:
    """Return a name such as `llava_rad on mimic_cxr_official_test (reportcard)`."""
    return f"{label} on {cohort.name} ({config.protocol.name})"


def identity(config: RunConfig, cohort: Cohort, system: System) -> str:
    """Return a digest that stays the same for the same run, so that it is found again."""
    return digest([LAYOUT, cohort.folder, system.folder, settings(config)])[:16]


def settings(config: RunConfig) -> dict[str, str]:
    """Return the protocol and the interval settings."""
    stats = config.stats
    return {
        "protocol": config.protocol.name,
        "resamples": str(stats.resamples),
        "seed": "protocol's own" if stats.seed is None else str(stats.seed),
        "confidence": str(stats.confidence),
    }


def params(config: RunConfig, system: System) -> dict[str, str]:
    """Return model, settings and the model's options, except paths, which differ by machine."""
    card = system.adapter.card
    options = {
        f"option.{name}": str(value)
        for name, value in _flat(system.plugin.options).items()
        if value is not None and "/" not in str(value) and len(str(value)) <= LONGEST_PARAM
    }
    return {
        "model": system.label,
        "kind": card.kind,
        "inputs": ", ".join(card.inputs) or "none",
        "draws": str(card.draws),
        **settings(config),
        **options,
    }


def metrics(files: Sequence[ScoreFile]) -> dict[str, float]:
    """Return values, intervals and bounds by group, studies per headline, and counts."""
    found: dict[str, float | None] = {}
    for file in sorted(files, key=place_of):
        group = group_of(file.metric, file.protocol)
        for name, score in file.keys.items():
            headline = name in file.headline_keys
            key = f"{group}/{name}" if headline else f"{group}/details/{name}"
            low, high = score.bounds or (None, None)
            found |= {
                key: score.value,
                f"{key}_ci_low": score.ci_low,
                f"{key}_ci_high": score.ci_high,
                f"{key}_bound_low": low,
                f"{key}_bound_high": high,
            }
            if headline:
                found |= {
                    f"studies/{name}_n": score.n,
                    f"studies/{name}_unscored": score.unscored,
                }
    counts = files[0].counts if files else {}
    found |= {f"studies/{name}": value for name, value in counts.items()}
    known = ((name, value) for name, value in found.items() if value is not None)
    # MLflow's page keeps this order: headlines first, then studies, then details.
    return dict(sorted(known, key=lambda m: ("/details/" in m[0], "studies/" in m[0])))


def place_of(file: ScoreFile) -> int:
    """Return the place of a score file's group among GROUPS."""
    return GROUPS.index(group_of(file.metric, file.protocol))


def cohort_tags(config: RunConfig, cohort: Cohort) -> dict[str, str]:
    """Return the tags of every run on a cohort."""
    return {
        "cohort": cohort.name,
        "cohort.fingerprint": cohort.fingerprint,
        "cohort.data_class": cohort.card.data_class,
        "protocol": config.protocol.name,
    }


def model_tags(
    config: RunConfig, cohort: Cohort, system: System, files: Sequence[ScoreFile]
) -> dict[str, str]:
    """Return the tags of a system's run: fingerprints, code, caveats, and metrics not run.

    Args:
        config: the configuration of the run.
        cohort: the cohort that the system answered.
        system: the system.
        files: its score files.
    """
    keys = [(name.partition(".")[0], score) for file in files for name, score in file.keys.items()]
    return {
        "model.fingerprint": system.fingerprint,
        "model.kind": system.adapter.card.kind,
        **cohort_tags(config, cohort),
        **_code(Results(config.results_dir).predictions(cohort.folder, system.folder).card),
        **{f"not_run.{file.metric}": file.not_run for file in files if file.not_run},
        **{f"caveat.{metric}": score.caveat for metric, score in keys if score.caveat},
        **_unreliable(files),
    }


def _unreliable(files: Sequence[ScoreFile]) -> dict[str, str]:
    """Return a tag per metric that names the headline keys with an unreliable interval, and why."""
    found = {}
    for file in files:
        lines = unreliable_lines(
            (key, score.doubt) for key, score in file.keys.items() if key in file.headline_keys
        )
        if lines:
            found[f"unreliable_interval.{file.metric}"] = "; ".join(lines)
    return found


def _code(path: Path) -> dict[str, str]:
    """Return the commit that the predictions were made with, as their card records it."""
    try:
        card = from_json(PredictionCard, read_json(path) if path.is_file() else {})
    except ValueError:  # the environment of another version of ReportCard
        return {}
    git = card.environment.git if card.environment else None
    if git is None or not git.commit:
        return {}
    dirty = " (with changes)" if git.dirty else ""
    return {"git.commit": f"{git.commit}{dirty}", "mlflow.source.git.commit": git.commit}


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def score_table(files: Sequence[ScoreFile]) -> Json:
    """Return every key as a table, which MLflow's page shows for `scores.json`."""
    saved = {name: to_json(score) for file in files for name, score in file.keys.items()}
    rows = [[name, *(score.get(c) for c in COLUMNS[1:])] for name, score in saved.items()]
    return {"columns": list(COLUMNS), "data": rows}
