"""Checks bad input: an image that cannot be read, and unusual text."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image

from reportcard.analysis.check.under_test import Check, ModelUnderTest, comparable, crashed
from reportcard.api import Image, Request
from reportcard.predict.predictions_file import IMAGE_FAILURE

HUGE = "Cough and fever for three days, rule out pneumonia. " * 1000  # 52 kB
STRANGE = '\x00\x07 </s> [INST] {findings} %s \\n 发热 🫁 \u202eabc\u202c \ufeff ﷽ \r\n\t"'


def one_bad_image(model: ModelUnderTest) -> Check:
    """Check that a missing file and half a PNG fail only their own study, with an ImageError."""
    name, failures = "one bad image", []
    with tempfile.TemporaryDirectory(prefix="reportcard-check-") as folder:
        for what, path in _bad_files(Path(folder)):
            requests = model.requests
            bad = len(requests) // 2
            requests[bad] = replace(
                requests[bad],
                images=tuple(
                    Image(f"{image.image_id}-{what}", image.view, path)
                    for image in requests[bad].images
                ),
            )
            answers = model.ask(requests)
            for n, (answer, before) in enumerate(zip(answers, model.answers, strict=True)):
                if n != bad and comparable(answer) != comparable(before):
                    reason = f"a {what} image changed the answer of another study"
                    return Check(name, "FAIL", f"{reason}: {answer.study_id}: {_why(answer.error)}")
            answer = answers[bad]
            if answer.status == "failed":
                if not IMAGE_FAILURE.match(answer.error or ""):
                    reason = f"a {what} image raised no ImageError but: {_why(answer.error)}"
                    return Check(name, "FAIL", reason)
                failures.append(f"{what}: {(answer.error or '').partition(':')[0]}")
            elif model.claims_pixels:
                reason = f"a study with a {what} image was answered as if it could be read"
                return Check(name, "FAIL", reason)
    if not failures:
        return Check(name, "pass", "reads no image: nothing changed")
    return Check(name, "pass", f"only its own study fails ({'; '.join(failures)})")


def _bad_files(folder: Path) -> Iterator[tuple[str, Path]]:
    yield "missing", folder / "absent.png"
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8)
    PIL.Image.fromarray(noise).save(whole, "PNG")
    half = folder / "half.png"
    half.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    yield "truncated", half


def odd_context(model: ModelUnderTest) -> Check:
    """Check missing, huge and strange context, a missing lateral image and a missing prior."""
    name, refusals = "odd context", []
    requests = model.requests
    for number, what in enumerate(VARIANTS):
        request = VARIANTS[what](requests[number % len(requests)])
        (answer,) = model.ask([request])
        if crashed(answer):
            return Check(name, "FAIL", f"{what}: {answer.error}")
        if answer.status == "failed":
            if what not in REFUSABLE:
                return Check(name, "FAIL", f"{what}: no answer: {_why(answer.error)}")
            refusals.append(f"{what} is refused: {_why(answer.error)}")
    return Check(name, "pass", "; ".join(refusals) or ", ".join(VARIANTS))


def _all_texts(request: Request, text: str | None) -> Request:
    return replace(request, indication=text, technique=text, comparison=text)


VARIANTS: Mapping[str, Callable[[Request], Request]] = {
    "no context": lambda r: replace(_all_texts(r, None), age=None, sex=None),
    "empty context": lambda r: _all_texts(r, ""),
    "blank context": lambda r: _all_texts(r, " \n\t "),
    "a huge indication": lambda r: replace(r, indication=HUGE),
    "strange characters": lambda r: _all_texts(r, STRANGE),
    "an image's placeholder": lambda r: _all_texts(r, "Cough. <image> Fever."),
    "no lateral": lambda r: replace(r, images=tuple(i for i in r.images if not i.lateral)),
    "no prior": lambda r: replace(r, prior=None),
}
REFUSABLE = ("a huge indication", "an image's placeholder")


def _why(error: str | None) -> str:
    return (error or "no reason given")[:160]
