"""One invocation: models × datasets through the stages, each resumable, in a plain loop.

A model that cannot run is reported and the others go on; the invocation then ends with an error.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from reportcard.api import ReportCardError
from reportcard.config.settings import Plugin, Protocol, RunConfig
from reportcard.core.files import read_json, write_json
from reportcard.core.progress import track
from reportcard.data.cohort import Cohort, attrition_text, load_cohort, open_dataset
from reportcard.predict.engines.engine import Engine, open_engine
from reportcard.predict.engines.failures import explain
from reportcard.predict.prediction_stage import predict
from reportcard.predict.predictions_file import image_failures
from reportcard.predict.shards import predict_shard
from reportcard.predict.system import System, notes_of, open_model, problems
from reportcard.score.pairs import References
from reportcard.score.scorer import Scorer, open_metrics
from reportcard.score.scoring_stage import Scoring

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What an invocation did, per cohort, and what went wrong."""

    scored: list[tuple[Cohort, list[System]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)  # by cohort: models of the suite
    generated: int = 0
    scores_written: int = 0


def run(config: RunConfig, stages: frozenset[str], fetch: bool, say: Say) -> Outcome:
    """The stages "predict" and "score" over every model and dataset of the configuration.

    fetch: get missing open data where the dataset knows how. Raises ReportCardError when nothing
    can run at all: unknown names, missing data, every preflight problem in one message.
    """
    if config.shard and stages != {"predict"}:
        raise ReportCardError(
            f"shard={config.shard} is for `reportcard predict`; without it, `run` puts the shards"
            " together."
        )
    scorers = open_metrics(config.metrics, config.annotators)
    cohorts = [_load(plugin, config.limit, fetch, say) for plugin in config.datasets]
    outcome = Outcome()
    plan = [(cohort, _open_models(config, cohort, outcome)) for cohort in cohorts]
    if not any(systems for _, systems in plan):
        reasons = [*outcome.failures, *(r for found in outcome.left_out.values() for r in found)]
        raise ReportCardError("Nothing can run:\n  " + "\n  ".join(reasons))
    with closing(open_engine(config.engine)) as engine:
        for cohort, systems in plan:
            finished = _stages_of(config, cohort, systems, stages, scorers, engine, outcome, say)
            outcome.scored.append((cohort, finished))
    if "score" in stages:
        remember(config.results_dir, outcome, config.protocol.name)
    return outcome


def _stages_of(
    config: RunConfig,
    cohort: Cohort,
    systems: list[System],
    stages: frozenset[str],
    scorers: list[Scorer],
    engine: Engine,
    outcome: Outcome,
    say: Say,
) -> list[System]:
    """One cohort; returns the systems whose last stage was reached."""
    _describe(cohort, say)
    for reason in outcome.left_out.get(cohort.name, ()):
        say(f"  left out: {reason}")
    cohort.save(config.results_dir)
    finished = systems
    if "predict" in stages:
        finished = [s for s in systems if _predict(config, cohort, s, engine, outcome, say)]
    if "score" in stages:
        finished = _score(config, cohort, finished, scorers, engine, outcome, say)
    return finished


def _load(plugin: Plugin, limit: int | None, fetch: bool, say: Say) -> Cohort:
    dataset = open_dataset(plugin)
    get = getattr(dataset, "fetch", None)
    if fetch and get is not None and dataset.missing():
        get(say)
    return load_cohort(plugin, limit)


def _open_models(config: RunConfig, cohort: Cohort, outcome: Outcome) -> list[System]:
    """Preflight: every model that cannot run on this cohort becomes a failure, all at once.

    One of the suite that needs images is left out of a cohort without: nobody asked for the two.
    """
    systems = []
    for plugin in config.models:
        try:
            system = open_model(plugin, cohort, config.marks)
        except Exception as error:  # an adapter is somebody's code: it costs its own row
            outcome.failures.append(f"{cohort.name}, {plugin.label}: {explain(error, quote=True)}")
            continue
        if not config.models_named and system.adapter.card.needs_pixels and not cohort.has_images:
            outcome.left_out.setdefault(cohort.name, []).append(f"{plugin.label} needs images")
            continue
        refused = problems(system, cohort)
        outcome.failures += [f"{cohort.name}: {problem}" for problem in refused]
        if not refused:
            systems.append(system)
    return systems


def _describe(cohort: Cohort, say: Say) -> None:
    overlap = cohort.overlap
    say(f"{cohort.folder}: {cohort.size}, {cohort.n_images():,} images")
    say(f"  {attrition_text(cohort.attrition)}")
    if cohort.train:
        patients = overlap["test_studies_with_train_patient"]
        say(
            f"  train part: {len(cohort.train):,} studies;"
            f" {overlap['test_reports_verbatim_in_train']:,} of {len(cohort.test):,} test reports"
            f" stand word for word in it, {patients:,} test studies share a patient with it"
        )
    for note in cohort.notes:
        say(f"  {note}")


def _predict(
    config: RunConfig, cohort: Cohort, system: System, engine: Engine, outcome: Outcome, say: Say
) -> bool:
    try:
        if config.shard:
            answered = predict_shard(
                config.results_dir, cohort, system, config.shard, track, engine
            )
            outcome.generated += answered
            say(f"  answered {answered:,} of {system.folder} in shard {config.shard}")
            return True
        folder, new = predict(
            config.results_dir, cohort, system, config.engine.batch_size, track, engine
        )
    except Exception as error:
        quote = cohort.card.data_class == "open"
        outcome.failures.append(f"{cohort.name}, {system.label}: {explain(error, quote)}")
        return False
    outcome.generated += new
    failures = image_failures(folder)
    if new:
        say(f"  predicted {system.folder}")
        for note in notes_of(system):
            say(f"  {system.folder}: {note}")
    if failures:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in failures.items())
        say(f"  {system.folder}: {sum(failures.values()):,} studies failed for an image: {kinds}")
    return True


def _score(
    config: RunConfig,
    cohort: Cohort,
    systems: list[System],
    scorers: list[Scorer],
    engine: Engine,
    outcome: Outcome,
    say: Say,
) -> list[System]:
    where, protocol, stats = config.results_dir, config.protocol, config.stats
    scorers = applicable(scorers, cohort, protocol, say)
    recording = config.records_verdicts
    scoring = Scoring(where, cohort, protocol, stats, scorers, track, say, engine, recording)
    ready = []
    for system in systems:
        try:
            scoring.predictions_sha256(system)
            ready.append(system)
        except ReportCardError as error:
            outcome.failures.append(f"{cohort.name}, {system.label}: {error}")
    scoring.annotate(ready)
    finished = []
    for system in ready:
        began = time.perf_counter()
        written = scoring.run(system)
        outcome.scores_written += written
        finished.append(system)
        if written:
            say(f"  scored {system.folder} in {time.perf_counter() - began:.1f} s")
    return finished


def applicable(scorers: list[Scorer], cohort: Cohort, protocol: Protocol, say: Say) -> list[Scorer]:
    """The metrics that have something to read here. Raises ReportCardError when none has."""
    grounded = References.of(cohort, protocol).grounded
    left_out = [s.label for s in scorers if s.metric.spec.boxes and not grounded]
    if not left_out:
        return scorers
    if len(left_out) == len(scorers):
        raise ReportCardError(
            f"{cohort.name} has no boxes in its references, which {', '.join(left_out)} reads."
        )
    say(f"  not applicable: {', '.join(left_out)} (no boxes in the references)")
    return [s for s in scorers if s.label not in left_out]


def remember(results_dir: Path, outcome: Outcome, protocol: str) -> None:
    """`current.json`: which fingerprint of each (cohort, model, protocol) the tables show.

    An older fingerprint stays on disk and leaves the tables: `leaderboard --all` shows it.
    """
    path = results_dir / "current.json"
    with _locked(path):
        try:
            runs = read_json(path)["runs"]
        except (ReportCardError, KeyError):  # absent or damaged: it is rebuilt from here on
            runs = []
        latest = {_identity(run): run for run in runs}
        for cohort, systems in outcome.scored:
            for system in systems:
                run = {"cohort": cohort.folder, "model": system.folder, "protocol": protocol}
                latest[_identity(run)] = run
        merged = [latest[key] for key in sorted(latest)]
        if merged != runs:
            write_json(path, {"runs": merged})


def _identity(run: dict[str, str]) -> tuple[str, str, str]:
    """Names without fingerprints: what a newer run of the same thing replaces."""
    return run["cohort"].rsplit("@", 1)[0], run["model"].rsplit("@", 1)[0], run["protocol"]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
