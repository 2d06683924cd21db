"""A model on one cohort: constructed, named, fingerprinted, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reportcard.api import (
    Custody,
    FittedAdapter,
    ModelAdapter,
    ModelCard,
    ReferenceAdapter,
    ReportCardError,
    Request,
)
from reportcard.config.settings import Marks, Plugin
from reportcard.core import registry
from reportcard.core.files import digest
from reportcard.core.layout import cache_folder
from reportcard.core.progress import quiet
from reportcard.data.cohort import Cohort
from reportcard.data.masks import Marking
from reportcard.predict.engines.job import ModelJob
from reportcard.predict.loop import missing


@dataclass(frozen=True)
class System:
    """A constructed adapter with the name and fingerprint it runs under on one cohort."""

    label: str
    plugin: Plugin
    adapter: ModelAdapter
    fingerprint: str
    marking: Marking | None = None

    @property
    def folder(self) -> str:
        return f"{self.label}@{self.fingerprint[:8]}"


def open_model(
    plugin: Plugin,
    cohort: Cohort | None = None,
    marks: Marks | None = None,
    marking: Marking | None = None,
) -> System:
    """Construct an adapter, for a cohort or for requests of no cohort.

    marks: for a model that sees pixels; its row then stands beside the plain one as `…+marks`.
    marking: the marks of requests of no cohort.
    Raises ReportCardError naming the option that does not fit.
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
            "code": registry.source_digest(type(adapter)),
            "options": dict(getattr(adapter, "identity", plugin.options)),
            "weights": [card.weights, card.revision],
            "draws": card.draws,
            "train": cohort.train_fingerprint if cohort and card.needs_train else None,
            **({"marks": marking.identity} if marking else {}),
        }
    )
    label = f"{plugin.label}+marks" if marking else plugin.label
    return System(label, plugin, adapter, fingerprint, marking)


def problems(system: System, cohort: Cohort) -> list[str]:
    """Preflight: every reason why this model cannot run on this cohort."""
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


def refuse(system: System, cohort: Cohort) -> None:
    """Raises ReportCardError with every reason why this model cannot run here."""
    if found := problems(system, cohort):
        raise ReportCardError("; ".join(found))


def requests_of(cohort: Cohort, system: System) -> list[Request]:
    """What the model is asked, draw after draw in the cohort's order."""
    marking = system.marking
    return [
        replace(study.request, draw=draw)
        for draw in range(system.adapter.card.draws)
        for study in (marking.studies(cohort.test) if marking else cohort.test)
    ]


def job_of(
    results_dir: Path, cohort: Cohort, system: System, requests: Sequence[Request]
) -> ModelJob:
    """What an engine is given to run a model on a cohort."""
    place = cache_folder(results_dir / "cache", cohort.card)
    return ModelJob(
        system.adapter,
        requests,
        train=system.marking.studies(cohort.train) if system.marking else cohort.train,
        test=cohort.test,
        custody=Custody(cohort.card, place, quiet, _say_nothing),
        quote_errors=cohort.card.data_class == "open",
    )


def _say_nothing(text: str) -> None:
    """What an adapter has to tell is in its notes."""


def notes_of(system: System) -> tuple[str, ...]:
    """What a run tells of its marks and fit, in counts and never in text of the data."""
    marks = (system.marking.note,) if system.marking else ()
    return (*marks, *getattr(system.adapter, "notes", ()))
