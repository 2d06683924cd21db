"""What MLflow is told of a run: names, parameters, metrics and tags. No report text, no mlflow.

Metric keys stand in groups, which MLflow's pages fold: `clinical/f1_chexbert.macro_f1_14` with
`…_ci_low` and `…_ci_high`; keys that are no headline in `clinical/details/`. Parameters are few and
short, so that the compare page shows what differs; everything else is a tag or an artifact.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reportcard.api import Json
from reportcard.config.settings import RunConfig
from reportcard.core.files import digest, read_json
from reportcard.core.layout import predictions_dir, scores_dir
from reportcard.data.cohort import Cohort
from reportcard.predict.system import System
from reportcard.publish.metric_groups import GROUPS, group_of

LAYOUT = 2  # of what is logged; another number makes runs of their own
LONGEST_PARAM = 120  # characters: what a column of the compare page shows
SUFFIXES = {"value": "", "ci_low": "_ci_low", "ci_high": "_ci_high"}


def score_files(config: RunConfig, cohort: Cohort, system: System) -> list[Path]:
    folders = [
        scores_dir(config.results_dir, cohort, system, config.protocol.name, metric.label)
        for metric in config.metrics
    ]
    return [path for f in folders if (path := f / "scores.json").is_file()]


def run_name(config: RunConfig, cohort: Cohort, label: str) -> str:
    """`llava_rad on mimic_cxr_official_test (reportcard)`."""
    return f"{label} on {cohort.name} ({config.protocol.name})"


def identity(config: RunConfig, cohort: Cohort, system: System) -> str:
    """What makes a run the same one, so that it is found again."""
    return digest([LAYOUT, cohort.folder, system.folder, settings(config)])[:16]


def settings(config: RunConfig) -> dict[str, str]:
    stats = config.stats
    return {
        "protocol": config.protocol.name,
        "resamples": str(stats.resamples),
        "seed": "protocol's own" if stats.seed is None else str(stats.seed),
        "confidence": str(stats.confidence),
    }


def params(config: RunConfig, system: System) -> dict[str, str]:
    """Model, settings, and the model's options, without paths: those are this machine's."""
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
    """Values, intervals and bounds by group; studies behind each headline; counts."""
    found: dict[str, float] = {}
    for file in sorted(files, key=lambda f: GROUPS.index(group_of(f))):
        headline = file.get("headline") or list(file["keys"])
        group = group_of(file)
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
    # The page lists them as they come: headlines first, then studies, then details.
    return dict(sorted(found.items(), key=lambda m: ("/details/" in m[0], "studies/" in m[0])))


def cohort_tags(config: RunConfig, cohort: Cohort) -> dict[str, str]:
    return {
        "cohort": cohort.name,
        "cohort.fingerprint": cohort.fingerprint,
        "cohort.data_class": cohort.card.data_class,
        "protocol": config.protocol.name,
    }


def model_tags(config: RunConfig, cohort: Cohort, system: System, files: list[Json]) -> Json:
    keys: Json = {name: entry for file in files for name, entry in file["keys"].items()}
    return {
        "model.fingerprint": system.fingerprint,
        "model.kind": system.adapter.card.kind,
        **cohort_tags(config, cohort),
        **_code(predictions_dir(config.results_dir, cohort, system) / "card.json"),
        **{f"not_run.{f['metric']}": f["not_run"] for f in files if f.get("not_run")},
        **{f"caveat.{k.split('.')[0]}": e["caveat"] for k, e in keys.items() if e.get("caveat")},
    }


def _code(card: Path) -> dict[str, str]:
    """The checkout that the predictions were made with, as their card says."""
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
    """Every key as a table, which MLflow's page shows for `scores.json`."""
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
