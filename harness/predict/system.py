"""A model on a cohort: construct it, check that it can run, and ask it for every missing answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from reportcard.api import (
    Custody,
    FittedAdapter,
    Json,
    ModelAdapter,
    ModelCard,
    Prediction,
    ReferenceAdapter,
    ReportCardError,
    Request,
)
from reportcard.config.settings import Marks, Plugin
from reportcard.core import registry
from reportcard.core.files import JsonlLog, digest
from reportcard.core.fingerprint import source_digest
from reportcard.core.layout import Results, VersionedName, cache_folder
from reportcard.core.progress import quiet
from reportcard.data.cohort import Cohort
from reportcard.data.masks import Marking
from reportcard.predict.engines.engine import Engine
from reportcard.predict.engines.job import ModelJob
from reportcard.predict.predictions_file import AnswerKey, line_key

Batches = Iterable[list[Prediction]]


@dataclass(frozen=True)
class System:
    """A constructed adapter, with the name and fingerprint under which its answers are stored."""

    label: str
    plugin: Plugin
    adapter: ModelAdapter
    fingerprint: str
    marking: Marking | None = None

    @property
    def folder(self) -> str:
        """The name of its folder: `label@fp8`."""
        return str(VersionedName(self.label, self.fingerprint))


def open_model(
    plugin: Plugin,
    cohort: Cohort | None = None,
    marks: Marks | None = None,
    marking: Marking | None = None,
) -> System:
    """Construct an adapter and compute its fingerprint.

    Args:
        plugin: which adapter, with which options.
        cohort: what it will answer; None for requests that belong to no cohort.
        marks: set-of-mark settings, used for models that see pixels; the run is then stored as
            `<label>+marks` beside the plain one.
        marking: the marks of requests that belong to no cohort.

    Raises ReportCardError naming an option that does not fit.
    """
    adapter: ModelAdapter = registry.models.build(plugin.plugin, plugin.options, plugin.label)
    card = getattr(adapter, "card", None)
    if not isinstance(card, ModelCard):
        raise ReportCardError(f"{plugin.plugin}: the adapter has no `card` (a ModelCard).")
    if not (card.needs_pixels or "images" in card.inputs):
        marking = None
    elif marks and cohort:
        seen = (*cohort.test, *(cohort.train if card.needs_train else ()))
        marking = Marking.of(marks, [study.request for study in seen])
    fingerprint = digest(
        {
            "plugin": plugin.plugin,
            "code": source_digest(type(adapter)),
            "options": dict(getattr(adapter, "identity", plugin.options)),
            "weights": [card.weights, card.revision],
            "draws": card.draws,
            "train": cohort.train_fingerprint if cohort and card.needs_train else None,
            **({"marks": marking.identity} if marking else {}),
        }
    )
    label = f"{plugin.label}+marks" if marking else plugin.label
    return System(label, plugin, adapter, fingerprint, marking)


def missing(adapter: ModelAdapter) -> str | None:
    """Ask the adapter, before anything is loaded, why it cannot run on this machine.

    Returns None when it found nothing.
    """
    ask = getattr(adapter, "missing", None)
    return ask() if ask is not None else None


def problems(system: System, cohort: Cohort) -> list[str]:
    """Return every reason why this model cannot run on this cohort."""
    card, found = system.adapter.card, []
    if reason := missing(system.adapter):
        found.append(f"{system.label}: {reason}")
    if system.marking and (reason := system.marking.missing()):
        found.append(f"{system.label}: {reason}")
    if card.needs_pixels and not cohort.has_images:
        found.append(f"{system.label} needs images and {cohort.name} is text only here")
    if card.needs_train and not cohort.train:
        found.append(f"{system.label} is fitted on a train part and {cohort.name} has none")
    if card.needs_train and not isinstance(system.adapter, FittedAdapter):
        found.append(f"{system.label} declares needs_train and has no fit()")
    if card.sees_references and not isinstance(system.adapter, ReferenceAdapter):
        found.append(f"{system.label} declares sees_references and has no see_references()")
    return found


def check_can_run(system: System, cohort: Cohort) -> None:
    """Raise ReportCardError with every reason why this model cannot run on this cohort."""
    if found := problems(system, cohort):
        raise ReportCardError("; ".join(found))


def requests_of(cohort: Cohort, system: System) -> list[Request]:
    """Return what the model will be asked: all studies in cohort order, once per draw."""
    marking = system.marking
    return [
        replace(study.request, draw=draw)
        for draw in range(system.adapter.card.draws)
        for study in (marking.studies(cohort.test) if marking else cohort.test)
    ]


def job_of(
    results_dir: Path, cohort: Cohort, system: System, requests: Sequence[Request]
) -> ModelJob:
    """Return what an engine needs to run a model on a cohort.

    Args:
        results_dir: the results folder, whose cache the adapter may use.
        cohort: the studies.
        system: the model.
        requests: what it will be asked (`requests_of`).
    """
    place = cache_folder(Results(results_dir).cache, cohort.card)
    return ModelJob(
        system.adapter,
        requests,
        train=system.marking.studies(cohort.train) if system.marking else cohort.train,
        test=cohort.test,
        custody=Custody(cohort.card, place, quiet, _say_nothing),
        quote_errors=cohort.card.data_class == "open",
    )


def _say_nothing(text: str) -> None:
    """Print nothing: an adapter reports through its notes."""


def notes_of(system: System) -> tuple[str, ...]:
    """Return what a run reports about its marks and fit: counts, never text of the data."""
    marks = (system.marking.note,) if system.marking else ()
    return (*marks, *getattr(system.adapter, "notes", ()))


def answer_all(
    engine: Engine,
    job: ModelJob,
    log: JsonlLog,
    line: Callable[[Prediction], Json],
    progress: Callable[[Batches, int], Batches],
    batch_size: int,
    others: Set[AnswerKey] = frozenset(),
) -> tuple[int, float]:
    """Ask for every answer that the log lacks, append each batch to it, and close it.

    Args:
        engine: where the model runs.
        job: the model and its requests.
        log: the answers so far; a run that is stopped goes on from here.
        line: how an answer is written.
        progress: wraps the batches to show progress; gets the number of answers to come.
        batch_size: for an adapter that has no batch size of its own.
        others: answers that another process is responsible for.

    Returns how many answers were made, and the model's seconds.
    """
    adapter, seconds = job.adapter, 0.0
    try:
        rows = list(log.rows())
        done = {line_key(row) for row in rows} | others
        resume = getattr(adapter, "resume", None)
        if resume is not None:
            resume(rows)
        pending = len(job.requests) - len(done)
        batches = engine.generate(job, batch_size_of(adapter, batch_size), done)
        with closing(batches):  # stops its threads and replicas, also when we are interrupted
            for batch in progress(batches, pending):
                log.append(map(line, batch))
                seconds += sum(p.seconds or 0.0 for p in batch)
    finally:
        log.close()
    return pending, seconds


def batch_size_of(adapter: ModelAdapter, default: int) -> int:
    """Return the adapter's own batch size, or else the engine's."""
    size: int = getattr(adapter, "batch_size", None) or default
    return size
