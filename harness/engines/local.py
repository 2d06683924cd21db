"""generate() in this process, batch by batch. A study that fails costs its own answer only.

Where a model needs pixels, the images of the coming batches are decoded meanwhile (ahead.py).
"""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

from harness.api import (
    ImageError,
    ModelAdapter,
    Prediction,
    Report,
    ReportCardError,
    Request,
)
from harness.engines.ahead import decoding_ahead

IMAGE_FAILURE = re.compile(r"image ([a-z_]+): ")  # how `explain` begins for an ImageError


def generate(
    adapter: ModelAdapter, requests: Sequence[Request], batch_size: int, quote_errors: bool
) -> Generator[list[Prediction], None, None]:
    """Predictions batch by batch, in request order.

    A batch that raises is tried again one study at a time; a study that raises alone becomes a
    prediction with status "failed". quote_errors: keep the exception's message, which may quote
    report text and is therefore dropped for data that is not open.
    """
    coming = requests if adapter.card.needs_pixels else ()
    with decoding_ahead(coming, images=max(128, 3 * batch_size)) as ahead:
        for start in range(0, len(requests), batch_size):
            batch = requests[start : start + batch_size]
            answers = _batch(adapter, batch, quote_errors)
            ahead.leave(len(batch))
            yield answers


def _batch(
    adapter: ModelAdapter, requests: Sequence[Request], quote_errors: bool
) -> list[Prediction]:
    began = time.perf_counter()
    try:
        answers = list(adapter.generate(requests))
        _check(requests, answers)
    except Exception as error:
        if len(requests) > 1:
            return [p for request in requests for p in _batch(adapter, [request], quote_errors)]
        answers = [failed(requests[0], explain(error, quote_errors))]
    each = (time.perf_counter() - began) / len(requests)
    return [a if a.seconds is not None else replace(a, seconds=each) for a in answers]


def explain(error: Exception, quote: bool) -> str:
    """An exception in one line. quote: with its message, which may contain report text."""
    if isinstance(error, ImageError):
        return f"image {error.kind}: {error}"
    if isinstance(error, ReportCardError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    message = f": {' '.join(str(error).split())}" if quote else ""
    return f"{type(error).__name__}{message}"[:500] + where


def failed(request: Request, reason: str) -> Prediction:
    return Prediction(request.study_id, Report(), status="failed", error=reason, draw=request.draw)


def _check(requests: Sequence[Request], answers: Sequence[Prediction]) -> None:
    asked = [(r.study_id, r.draw) for r in requests]
    given = [(a.study_id, a.draw) for a in answers]
    for answer in answers:
        for text in (answer.report.findings, answer.report.impression, answer.raw):
            if not isinstance(text, str | None):
                raise TypeError(f"a report is text or None, not {type(text).__name__}")
    if asked != given:
        raise ValueError(
            f"generate() must answer each request once and in order: asked {len(asked)} studies,"
            f" got {len(given)}"
        )
