"""What is checked, and what it is checked on: an opened adapter and drawn studies with pixels.

The pixels are drawn once and handed over as plain arrays, so that no request leads to the case
behind a picture. A changed image has an id of its own: an adapter may keep features by image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from reportcard.api import (
    Custody,
    FittedAdapter,
    Image,
    ModelAdapter,
    Prediction,
    Prior,
    ReferenceAdapter,
    ReportCardError,
    Request,
    Study,
)
from reportcard.config.settings import Plugin
from reportcard.core.layout import cache_folder
from reportcard.core.progress import quiet
from reportcard.core.weights import weights_dir
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.predict.engines import local
from reportcard.predict.predictions_file import answer_key
from reportcard.predict.system import System, open_model, problems

State = Literal["pass", "FAIL", "told"]
Pixels = npt.NDArray[np.uint8]
IMAGES = frozenset({"image", "images", "frontal", "lateral", "prior_image"})
FEW = 8  # studies of every check but the vision-use probe
# How harness/predict/engines/failures.py ends the line of an exception that is no ReportCardError.
CRASH = re.compile(r" \([^()\s]+:\d+\)$")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table. told: said and not judged."""

    name: str
    state: State
    reason: str

    @property
    def failed(self) -> bool:
        return self.state == "FAIL"


@dataclass(frozen=True, slots=True)
class Drawn:
    """The renderer of an image whose pixels are there already."""

    pixels: Pixels

    def __call__(self) -> Pixels:
        return self.pixels.copy()  # an adapter that writes into its image spoils its own copy


@dataclass
class Subject:
    """An adapter with the studies that it is asked for.

    few, many   of the checks, and of the vision-use probe
    """

    system: System
    cohort: Cohort
    few: tuple[Study, ...]
    many: tuple[Study, ...]
    batch_size: int

    @property
    def adapter(self) -> ModelAdapter:
        return self.system.adapter

    @property
    def requests(self) -> list[Request]:
        return [study.request for study in self.few]

    @property
    def claims_pixels(self) -> bool:
        card = self.adapter.card
        return card.needs_pixels or bool(IMAGES & set(card.inputs))

    @cached_property
    def answers(self) -> list[Prediction]:
        """Of `few`, in the batches of a run: what every check compares with."""
        return self.ask(self.requests)

    def ask(self, requests: Sequence[Request], size: int | None = None) -> list[Prediction]:
        """One answer per request, in their order, through the engine of a real run."""
        return ask(self.adapter, requests, size or self.batch_size)


def ask(adapter: ModelAdapter, requests: Sequence[Request], size: int) -> list[Prediction]:
    """Answers in the order of the requests, which differ in study."""
    plan = getattr(adapter, "plan", None)
    if plan is not None:
        plan(requests)
    batches = local.generate(adapter, requests, size, quote_errors=True)
    found = {answer_key(answer): answer for batch in batches for answer in batch}
    return [found[answer_key(request)] for request in requests]


def phantom(studies: int) -> Cohort:
    """The phantom of `dataset=phantom` with at least `studies` test studies: a fitted model gets
    the same train part, and so the same fingerprint, as in a run on it."""
    return load_cohort(Plugin("phantom", "phantom", {"test": max(64, studies)}))


def subject_of(plugin: Plugin, cohort: Cohort, studies: int, batch_size: int) -> Subject:
    """Open and fit an adapter. Raises what it raises, and ReportCardError when it cannot run."""
    system = open_model(plugin, cohort)
    if refused := problems(system, cohort):
        raise ReportCardError("; ".join(refused))
    chosen = [drawn(study) for study in varied(cohort.test, studies)]
    size = getattr(system.adapter, "batch_size", None) or batch_size
    subject = Subject(system, cohort, tuple(chosen[:FEW]), tuple(chosen), size)
    make_ready(system.adapter, cohort)
    return subject


def make_ready(adapter: ModelAdapter, cohort: Cohort) -> None:
    """What a run does before the first request."""
    admit = getattr(adapter, "admit", None)
    if admit is not None:
        folder = cache_folder(weights_dir().parent, cohort.card)
        admit(Custody(cohort.card, folder, quiet, lambda text: None))
    if adapter.card.needs_train and isinstance(adapter, FittedAdapter):
        adapter.fit(cohort.train)
    if adapter.card.sees_references and isinstance(adapter, ReferenceAdapter):
        adapter.see_references(cohort.test)


def varied(test: Sequence[Study], n: int) -> list[Study]:
    """n studies, beginning with one that has a prior, one with a lateral and one with neither."""
    kinds: tuple[Callable[[Request], object], ...] = (
        lambda r: r.prior,
        lambda r: any(image.lateral for image in r.images),
        lambda r: not r.prior and len(r.images) == 1,
    )
    first: list[Study] = []
    for kind in kinds:
        first += [s for s in test if kind(s.request) and s not in first][:1]
    return [*first, *(s for s in test if s not in first)][:n]


def drawn(study: Study) -> Study:
    request = with_images(study.request, lambda image: shown(image, image.pixels()))
    return replace(study, request=request)


def shown(image: Image, pixels: Pixels, suffix: str = "") -> Image:
    """The image with these pixels; with a suffix, under another id."""
    return Image(f"{image.image_id}{suffix}", image.view, read=Drawn(pixels))


def with_images(request: Request, change: Callable[[Image], Image]) -> Request:
    """The request with each of its images changed, those of the prior study too."""
    prior = request.prior
    if prior is not None:
        prior = Prior(tuple(change(image) for image in prior.images), prior.report)
    return replace(request, images=tuple(change(i) for i in request.images), prior=prior)


def text_of(answer: Prediction) -> str:
    """All that a reader of this answer reads."""
    report = answer.report
    told = (report.findings or "", report.impression or "", *(p.text for p in report.phrases))
    return "\n".join(told)


def said(answer: Prediction) -> tuple[object, ...]:
    """What must be equal where two answers should be."""
    return answer.report, answer.status


def crashed(answer: Prediction) -> bool:
    """Whether it failed by an exception that is no ReportCardError."""
    return answer.status == "failed" and bool(CRASH.search(answer.error or ""))
