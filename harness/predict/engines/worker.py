"""generate() in this process, batch by batch. A study that fails costs its own answer only.

Meanwhile the images of the coming batches are decoded, or whole requests prepared (ahead.py). A
batch for which the device has no memory is halved, and its kind stays so for the rest of the run.
"""

from __future__ import annotations

import os
import re
import time
import traceback
from collections.abc import Generator, Sequence, Set
from dataclasses import replace
from pathlib import Path

from reportcard.api import (
    ImageError,
    ModelAdapter,
    Prediction,
    Report,
    ReportCardError,
    Request,
    StopRunError,
)
from reportcard.predict.engines.batching import batches
from reportcard.predict.engines.prefetch_requests import looking_ahead

Key = tuple[str, int]

IMAGE_FAILURE = re.compile(r"image ([a-z_]+): ")  # how `explain` begins for an ImageError


def generate(
    adapter: ModelAdapter,
    requests: Sequence[Request],
    batch_size: int,
    quote_errors: bool,
    done: Set[Key] = frozenset(),
    exact: bool = False,
    ahead: bool = True,
) -> Generator[list[Prediction], None, None]:
    """Predictions batch by batch, of the requests whose key is not in `done`.

    Batches follow from all requests, done or not: what shares a batch can move the last bits of a
    half-precision answer, and a resumed run must not differ from one that was never stopped.

    A batch that raises is tried again one study at a time; a study that raises alone becomes a
    prediction with status "failed". quote_errors: keep the exception's message, which may quote
    report text and is therefore dropped for data that is not open. A StopRunError goes through,
    after the answers that it brings.
    """
    if getattr(adapter, "independent", False):
        requests = [request for request in requests if key(request) not in done]
    planned = batches(requests, batch_size, getattr(adapter, "cost", None), exact)
    todo = [batch for batch in planned if any(key(r) not in done for r in batch)]
    worker = Worker(adapter, quote_errors)
    with looking_ahead(adapter, todo, batch_size, ahead) as leave:
        for batch in todo:
            try:
                answers = worker.answers(batch)
            except StopRunError as stop:
                yield [answer for answer in stop.answers if key(answer) not in done]
                raise
            leave(len(batch))
            yield [answer for answer in answers if key(answer) not in done]


def key(item: Request | Prediction) -> Key:
    """What one answer of a run is filed under."""
    return (item.study_id, item.draw)


class Worker:
    """An adapter that answers whatever happens: batches come back whole, failures as answers."""

    def __init__(self, adapter: ModelAdapter, quote_errors: bool) -> None:
        self.adapter, self._quote = adapter, quote_errors
        self._fits: dict[object, int] = {}  # kind of batch → what the device has memory for

    def answers(self, requests: Sequence[Request]) -> list[Prediction]:
        """One per request, in order."""
        kind = self._kind(requests[0])
        size = self._fits.get(kind, len(requests))
        if size < len(requests):
            return [a for part in _parts(requests, size) for a in self.answers(part)]
        began = time.perf_counter()
        try:
            answers = list(self.adapter.generate(requests))
            _check(requests, answers)
        except StopRunError:
            raise
        except Exception as error:
            scarce = out_of_memory(error)
            if len(requests) > 1:
                size = halved(len(requests)) if scarce else 1
                if scarce:
                    self._fits[kind] = size
                    error.__traceback__ = None  # its frames hold the arrays of the batch
                    self._free()
                return [a for part in _parts(requests, size) for a in self.answers(part)]
            answers = [failed(requests[0], explain(error, self._quote))]
            if scarce:
                error.__traceback__ = None
                self._free()
        each = (time.perf_counter() - began) / len(requests)
        return [a if a.seconds is not None else replace(a, seconds=each) for a in answers]

    def _kind(self, request: Request) -> object:
        cost = getattr(self.adapter, "cost", None)
        return cost(request)[:2] if cost else None

    def _free(self) -> None:
        free = getattr(self.adapter, "free", None)
        if free is not None:
            free()


def halved(size: int) -> int:
    """The next smaller power of two. Cuts at its multiples stay cuts when it is halved again, so a
    batch ends in the same parts whether its kind's size was found in it, or known before."""
    return 1 << ((size - 1).bit_length() - 1)


def _parts(requests: Sequence[Request], size: int) -> list[Sequence[Request]]:
    return [requests[start : start + size] for start in range(0, len(requests), size)]


def out_of_memory(error: BaseException) -> bool:
    """Whether the device had no memory: torch.OutOfMemoryError, or CUDA's own words."""
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and "CUDA out of memory" in str(error)


def explain(error: Exception, quote: bool) -> str:
    """An exception in one line. quote: with its message, which may contain report text."""
    if isinstance(error, ImageError):
        return f"image {error.kind}: {error}"
    if isinstance(error, ReportCardError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    message = f": {' '.join(str(error).split())}" if quote else _of_system(error)
    return f"{type(error).__name__}{message}"[:500] + where


def _of_system(error: Exception) -> str:
    """The system's own words for an OSError: they quote no report."""
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return f": {os.strerror(error.errno)}"
    return ""


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
