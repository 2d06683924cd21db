"""Cohort × model → predictions.jsonl, resumable at every batch.

predictions/<cohort>@<fp8>/<label>@<fp8>/
    predictions.jsonl   one line per study and draw, in cohort order
    card.json           the run card
    timing.jsonl        wall time per session (not reproducible, so kept apart)
    DONE                written last: sha256 of predictions.jsonl, and counts: of answers by
                        status, and of studies whose image could not be had, by kind of failure
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from harness import registry
from harness.annotate import cache_folder
from harness.answering import answer_all, missing
from harness.api import (
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
from harness.card import environment
from harness.cohort import Cohort
from harness.engines.engine import Engine, LocalEngine
from harness.engines.job import ModelJob
from harness.engines.local import IMAGE_FAILURE
from harness.marks import Marking
from harness.prediction_file import to_json
from harness.progress import quiet
from harness.settings import Marks, Plugin
from harness.store import (
    JsonlLog,
    RunLock,
    digest,
    file_digest,
    jsonl,
    make_private,
    read_json,
    read_jsonl,
    write_atomic,
    write_json,
)


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


def predictions_dir(results_dir: Path, cohort: Cohort, system: System) -> Path:
    return results_dir / "predictions" / cohort.folder / system.folder


def predict(
    results_dir: Path,
    cohort: Cohort,
    system: System,
    batch_size: int,
    progress: Callable[..., Iterable[list[Prediction]]],
    engine: Engine | None = None,
) -> tuple[Path, bool]:
    """Generate what is not there yet. Returns the run folder and whether anything was generated.

    engine: where the model runs; None: in this process.
    Raises ReportCardError when preflight refuses, when another process writes the same run, or
    when predictions.jsonl was changed after the run was complete.
    """
    from harness.shards import close_shards, take_in  # which asks this module what a run is

    folder = predictions_dir(results_dir, cohort, system)
    if is_done(folder):
        return folder, False
    refuse(system, cohort)
    requests = requests_of(cohort, system)
    private = cohort.card.data_class != "open"
    if private:
        make_private(folder)
    with RunLock(folder):
        if is_done(folder):  # the other process finished between the look and the lock
            return folder, False
        log = JsonlLog(folder / "predictions.jsonl")
        take_in(folder, log, requests)
        pending, seconds = answer_all(
            engine or LocalEngine(),
            job_of(results_dir, cohort, system, requests),
            log,
            to_json,
            partial(progress, label=system.label),
            batch_size,
        )
        _finish(folder, cohort, system, requests)
        timing = JsonlLog(folder / "timing.jsonl")
        timing.append([{"studies": pending, "seconds": round(seconds, 3)}])
        close_shards(folder, timing)
        timing.close()
        if private:
            make_private(folder)
    return folder, True


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


def _finish(folder: Path, cohort: Cohort, system: System, requests: Sequence[Request]) -> None:
    """Put the lines in cohort order, write the card, and DONE last."""
    path = folder / "predictions.jsonl"
    rows = {(row["study_id"], row["draw"]): row for _, row in read_jsonl(path)}
    wanted = [(r.study_id, r.draw) for r in requests]
    if list(rows) != wanted:
        write_atomic(path, jsonl(rows[key] for key in wanted))
    write_json(folder / "card.json", _card(cohort, system))
    status = Counter(row["status"] for row in rows.values())
    failures = _image_failures(rows.values())
    write_json(
        folder / "DONE",
        {
            "predictions_sha256": file_digest(path),
            "n": len(cohort.test),
            "draws": system.adapter.card.draws,
            "status": dict(sorted(status.items())),
            **({"image_failures": failures} if failures else {}),
        },
    )


def _image_failures(rows: Iterable[Json]) -> dict[str, int]:
    """Kind of ImageError → studies that failed for it in any draw."""
    found = {
        (row["study_id"], match[1])
        for row in rows
        if row["status"] == "failed" and (match := IMAGE_FAILURE.match(row.get("error", "")))
    }
    return dict(sorted(Counter(kind for _, kind in found).items()))


def image_failures(folder: Path) -> Mapping[str, int]:
    """Studies of a finished run that failed for their image, by kind; empty when none did."""
    counts: Mapping[str, int] = read_json(folder / "DONE").get("image_failures", {})
    return counts


def notes_of(system: System) -> tuple[str, ...]:
    """What a run tells of its marks and fit, in counts and never in text of the data."""
    marks = (system.marking.note,) if system.marking else ()
    return (*marks, *getattr(system.adapter, "notes", ()))


def _card(cohort: Cohort, system: System) -> Json:
    return {
        "model": system.label,
        "model_fingerprint": system.fingerprint,
        "plugin": system.plugin.plugin,
        "options": dict(system.plugin.options),
        "card": asdict(system.adapter.card),
        "cohort": cohort.name,
        "cohort_fingerprint": cohort.fingerprint,
        "train_fingerprint": cohort.train_fingerprint,
        **({"marks": system.marking.identity} if system.marking else {}),
        **({"notes": list(notes)} if (notes := notes_of(system)) else {}),
        "environment": environment(),
    }


def is_done(folder: Path) -> bool:
    """Whether a run is complete and its predictions are the ones that DONE was written for."""
    if not (folder / "DONE").is_file():
        return False
    path = folder / "predictions.jsonl"
    if not path.is_file() or file_digest(path) != read_json(folder / "DONE")["predictions_sha256"]:
        raise ReportCardError(
            f"{path} is not the file that the run completed with. Delete {folder} to run it again,"
            " or bring changed predictions in with model=replay."
        )
    return True
