"""Writes runs and traces to MLflow. Each is found again by its tag and updated in place."""

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

from reportcard.config.settings import RunConfig
from reportcard.core.files import digest
from reportcard.core.layout import Results
from reportcard.core.records import to_json
from reportcard.data.cohort import Cohort
from reportcard.predict.system import System
from reportcard.publish.board.boards import Board, Leaderboard
from reportcard.publish.mlflow import run_fields
from reportcard.publish.mlflow.description import describe_parent, describe_run
from reportcard.publish.mlflow.examples import Examples, Trace
from reportcard.publish.mlflow.forest_plot import forest
from reportcard.publish.mlflow.links import RunPlace

for _name in ("mlflow", "alembic"):  # each sets its own level when it is imported
    logging.getLogger(_name).setLevel(logging.ERROR)

RUN_TAG, PARENT_TAG, TRACE_TAG = "reportcard.run", "reportcard.invocation", "reportcard.trace"
DESCRIPTION = "mlflow.note.content"
PAGE, FOREST = "leaderboard/index.html", "leaderboard/forest.svg"


class TrackingClient:
    """Writes the runs of one command to one MLflow store."""

    def __init__(self, uri: str, config: RunConfig) -> None:
        self.config, self.uri = config, uri
        self.results = Results(config.results_dir)
        self.local = uri.startswith("sqlite:")
        if self.local:
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self.client: Any = mlflow.MlflowClient(uri)

    def log_cohort(
        self, cohort: Cohort, systems: Sequence[System], artifacts: Sequence[Path]
    ) -> dict[str, RunPlace]:
        """Log a parent run and a run per system of one cohort.

        Returns "cohort/protocol/system" → where MLflow keeps that run.
        """
        config = self.config
        experiment = self._experiment(cohort.folder)
        labels = [system.label for system in systems]
        invocation = {
            "suite": config.suite,
            "models": ", ".join(labels),
            "metrics": ", ".join(metric.label for metric in config.metrics),
            **run_fields.settings(config),
        }
        name = run_fields.run_name(config, cohort, f"{len(labels)} models")
        identity = digest([run_fields.LAYOUT, cohort.folder, invocation])[:16]
        parent = self._run(experiment, PARENT_TAG, identity, name, {})
        place = RunPlace(experiment, parent)
        links = {"Leaderboard": place.path(PAGE)}
        if board := self._board(f"{cohort.folder}/{config.protocol.name}"):
            self.client.log_text(parent, forest(board), FOREST)
            links["Forest plot"] = place.path(FOREST)
        for path in artifacts:
            self.client.log_artifact(parent, str(path), "leaderboard")
        tags = {
            **run_fields.cohort_tags(config, cohort),
            DESCRIPTION: describe_parent(name, labels, links),
        }
        self._write(parent, invocation, {}, tags)
        self.client.log_dict(parent, to_json(cohort.summary()) | {"studies": None}, "cohort.json")
        self.client.set_terminated(parent)
        examples = Examples(config, cohort)
        prefix = f"{cohort.folder}/{config.protocol.name}"
        return {
            f"{prefix}/{system.folder}": self._log_system(place, cohort, system, examples, links)
            for system in systems
        }

    def _board(self, name: str) -> Board | None:
        """Return a board of leaderboard.json, or None."""
        path = self.results.board.json
        boards = Leaderboard.read(path).boards if path.is_file() else ()
        return next((board for board in boards if board.id == name), None)

    def _log_system(
        self,
        parent: RunPlace,
        cohort: Cohort,
        system: System,
        examples: Examples,
        links: Mapping[str, str],
    ) -> RunPlace:
        """Log the run of one system.

        Args:
            parent: the run that holds the leaderboard.
            cohort: the cohort that the system answered.
            system: the system.
            examples: picks the predictions and judged pairs to show.
            links: text → address, of the parent run's files.
        """
        config, experiment = self.config, parent.experiment
        files = run_fields.read_scores(config, cohort, system)
        name = run_fields.run_name(config, cohort, system.label)
        identity = run_fields.identity(config, cohort, system)
        run = self._run(experiment, RUN_TAG, identity, name, {"mlflow.parentRunId": parent.run})
        place = RunPlace(experiment, run)
        tables = {"scores.json": run_fields.score_table(files)}
        if predictions := examples.predictions(system):
            tables["predictions.json"] = predictions
        traces = examples.traces(system)
        own = {"All scores": place.path("scores.json")}
        if predictions:
            own["Predictions"] = place.path("predictions.json")
        if traces:
            own["Judged pairs"] = f"{place.path()}/traces"
        trained_on = system.adapter.card.trained_on
        remarks = [f"Trained on: {', '.join(trained_on)}"] if trained_on else []
        tags = {
            **run_fields.model_tags(config, cohort, system, files),
            DESCRIPTION: describe_run(name, files, {**links, **own}, remarks),
            # Makes MLflow's page show these files as tables.
            "mlflow.loggedArtifacts": json.dumps([{"path": p, "type": "table"} for p in tables]),
        }
        self._write(run, run_fields.params(config, system), run_fields.metrics(files), tags)
        self._input(run, cohort)
        for path, table in tables.items():
            self.client.log_dict(run, table, path)
        card = self.results.predictions(cohort.folder, system.folder).card
        self.client.log_artifact(run, str(card))
        self._log_traces(place, identity, traces)
        self.client.set_terminated(run)
        return place

    def _input(self, run: str, cohort: Cohort) -> None:
        """Log the cohort as the run's dataset."""
        data = Dataset(
            name=cohort.name,
            digest=cohort.fingerprint[:8],
            source_type="reportcard",
            source=json.dumps({"cohort": cohort.folder, "dataset": cohort.card.title}),
            profile=json.dumps({"studies": len(cohort.test), "images": cohort.n_images()}),
        )
        context = InputTag("mlflow.data.context", "evaluation")
        self.client.log_inputs(run, [DatasetInput(data, [context])])

    def _log_traces(self, place: RunPlace, identity: str, traces: Sequence[Trace]) -> None:
        """Write the traces that MLflow does not have yet, and delete the run's outdated ones."""
        if not traces:
            return
        wanted = {trace.key: trace for trace in traces}
        there = self.client.search_traces(
            locations=[place.experiment],
            filter_string=f"tags.`{RUN_TAG}` = '{identity}'",
            max_results=500,
            include_spans=False,
        )
        old = [t.info for t in there if t.info.tags.get(TRACE_TAG) not in wanted]
        if old:
            self.client.delete_traces(place.experiment, trace_ids=[info.trace_id for info in old])
        known = {t.info.tags.get(TRACE_TAG) for t in there}
        with _spans_to(self.uri):
            for key, trace in wanted.items():
                if key not in known:
                    tags = {RUN_TAG: identity, TRACE_TAG: key, "judge": trace.judge}
                    _write_trace(place, trace, tags)

    def _experiment(self, name: str) -> str:
        """Return the id of the experiment with this name; make or restore it if need be."""
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        # A server decides where artifacts go; the local store keeps them in the results folder.
        artifacts = self.results.mlflow_artifacts.resolve().as_uri()
        location = f"{artifacts}/{name}" if self.local else None
        # With this tag MLflow's page opens on the table of runs, not on charts of LLM traces.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(self.client.create_experiment(name, artifact_location=location, tags=tags))

    def _run(
        self, experiment: str, tag: str, value: str, name: str, tags: Mapping[str, str]
    ) -> str:
        """Return the id of the run that has tag=value; make it if there is none.

        Args:
            experiment: the experiment's id.
            tag: the tag that identifies runs of this kind.
            value: the identity of this run.
            name: the name of a new run.
            tags: more tags to set.
        """
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
        """Write values and tags of a run. Writing the same ones again changes nothing.

        Args:
            run: the run's id.
            params: its parameters; MLflow cannot change one that is already there, so a new value
                becomes the tag `now.<name>`.
            metrics: its metrics.
            tags: its tags.
        """
        # Step and time are fixed, so that the same value is not appended as a new point.
        values = [Metric(key, float(value), 0, 0) for key, value in metrics.items()]
        for start in range(0, len(values), 500):
            self.client.log_batch(run, metrics=values[start : start + 500])
        there = self.client.get_run(run).data.params
        new = [Param(k, str(v)[:6000]) for k, v in params.items() if k not in there]
        changed = {f"now.{k}": str(v) for k, v in params.items() if there.get(k, str(v)) != str(v)}
        every = {**tags, **changed}
        self.client.log_batch(
            run, params=new, tags=[RunTag(key, str(text)[:7900]) for key, text in every.items()]
        )


@contextmanager
def _spans_to(uri: str) -> Iterator[None]:
    """Set the tracking store of the whole process for a moment, because spans have no other way.

    MLflow also writes the environment variable then; it is restored.
    """
    variable = "MLFLOW_TRACKING_URI"
    before = os.environ.get(variable)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type, unused-ignore]
        if before is not None:
            os.environ[variable] = before


def _write_trace(place: RunPlace, trace: Trace, tags: Mapping[str, str]) -> None:
    """Write a judged pair as a trace with one span per question.

    Each span lasts as long as the endpoint took; spans follow one another.
    """
    begin = time.time_ns() - int(1e9 * sum(step.seconds for step in trace.steps))
    root = mlflow.start_span_no_context(
        trace.name,
        span_type="EVALUATOR",
        inputs=trace.inputs,
        tags=dict(tags),
        metadata={"mlflow.sourceRun": place.run},
        experiment_id=place.experiment,
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
