"""An MLflow client that updates runs and traces in place: each is found again by its tag."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

from reportcard.api import Json
from reportcard.config.settings import RunConfig
from reportcard.core.files import digest, read_json
from reportcard.core.layout import predictions_dir
from reportcard.data.cohort import Cohort
from reportcard.predict.system import System
from reportcard.publish.mlflow import run_fields as told
from reportcard.publish.mlflow.description import child_note, parent_note
from reportcard.publish.mlflow.examples import Evidence, Trace
from reportcard.publish.mlflow.forest_plot import forest
from reportcard.publish.mlflow.links import Places, run_path

for _name in ("mlflow", "alembic"):  # they set their own level when imported
    logging.getLogger(_name).setLevel(logging.ERROR)

RUN_TAG, PARENT_TAG, TRACE_TAG = "reportcard.run", "reportcard.invocation", "reportcard.trace"
NOTE = "mlflow.note.content"
PAGE, FOREST = "leaderboard/index.html", "leaderboard/forest.svg"


class Store:
    """One store and one configuration."""

    def __init__(self, uri: str, config: RunConfig) -> None:
        self.config, self.uri = config, uri
        self.local = uri.startswith("sqlite:")
        if self.local:
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self.client: Any = mlflow.MlflowClient(uri)

    def log_board(
        self, cohort: Cohort, systems: Sequence[System], artifacts: Sequence[Path]
    ) -> Places:
        """Where each run of the board is found."""
        config = self.config
        experiment = self._experiment(cohort.folder)
        labels = [system.label for system in systems]
        invocation = {
            "suite": config.suite,
            "models": ", ".join(labels),
            "metrics": ", ".join(metric.label for metric in config.metrics),
            **told.settings(config),
        }
        name = told.run_name(config, cohort, f"{len(labels)} models")
        known = digest([told.LAYOUT, cohort.folder, invocation])[:16]
        parent = self._run(experiment, PARENT_TAG, known, name, {})
        place = {"experiment": experiment, "run": parent}
        links = {"Leaderboard": run_path(place, PAGE)}
        board = _board(artifacts, f"{cohort.folder}/{config.protocol.name}")
        if board is not None:
            self.client.log_text(parent, forest(board), FOREST)
            links["Forest plot"] = run_path(place, FOREST)
        for path in artifacts:
            self.client.log_artifact(parent, str(path), "leaderboard")
        tags = {**told.cohort_tags(config, cohort), NOTE: parent_note(name, labels, links)}
        self._write(parent, invocation, {}, tags)
        self.client.log_dict(parent, cohort.summary() | {"studies": None}, "cohort.json")
        self.client.set_terminated(parent)
        evidence = Evidence(config, cohort)
        prefix = f"{cohort.folder}/{config.protocol.name}"
        return {
            f"{prefix}/{system.folder}": {
                "experiment": experiment,
                "run": self._log_model(experiment, parent, cohort, system, evidence, links),
            }
            for system in systems
        }

    def _log_model(
        self,
        experiment: str,
        parent: str,
        cohort: Cohort,
        system: System,
        evidence: Evidence,
        links: Mapping[str, str],
    ) -> str:
        config = self.config
        files = [read_json(path) for path in told.score_files(config, cohort, system)]
        name = told.run_name(config, cohort, system.label)
        known = told.identity(config, cohort, system)
        run = self._run(experiment, RUN_TAG, known, name, {"mlflow.parentRunId": parent})
        place = {"experiment": experiment, "run": run}
        tables = {"scores.json": told.score_table(files)}
        if predictions := evidence.predictions(system):
            tables["predictions.json"] = predictions
        traces = evidence.traces(system)
        here = {"All scores": run_path(place, "scores.json")}
        if predictions:
            here["Predictions"] = run_path(place, "predictions.json")
        if traces:
            here["Judged pairs"] = f"{run_path(place)}/traces"
        about = [f"Trained on: {', '.join(t)}"] if (t := system.adapter.card.trained_on) else []
        tags = {
            **told.model_tags(config, cohort, system, files),
            NOTE: child_note(name, files, {**links, **here}, about),
            # Makes MLflow's page show these files as tables.
            "mlflow.loggedArtifacts": json.dumps([{"path": p, "type": "table"} for p in tables]),
        }
        self._write(run, told.params(config, system), told.metrics(files), tags)
        self._input(run, cohort)
        for path, table in tables.items():
            self.client.log_dict(run, table, path)
        folder = predictions_dir(config.results_dir, cohort, system)
        self.client.log_artifact(run, str(folder / "card.json"))
        self._log_traces(experiment, run, known, traces)
        self.client.set_terminated(run)
        return run

    def _input(self, run: str, cohort: Cohort) -> None:
        data = Dataset(
            name=cohort.name,
            digest=cohort.fingerprint[:8],
            source_type="reportcard",
            source=json.dumps({"cohort": cohort.folder, "dataset": cohort.card.title}),
            profile=json.dumps({"studies": len(cohort.test), "images": cohort.n_images()}),
        )
        context = InputTag("mlflow.data.context", "evaluation")
        self.client.log_inputs(run, [DatasetInput(data, [context])])

    def _log_traces(
        self, experiment: str, run: str, identity: str, traces: Sequence[Trace]
    ) -> None:
        """Those that are not there yet; what the run tells no more is deleted."""
        if not traces:
            return
        wanted = {trace.key: trace for trace in traces}
        there = self.client.search_traces(
            locations=[experiment],
            filter_string=f"tags.`{RUN_TAG}` = '{identity}'",
            max_results=500,
            include_spans=False,
        )
        old = [t.info for t in there if t.info.tags.get(TRACE_TAG) not in wanted]
        if old:
            self.client.delete_traces(experiment, trace_ids=[info.trace_id for info in old])
        known = {t.info.tags.get(TRACE_TAG) for t in there}
        with _spans_to(self.uri):
            for key, trace in wanted.items():
                if key not in known:
                    tags = {RUN_TAG: identity, TRACE_TAG: key, "judge": trace.judge}
                    _write_trace(experiment, run, trace, tags)

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
        # Step and time are fixed: writing the same value again changes nothing.
        values = [Metric(key, float(value), 0, 0) for key, value in metrics.items()]
        for start in range(0, len(values), 500):
            self.client.log_batch(run, metrics=values[start : start + 500])
        # A parameter cannot be changed in MLflow; what does not decide a run's identity may.
        there = self.client.get_run(run).data.params
        fresh = [Param(k, str(v)[:6000]) for k, v in params.items() if k not in there]
        moved = {f"now.{k}": str(v) for k, v in params.items() if there.get(k, str(v)) != str(v)}
        every = {**tags, **moved}
        self.client.log_batch(
            run, params=fresh, tags=[RunTag(key, str(text)[:7900]) for key, text in every.items()]
        )


def _board(artifacts: Sequence[Path], name: str) -> Json | None:
    """The leaderboard's own board, out of its JSON file."""
    files = [path for path in artifacts if path.name == "leaderboard.json"]
    boards = [board for path in files for board in read_json(path)["boards"]]
    return next((board for board in boards if board["id"] == name), None)


@contextmanager
def _spans_to(uri: str) -> Iterator[None]:
    """Spans go where the whole process logs, so that is set for a moment; setting it writes the
    environment variable too."""
    variable = "MLFLOW_TRACKING_URI"
    before = os.environ.get(variable)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type, unused-ignore]
        if before is not None:
            os.environ[variable] = before


def _write_trace(experiment: str, run: str, trace: Trace, tags: Mapping[str, str]) -> None:
    """A pair as a trace, a question as a span. Durations are the endpoint's, one after another."""
    begin = time.time_ns() - int(1e9 * sum(step.seconds for step in trace.steps))
    root = mlflow.start_span_no_context(
        trace.name,
        span_type="EVALUATOR",
        inputs=trace.inputs,
        tags=dict(tags),
        metadata={"mlflow.sourceRun": run},
        experiment_id=experiment,
        start_time_ns=begin,
    )
    now = begin
    for step in trace.steps:
        span = mlflow.start_span_no_context(
            step.name,
            span_type="CHAT_MODEL",
            parent_span=root,
            inputs=step.inputs,
            start_time_ns=now,
        )
        if step.tokens:
            used, made = step.tokens
            usage = {"input_tokens": used, "output_tokens": made, "total_tokens": used + made}
            span.set_attribute("mlflow.chat.tokenUsage", usage)
        now += int(1e9 * step.seconds)
        span.end(outputs=step.outputs, end_time_ns=now)
    root.end(outputs=trace.outputs, end_time_ns=now)
