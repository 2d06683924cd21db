"""Measures whether a model's text follows its image.

Each study is asked for with its own images, with the same images again, with blank ones (the mean
grey of each image), and with another patient's. The change is counted in words: 1 − the share of
words that two texts have in common, in order (the normalised Indel distance). A model that writes
the same text for a blank image and for another patient's image ignores it, whatever its scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rapidfuzz.distance import Indel

from reportcard.analysis.check.under_test import (
    Check,
    ModelUnderTest,
    text_of,
    with_images,
    with_pixels,
)
from reportcard.api import Image, Json, Prediction, ReportCardError, Request, Study

IGNORES = 0.01  # mean share of changed words; a text that follows its image changes far more


@dataclass(frozen=True, slots=True)
class Change:
    """How much texts changed: the mean share of words, and the share of texts with any change."""

    words: float
    texts: float


@dataclass(frozen=True, slots=True)
class ImageUse:
    """What was measured on `studies` studies; `failed` were left out for want of an answer."""

    studies: int
    failed: int
    again: Change
    blank: Change
    other: Change
    claims_pixels: bool

    @property
    def ignores_pixels(self) -> bool:
        """Return whether the card declares images that do not change the text.

        That is so when neither a blank image nor another patient's image changes the text more than
        asking again does.
        """
        moved = max(self.blank.words, self.other.words)
        return self.claims_pixels and moved < max(IGNORES, 2 * self.again.words)

    def to_json(self) -> Json:
        return {**asdict(self), "ignores_pixels": self.ignores_pixels}


def probe(model: ModelUnderTest) -> ImageUse:
    """Measure a model. Raises ReportCardError where no study was answered in all conditions."""
    requests = [study.request for study in model.many]
    others = OtherPatients(model)
    own = model.ask(requests)
    conditions = {
        "again": model.ask(requests),
        "blank": model.ask([with_images(request, blank) for request in requests]),
        "other": model.ask([others.instead(study) for study in model.many]),
    }
    whole = [
        n
        for n in range(len(requests))
        if all(answers[n].status != "failed" for answers in (own, *conditions.values()))
    ]
    if not whole:
        reasons = [a.error for answers in (own, *conditions.values()) for a in answers if a.error]
        raise ReportCardError(f"no study was answered in all conditions: {reasons[0][:200]}")
    changes = {
        name: _change([own[n] for n in whole], [answers[n] for n in whole])
        for name, answers in conditions.items()
    }
    failed = len(requests) - len(whole)
    return ImageUse(len(whole), failed, claims_pixels=model.claims_pixels, **changes)


def _change(before: Sequence[Prediction], after: Sequence[Prediction]) -> Change:
    rates = [changed_words(text_of(a), text_of(b)) for a, b in zip(before, after, strict=True)]
    texts = [text_of(a) != text_of(b) for a, b in zip(before, after, strict=True)]
    return Change(round(float(np.mean(rates)), 6), round(float(np.mean(texts)), 6))


def changed_words(a: str, b: str) -> float:
    """Return 0 for the same words in the same order, up to 1 for no common word."""
    return float(Indel.normalized_distance(a.split(), b.split()))


def blank(image: Image) -> Image:
    """Return an image of the same size with the image's mean grey everywhere."""
    pixels = image.pixels()
    grey = np.full_like(pixels, round(float(pixels.mean())))
    return with_pixels(image, grey, "-blank")


class OtherPatients:
    """Replaces each image by one of the same kind (frontal or lateral) of another patient."""

    def __init__(self, model: ModelUnderTest) -> None:
        self._test = model.cohort.test

    def instead(self, study: Study) -> Request:
        start = next(n for n, s in enumerate(self._test) if s.study_id == study.study_id)
        following = [*self._test[start + 1 :], *self._test[:start]]
        images = [
            image
            for other in following
            if other.patient_id != study.patient_id
            for image in other.request.images
        ]
        taken: set[Image] = set()

        def change(image: Image) -> Image:
            for found in images:
                if found.lateral == image.lateral and found not in taken:
                    taken.add(found)
                    return Image(f"{found.image_id}-instead", image.view, read=found.read)
            return image

        return with_images(study.request, change)


def checks(model: ModelUnderTest, found: ImageUse) -> list[Check]:
    """Return the measurement as two lines of the table."""
    numbers = (
        f"{found.other.words:.2f} of the words change with another patient's image,"
        f" {found.blank.words:.2f} with a blank one ({found.studies} studies)"
    )
    if found.failed:
        numbers += f"; {found.failed} failed"
    again = Check("asked again", "pass", f"{found.studies} studies: the same text")
    if found.again.texts:
        reason = f"not deterministic: asked again, {found.again.texts:.0%} of the texts changed"
        again = Check("asked again", "FAIL", reason)
    if found.ignores_pixels:
        return [again, Check("vision use", "FAIL", f"ignores its image: {numbers}")]
    if found.claims_pixels:
        return [again, Check("vision use", "pass", numbers)]
    if max(found.blank.words, found.other.words) > max(IGNORES, 2 * found.again.words):
        reason = f"the card names no image, but the text changes with the image: {numbers}"
        return [again, Check("vision use", "FAIL", reason)]
    return [again, Check("vision use", "info", "text only: its card names no image")]
