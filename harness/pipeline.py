"""The five stages over models × datasets: data → predict → annotate → score → publish.

Each stage is resumable: what is up to date on disk is not done again. A model that cannot run is
reported, the others go on, and the invocation ends with an error.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from reportcard.api import ReportCardError
from reportcard.config.settings import Plugin, RunConfig
from reportcard.core.files import read_json, write_json
from reportcard.core.layout import Results, RunId
from reportcard.core.progress import track
from reportcard.data.cohort import Cohort, attrition_text, load_cohort, open_dataset
from reportcard.predict.engines.engine import Engine, open_engine
from reportcard.predict.engines.failures import explain
from reportcard.predict.prediction_stage import predict
from reportcard.predict.predictions_file import image_failures
from reportcard.predict.shards import predict_shard
from reportcard.predict.system import System, notes_of, open_model, problems
from reportcard.publish.publishing_stage import publish
from reportcard.score.pairs import References
from reportcard.score.scorer import Scorer, open_metrics
from reportcard.score.scoring_stage import Scoring

Say = Callable[[str], None]


def run(config: RunConfig, stages: frozenset[str], fetch: bool, say: Say) -> Outcome:
    """Run stages over every model and dataset of the configuration.

    Args:
        config: what runs, on what, and how it is scored.
        stages: of "predict", "score" and "publish"; scoring makes the notes that it needs.
        fetch: get missing open data where the dataset knows how.
        say: gets a line of text on what happens.

    Raises ReportCardError when nothing can run at all: unknown names, missing data, or no model
    that passes its checks (all reasons in one message).
    """
    if config.shard and stages != {"predict"}:
        raise ReportCardError(
            f"shard={config.shard} is for `reportcard predict`; without it, `run` puts the shards"
            " together."
        )
    with Invocation(config, say) as run:
        for cohort in run.cohorts(fetch):
            systems = run.predict(cohort) if "predict" in stages else run.predicted(cohort)
            if "score" in stages:
                run.annotate(cohort, systems)
                run.score(cohort, systems)
        if "publish" in stages:
            run.publish()
        return run.outcome


@dataclass
class Outcome:
    """What an invocation did and what went wrong.

    scored    the systems that were scored on each cohort
    failures  one sentence for each thing that did not run
    left_out  cohort → models of the suite that do not fit it
    """

    scored: list[tuple[Cohort, list[System]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    generated: int = 0
    scores_written: int = 0


class Invocation:
    """One run of `reportcard`: a configuration, its open metrics and engine, and its outcome."""

    _engine: Engine  # open from the first cohort to the last

    def __init__(self, config: RunConfig, say: Say) -> None:
        self.config, self.say = config, say
        self.outcome = Outcome()
        self._metrics = open_metrics(config.metrics, config.annotators)
        self._systems: dict[str, list[System]] = {}  # cohort folder → models that can run on it
        self._scoring: Scoring | None = None  # of the cohort at hand
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def cohorts(self, fetch: bool) -> Iterator[Cohort]:
        """Load every cohort, check every model against it, and yield those cohorts in turn.

        All are checked before the first is yielded, so that a problem shows before any model is
        loaded. Raises ReportCardError when no model can run on any cohort.
        """
        cohorts = [self._load(plugin, fetch) for plugin in self.config.datasets]
        self._systems = {cohort.folder: self._open_models(cohort) for cohort in cohorts}
        if not any(self._systems.values()):
            left_out = [reason for found in self.outcome.left_out.values() for reason in found]
            reasons = [*self.outcome.failures, *left_out]
            raise ReportCardError("Nothing can run:\n  " + "\n  ".join(reasons))
        self._engine = self._open.enter_context(closing(open_engine(self.config.engine)))
        for cohort in cohorts:
            self._describe(cohort)
            cohort.save(self.config.results_dir)
            yield cohort
        self._open.close()  # no stage after the last cohort needs a worker

    def predict(self, cohort: Cohort) -> list[System]:
        """Generate the missing answers of every model; return the systems that have all of them."""
        return [system for system in self._systems[cohort.folder] if self._predict(cohort, system)]

    def predicted(self, cohort: Cohort) -> list[System]:
        """Return the systems whose predictions are finished; each other one is a failure."""
        found, scoring = [], self._scoring_of(cohort)
        for system in self._systems[cohort.folder]:
            try:
                scoring.predictions_sha256(system)
                found.append(system)
            except ReportCardError as error:
                self.outcome.failures.append(f"{cohort.name}, {system.label}: {error}")
        return found

    def annotate(self, cohort: Cohort, systems: Sequence[System]) -> None:
        """Make the notes that stale scores of these systems need, each annotator loaded once."""
        self._scoring_of(cohort).annotate(systems)

    def score(self, cohort: Cohort, systems: Sequence[System]) -> None:
        """Write the scores that are missing or stale, and show these systems in the tables."""
        scoring = self._scoring_of(cohort)
        for system in systems:
            began = time.perf_counter()
            written = scoring.run(system)
            self.outcome.scores_written += written
            if written:
                self.say(f"  scored {system.folder} in {time.perf_counter() - began:.1f} s")
        self.outcome.scored.append((cohort, list(systems)))
        protocol = self.config.protocol.name
        runs = [RunId(cohort.folder, system.folder, protocol) for system in systems]
        mark_current(self.config.results_dir, runs)

    def publish(self) -> None:
        """Write the leaderboard and log to MLflow, where something was scored."""
        if any(systems for _, systems in self.outcome.scored):
            publish(self.config, self.outcome.scored, self.say)

    def _load(self, plugin: Plugin, fetch: bool) -> Cohort:
        dataset = open_dataset(plugin)
        get = getattr(dataset, "fetch", None)
        if fetch and get is not None and dataset.missing():
            get(self.say)
        return load_cohort(plugin, self.config.limit)

    def _open_models(self, cohort: Cohort) -> list[System]:
        """Open the models that can run on a cohort; each problem of the others is a failure.

        A model of the suite that needs images is left out of a cohort without images, and that is
        no failure: the user did not ask for the two together.
        """
        systems = []
        for plugin in self.config.models:
            try:
                system = open_model(plugin, cohort, self.config.marks)
            except Exception as error:  # a bug in somebody's adapter costs that adapter only
                reason = explain(error, quote=True)
                self.outcome.failures.append(f"{cohort.name}, {plugin.label}: {reason}")
                continue
            needs_images = system.adapter.card.needs_pixels and not cohort.has_images
            if needs_images and not self.config.models_named:
                reasons = self.outcome.left_out.setdefault(cohort.name, [])
                reasons.append(f"{plugin.label} needs images")
                continue
            found = problems(system, cohort)
            self.outcome.failures += [f"{cohort.name}: {problem}" for problem in found]
            if not found:
                systems.append(system)
        return systems

    def _describe(self, cohort: Cohort) -> None:
        self.say(f"{cohort.folder}: {cohort.size}, {cohort.n_images():,} images")
        self.say(f"  {attrition_text(cohort.attrition)}")
        if cohort.train:
            overlap = cohort.overlap
            patients = overlap.test_studies_with_train_patient
            self.say(
                f"  training split: {len(cohort.train):,} studies;"
                f" {overlap.test_reports_verbatim_in_train:,} of {len(cohort.test):,} test"
                f" reports also appear verbatim in it, {patients:,} test studies share a patient"
                " with it"
            )
        for note in cohort.notes:
            self.say(f"  {note}")
        for reason in self.outcome.left_out.get(cohort.name, ()):
            self.say(f"  left out: {reason}")

    def _predict(self, cohort: Cohort, system: System) -> bool:
        """Generate what is missing of one model, and say what came of it. False: it failed."""
        results_dir, shard = self.config.results_dir, self.config.shard
        try:
            if shard:
                answered = predict_shard(results_dir, cohort, system, shard, track, self._engine)
                self.outcome.generated += answered
                self.say(f"  answered {answered:,} of {system.folder} in shard {shard}")
                return True
            batch_size = self.config.engine.batch_size
            folder, new = predict(results_dir, cohort, system, batch_size, track, self._engine)
        except Exception as error:
            reason = explain(error, quote=cohort.card.data_class == "open")
            self.outcome.failures.append(f"{cohort.name}, {system.label}: {reason}")
            return False
        self.outcome.generated += new
        if new:
            self.say(f"  predicted {system.folder}")
            for note in notes_of(system):
                self.say(f"  {system.folder}: {note}")
        if failed := image_failures(folder):
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in failed.items())
            total = f"{sum(failed.values()):,} studies failed for an image"
            self.say(f"  {system.folder}: {total}: {kinds}")
        return True

    def _scoring_of(self, cohort: Cohort) -> Scoring:
        """Return the scoring of the cohort at hand: its references are prepared once."""
        if self._scoring is None or self._scoring.cohort is not cohort:
            config = self.config
            self._scoring = Scoring(
                config.results_dir,
                cohort,
                config.protocol,
                config.stats,
                self._applicable(cohort),
                progress=track,
                say=self.say,
                engine=self._engine,
                rescore_judged=config.records_verdicts,
            )
        return self._scoring

    def _applicable(self, cohort: Cohort) -> list[Scorer]:
        """Return the metrics that this cohort has references for.

        Raises ReportCardError when there is none.
        """
        left_out = [s.label for s in self._metrics if s.metric.spec.boxes]
        if not left_out or References.of(cohort, self.config.protocol).grounded:
            return self._metrics
        if len(left_out) == len(self._metrics):
            raise ReportCardError(
                f"{cohort.name} has no boxes in its references, which {', '.join(left_out)} reads."
            )
        self.say(f"  not applicable: {', '.join(left_out)} (no boxes in the references)")
        return [s for s in self._metrics if s.label not in left_out]


def mark_current(results_dir: Path, runs: Sequence[RunId]) -> None:
    """Write to current.json that the tables show these runs.

    A run with an older fingerprint of the same cohort and model leaves the tables. It stays on
    disk, and `reportcard leaderboard --all` shows it.
    """
    path = Results(results_dir).current
    with _locked(path):
        try:
            saved = read_json(path)["runs"]
        except (ReportCardError, KeyError):  # absent or damaged: it is rebuilt from here on
            saved = []
        latest = {run.labels: run for run in (*map(RunId.of_json, saved), *runs)}
        merged = [latest[labels].to_json() for labels in sorted(latest)]
        if merged != saved:
            write_json(path, {"runs": merged})


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock on the file while two invocations may write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
