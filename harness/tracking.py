"""MLflow as a view of the files: experiment per cohort, parent run per invocation, child per model.

Nothing is read back from MLflow, and its failure never fails a run. What has been logged is noted
in `results/tracking.json`, so an unchanged run does not even import mlflow (six seconds).
Only scores, counts, settings and fingerprints are logged; report text is not.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.api import Json, ReportCardError
from harness.cohort import Cohort
from harness.predict import System, predictions_dir
from harness.scoring import scores_dir
from harness.settings import RunConfig
from harness.store import digest, file_digest, read_json, write_json

Say = Callable[[str], None]
Board = tuple[Cohort, Sequence[System]]
RUN_TAG, PARENT_TAG = "reportcard.run", "reportcard.invocation"
# Quick to give up on a server that is away, quiet, and without usage reports.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "GIT_PYTHON_REFRESH": "quiet",
}


def tracking_uri(config: RunConfig) -> str:
    """The configured store, else MLFLOW_TRACKING_URI, else a SQLite file in results_dir."""
    default = f"sqlite:///{(config.results_dir / 'mlflow.db').resolve()}"
    return config.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or default


def log(config: RunConfig, boards: Sequence[Board], artifacts: Sequence[Path], say: Say) -> bool:
    """Log everything that is not logged yet. Returns whether the store is up to date."""
    if not config.track:
        return False
    uri = tracking_uri(config)
    wanted = {f"{uri} {cohort.folder}": _digest(config, cohort, systems, artifacts)
              for cohort, systems in boards}  # fmt: skip
    memory = config.results_dir / "tracking.json"
    lost = uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file()
    try:
        known = {} if lost else read_json(memory)
    except ReportCardError:  # absent or damaged: everything is logged again, in place
        known = {}
    if all(known.get(place) == value for place, value in wanted.items()):
        return True
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        store = _Store(uri, config)
        for cohort, systems in boards:
            store.log_board(cohort, systems, artifacts)
    except ImportError:
        say("MLflow is not installed, nothing logged: pip install 'cxr-reportcard[mlflow]'")
        return False
    except Exception as error:
        # Whatever a tracking server does, the run is complete and its files are written.
        reason = " ".join(str(error).split())[:300]
        say(f"Warning: MLflow at {uri} could not be written ({type(error).__name__}: {reason}).")
        say("  The run is complete in its files; the same command logs it when the server is back.")
        return False
    write_json(memory, {**known, **wanted})
    return True


def _digest(
    config: RunConfig, cohort: Cohort, systems: Sequence[System], artifacts: Sequence[Path]
) -> str:
    files = [path for system in systems for path in _score_files(config, cohort, system)]
    return digest([file_digest(path) for path in [*files, *artifacts]])


def _score_files(config: RunConfig, cohort: Cohort, system: System) -> list[Path]:
    folders = [
        scores_dir(config.results_dir, cohort, system, config.protocol.name, metric.label)
        for metric in config.metrics
    ]
    return [path for f in folders if (path := f / "scores.json").is_file()]


class _Store:
    """An MLflow client that updates runs in place: the same run is found again by its tag."""

    def __init__(self, uri: str, config: RunConfig) -> None:
        import mlflow

        for name in ("mlflow", "alembic"):  # they set their own level when imported
            logging.getLogger(name).setLevel(logging.ERROR)
        self.config = config
        self.local = uri.startswith("sqlite:")
        if self.local:
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self.client: Any = mlflow.MlflowClient(uri)

    def log_board(
        self, cohort: Cohort, systems: Sequence[System], artifacts: Sequence[Path]
    ) -> None:
        config = self.config
        experiment = self._experiment(cohort.folder)
        labels = [system.label for system in systems]
        invocation = {
            "suite": config.suite,
            "models": ", ".join(labels),
            "metrics": ", ".join(metric.label for metric in config.metrics),
            **self._settings(),
        }
        parent = self._run(
            experiment,
            PARENT_TAG,
            digest([cohort.folder, invocation])[:16],
            f"{len(labels)} models, {config.protocol.name}",
            {},
        )
        self._write(parent, invocation, {}, self._cohort_tags(cohort))
        for path in artifacts:
            self.client.log_artifact(parent, str(path), "leaderboard")
        self.client.log_dict(parent, cohort.summary() | {"studies": None}, "cohort.json")
        self.client.set_terminated(parent)
        for system in systems:
            self._log_model(experiment, parent, cohort, system)

    def _log_model(self, experiment: str, parent: str, cohort: Cohort, system: System) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        files = [read_json(path) for path in _score_files(self.config, cohort, system)]
        keys: Json = {name: entry for file in files for name, entry in file["keys"].items()}
        counts = files[0]["counts"] if files else {}
        settings = self._settings()
        identity = digest([cohort.folder, system.folder, settings])[:16]
        run = self._run(experiment, RUN_TAG, identity, system.label, {"mlflow.parentRunId": parent})
        params = {
            "model": system.label,
            **{f"model.{k}": v for k, v in _flat(system.plugin.options).items()},
            **settings,
        }
        metrics = {
            name + suffix: entry[field]
            for name, entry in keys.items()
            for suffix, field in (
                ("", "value"),
                (".ci_low", "ci_low"),
                (".ci_high", "ci_high"),
                (".n", "n"),
                (".unscored", "unscored"),
            )
            if entry.get(field) is not None
        }
        metrics |= {
            f"{name}.bound_{end}": bound
            for name, entry in keys.items()
            for end, bound in zip(("low", "high"), entry.get("bounds", ()), strict=False)
            if bound is not None
        }
        metrics |= {f"count.{name}": value for name, value in counts.items()}
        card = system.adapter.card
        tags = {
            "model.fingerprint": system.fingerprint,
            "model.kind": card.kind,
            **self._cohort_tags(cohort),
            **{f"not_run.{k}": e["not_run"] for k, e in keys.items() if e.get("not_run")},
            **{f"caveat.{k.split('.')[0]}": e["caveat"] for k, e in keys.items() if "caveat" in e},
            # Makes MLflow's page show the file as a table.
            "mlflow.loggedArtifacts": json.dumps([{"path": "scores.json", "type": "table"}]),
        }
        self._write(run, params, metrics, tags)
        data = Dataset(
            name=cohort.name,
            digest=cohort.fingerprint[:8],
            source_type="reportcard",
            source=json.dumps({"cohort": cohort.folder, "dataset": cohort.card.title}),
            profile=json.dumps({"studies": len(cohort.test), "images": cohort.n_images()}),
        )
        context = InputTag("mlflow.data.context", "evaluation")
        self.client.log_inputs(run, [DatasetInput(data, [context])])
        self.client.log_dict(run, _table(keys), "scores.json")
        folder = predictions_dir(self.config.results_dir, cohort, system)
        self.client.log_artifact(run, str(folder / "card.json"))
        self.client.set_terminated(run)

    def _settings(self) -> dict[str, str]:
        stats = self.config.stats
        return {
            "protocol": self.config.protocol.name,
            "resamples": str(stats.resamples),
            "seed": str(stats.seed),
            "confidence": str(stats.confidence),
        }

    @staticmethod
    def _cohort_tags(cohort: Cohort) -> dict[str, str]:
        return {
            "cohort": cohort.name,
            "cohort.fingerprint": cohort.fingerprint,
            "cohort.data_class": cohort.card.data_class,
        }

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        # A server decides itself where artifacts go; a local file store keeps them beside it.
        place = (self.config.results_dir / "mlartifacts").resolve().as_uri() if self.local else None
        location = f"{place}/{name}" if place else None
        # Opens on the table of runs; without it MLflow's page opens on charts of LLM traces.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(self.client.create_experiment(name, artifact_location=location, tags=tags))

    def _run(
        self, experiment: str, tag: str, value: str, name: str, tags: Mapping[str, str]
    ) -> str:
        """The run that carries tag=value: found again, or made."""
        found = self.client.search_runs([experiment], f"tags.`{tag}` = '{value}'", max_results=1)
        if found:
            run = str(found[0].info.run_id)
            for key, text in tags.items():
                self.client.set_tag(run, key, text)
            return run
        made = self.client.create_run(experiment, run_name=name, tags={tag: value, **tags})
        return str(made.info.run_id)

    def _write(
        self,
        run: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        # Step and time are fixed: writing the same value again changes nothing.
        values = [Metric(key, float(value), 0, 0) for key, value in metrics.items()]
        for start in range(0, len(values), 500):
            self.client.log_batch(run, metrics=values[start : start + 500])
        self.client.log_batch(
            run,
            params=[Param(key, str(value)[:6000]) for key, value in params.items()],
            tags=[RunTag(key, value[:5000]) for key, value in tags.items()],
        )


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _table(keys: Json) -> Json:
    columns = [
        *("key", "value", "ci_low", "ci_high", "n", "unscored", "bounds", "direction"),
        *("caveat", "signature"),
    ]
    rows = [[name, *(entry.get(c) for c in columns[1:])] for name, entry in keys.items()]
    return {"columns": columns, "data": rows}


def serve(config: RunConfig, port: int, say: Say) -> int:
    """Serve the local store's pages on 127.0.0.1 until interrupted."""
    uri = tracking_uri(config)
    if not uri.startswith("sqlite:"):
        raise ReportCardError(f"The runs are on the server {uri}; open that in a browser.")
    if not Path(uri.removeprefix("sqlite:///")).is_file():
        raise ReportCardError(f"No runs at {uri} yet. Run: make benchmark")
    # One worker and no job runner: the default server takes ten processes and 2.5 GB.
    environment = {**os.environ, **ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    say(f"MLflow on http://127.0.0.1:{port} (Ctrl-C ends it)")
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603
