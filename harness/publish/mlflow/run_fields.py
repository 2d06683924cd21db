"""Builds the names, parameters, metrics and tags of a run in MLflow, without any report text.

Metric keys begin with a group, which MLflow's pages fold: `clinical/f1_chexbert.macro_f1_14` with
`…_ci_low` and `…_ci_high`. Keys that are no headline are in `clinical/details/`. Parameters are few
and short, so that MLflow's compare page shows what differs; the rest are tags and artifacts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reportcard.api import Json
from reportcard.config.settings import RunConfig
from reportcard.core.files import digest, read_json
from reportcard.core.layout import Results, RunId
from reportcard.data.cohort import Cohort
from reportcard.predict.system import System
from reportcard.publish.board.metric_group import group_of

# In the order in which MLflow's pages show them.
GROUPS = ("clinical", "judged", "grounding", "lexical", "other")
LAYOUT = 2  # version of what is logged; with another number everything is logged as new runs
LONGEST_PARAM = 120  # characters: what a column of the compare page shows
SUFFIXES = {"value": "", "ci_low": "_ci_low", "ci_high": "_ci_high"}


def score_files(config: RunConfig, cohort: Cohort, system: System) -> list[Path]:
    """Return the score files of a system that exist, one per metric."""
    run = RunId(cohort.folder, system.folder, config.protocol.name)
    results = Results(config.results_dir)
    paths = [results.metric(run, metric.label).scores for metric in config.metrics]
    return [path for path in paths if path.is_file()]


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


def metrics(files: list[Json]) -> dict[str, float]:
    """Return values, intervals and bounds by group, studies per headline, and counts."""
    found: dict[str, float] = {}
    for file in sorted(files, key=place_of):
        headline = file.get("headline") or list(file["keys"])
        group = group_of(file["metric"], file["protocol"])
        for name, entry in file["keys"].items():
            key = f"{group}/{name}" if name in headline else f"{group}/details/{name}"
            found |= {
                key + suffix: entry[field]
                for field, suffix in SUFFIXES.items()
                if entry.get(field) is not None
            }
            bounds = zip(("low", "high"), entry.get("bounds") or (), strict=False)
            found |= {f"{key}_bound_{end}": b for end, b in bounds if b is not None}
            if name in headline:
                found |= {
                    f"studies/{name}_{field}": entry[field]
                    for field in ("n", "unscored")
                    if entry.get(field) is not None
                }
    counts = files[0]["counts"] if files else {}
    found |= {f"studies/{name}": value for name, value in counts.items()}
    # MLflow's page keeps this order: headlines first, then studies, then details.
    return dict(sorted(found.items(), key=lambda m: ("/details/" in m[0], "studies/" in m[0])))


def place_of(file: Json) -> int:
    """Return the place of a score file's group among GROUPS."""
    return GROUPS.index(group_of(file["metric"], file["protocol"]))


def cohort_tags(config: RunConfig, cohort: Cohort) -> dict[str, str]:
    """Return the tags of every run on a cohort."""
    return {
        "cohort": cohort.name,
        "cohort.fingerprint": cohort.fingerprint,
        "cohort.data_class": cohort.card.data_class,
        "protocol": config.protocol.name,
    }


def model_tags(config: RunConfig, cohort: Cohort, system: System, files: list[Json]) -> Json:
    """Return the tags of a system's run: fingerprints, code, caveats, and metrics not run."""
    keys: Json = {name: entry for file in files for name, entry in file["keys"].items()}
    return {
        "model.fingerprint": system.fingerprint,
        "model.kind": system.adapter.card.kind,
        **cohort_tags(config, cohort),
        **_code(Results(config.results_dir).predictions(cohort.folder, system.folder).card),
        **{f"not_run.{f['metric']}": f["not_run"] for f in files if f.get("not_run")},
        **{f"caveat.{k.split('.')[0]}": e["caveat"] for k, e in keys.items() if e.get("caveat")},
    }


def _code(card: Path) -> dict[str, str]:
    """Return the commit that the predictions were made with, as their card records it."""
    git = (read_json(card).get("environment") or {}).get("git") if card.is_file() else None
    if not isinstance(git, dict) or not git.get("commit"):
        return {}
    dirty = " (with changes)" if git.get("dirty") else ""
    return {"git.commit": f"{git['commit']}{dirty}", "mlflow.source.git.commit": git["commit"]}


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def score_table(files: list[Json]) -> Json:
    """Return every key as a table, which MLflow's page shows for `scores.json`."""
    columns = [
        *("key", "value", "ci_low", "ci_high", "n", "unscored", "bounds", "direction"),
        *("caveat", "signature"),
    ]
    rows = [
        [name, *(entry.get(column) for column in columns[1:])]
        for file in files
        for name, entry in file["keys"].items()
    ]
    return {"columns": columns, "data": rows}
