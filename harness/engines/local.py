"""generate() in this process, batch by batch. A study that fails costs its own answer only."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.api import ModelAdapter, Prediction, Report, Request


def generate(
    adapter: ModelAdapter, requests: Sequence[Request], batch_size: int, quote_errors: bool
) -> Iterator[list[Prediction]]:
    """Predictions batch by batch, in request order.

    A batch that raises is tried again one study at a time; a study that raises alone becomes a
    prediction with status "failed". quote_errors: keep the exception's message, which may quote
    report text and is therefore dropped for data that is not open.
    """
    for start in range(0, len(requests), batch_size):
        yield _batch(adapter, requests[start : start + batch_size], quote_errors)


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
        message = f"{type(error).__name__}: {error}" if quote_errors else type(error).__name__
        answers = [failed(requests[0], message[:500])]
    each = (time.perf_counter() - began) / len(requests)
    return [a if a.seconds is not None else replace(a, seconds=each) for a in answers]


def failed(request: Request, reason: str) -> Prediction:
    return Prediction(request.study_id, Report(), status="failed", error=reason, draw=request.draw)


def _check(requests: Sequence[Request], answers: Sequence[Prediction]) -> None:
    asked = [(r.study_id, r.draw) for r in requests]
    given = [(a.study_id, a.draw) for a in answers]
    if asked != given:
        raise ValueError(
            f"generate() must answer each request once and in order: asked {len(asked)} studies,"
            f" got {len(given)}"
        )
