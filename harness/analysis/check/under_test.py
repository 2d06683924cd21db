"""Opens the adapter under test and draws the synthetic studies that it is asked for.

The pixels are drawn once and handed over as plain arrays, so that no request leads to the findings
behind an image. A changed image gets a new id, since an adapter may cache features by image.
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

State = Literal["pass", "FAIL", "info"]
Pixels = npt.NDArray[np.uint8]
IMAGES = frozenset({"image", "images", "frontal", "lateral", "prior_image"})
FEW = 8  # studies in every check except that of image use
# How predict/engines/failures.py ends the message of an exception that is no ReportCardError.
CRASH = re.compile(r" \([^()\s]+:\d+\)$")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table; "info" reports something that is neither right nor wrong."""

    name: str
    state: State
    reason: str

    @property
    def failed(self) -> bool:
        return self.state == "FAIL"


@dataclass(frozen=True, slots=True)
class StoredPixels:
    """An image source whose pixels are already drawn."""

    pixels: Pixels

    def __call__(self) -> Pixels:
        return self.pixels.copy()  # an adapter may write into its image


@dataclass
class ModelUnderTest:
    """An adapter with its studies: `few` for most checks, `many` for the use of the image."""

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
        """Return the answers for `few` in the batches of a run; every check compares with them."""
        return self.ask(self.requests)

    def ask(self, requests: Sequence[Request], size: int | None = None) -> list[Prediction]:
        """Return one answer per request, in order, through the engine of a real run."""
        return ask(self.adapter, requests, size or self.batch_size)


def ask(adapter: ModelAdapter, requests: Sequence[Request], size: int) -> list[Prediction]:
    """Return the answers in the order of the requests, each of another study."""
    plan = getattr(adapter, "plan", None)
    if plan is not None:
        plan(requests)
    batches = local.generate(adapter, requests, size, quote_errors=True)
    found = {answer_key(answer): answer for batch in batches for answer in batch}
    return [found[answer_key(request)] for request in requests]


def phantom(studies: int) -> Cohort:
    """Return the cohort of `dataset=phantom` with at least `studies` test studies.

    Its train part is that of a run, so that a fitted model has the same fingerprint.
    """
    return load_cohort(Plugin("phantom", "phantom", {"test": max(64, studies)}))


def open_model_under_test(
    plugin: Plugin, cohort: Cohort, studies: int, batch_size: int
) -> ModelUnderTest:
    """Open and fit an adapter. Raises ReportCardError when it cannot run, and its own errors.

    Args:
        plugin: the model.
        cohort: the synthetic cohort.
        studies: how many of its studies are drawn.
        batch_size: of requests, unless the adapter has its own.
    """
    system = open_model(plugin, cohort)
    if refused := problems(system, cohort):
        raise ReportCardError("; ".join(refused))
    chosen = [drawn(study) for study in varied(cohort.test, studies)]
    size = getattr(system.adapter, "batch_size", None) or batch_size
    model = ModelUnderTest(system, cohort, tuple(chosen[:FEW]), tuple(chosen), size)
    make_ready(system.adapter, cohort)
    return model


def make_ready(adapter: ModelAdapter, cohort: Cohort) -> None:
    """Prepare an adapter as a run does before the first request."""
    admit = getattr(adapter, "admit", None)
    if admit is not None:
        folder = cache_folder(weights_dir().parent, cohort.card)
        admit(Custody(cohort.card, folder, quiet, lambda text: None))
    if adapter.card.needs_train and isinstance(adapter, FittedAdapter):
        adapter.fit(cohort.train)
    if adapter.card.sees_references and isinstance(adapter, ReferenceAdapter):
        adapter.see_references(cohort.test)


def varied(test: Sequence[Study], n: int) -> list[Study]:
    """Return n studies, first one with a prior, one with a lateral view and one with neither."""
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
    """Return the study with its pixels drawn."""
    request = with_images(study.request, lambda image: with_pixels(image, image.pixels()))
    return replace(study, request=request)


def with_pixels(image: Image, pixels: Pixels, suffix: str = "") -> Image:
    """Return the image with these pixels; a suffix gives it another id."""
    return Image(f"{image.image_id}{suffix}", image.view, read=StoredPixels(pixels))


def with_images(request: Request, change: Callable[[Image], Image]) -> Request:
    """Return the request with each of its images changed, also those of the prior study."""
    prior = request.prior
    if prior is not None:
        prior = Prior(tuple(change(image) for image in prior.images), prior.report)
    return replace(request, images=tuple(change(i) for i in request.images), prior=prior)


def text_of(answer: Prediction) -> str:
    """Return all text of an answer."""
    report = answer.report
    parts = (report.findings or "", report.impression or "", *(p.text for p in report.phrases))
    return "\n".join(parts)


def comparable(answer: Prediction) -> tuple[object, ...]:
    """Return the parts of an answer that must be equal when two answers should agree."""
    return answer.report, answer.status


def crashed(answer: Prediction) -> bool:
    """Return whether the study failed by an exception that is not a ReportCardError."""
    return answer.status == "failed" and bool(CRASH.search(answer.error or ""))
