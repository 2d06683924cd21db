"""What an engine runs: a model or an annotator, in this process or in a Ray actor.

A job is constructed and pickled before anything heavy is loaded, and started once per process.
It then works on items: for a model, positions in the list of requests; for an annotator, texts.
`Worker` sees to it that one study that fails costs its own answer only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Protocol

from reportcard.api import (
    Annotator,
    Custody,
    FittedAdapter,
    Json,
    ModelAdapter,
    Prediction,
    ReferenceAdapter,
    Request,
    StopRunError,
    Study,
)
from reportcard.models.staged import Cost
from reportcard.predict.engines.failures import explain, failed, out_of_memory
from reportcard.predict.engines.prefetch import RequestPrefetcher
from reportcard.predict.predictions_file import answer_key


class Job(Protocol):
    """The interface that both engines use. `notes`: what an adapter reports about its start."""

    @property
    def notes(self) -> tuple[str, ...]: ...

    def start(self) -> None:
        """Load everything. Raises ReportCardError when the job can run nowhere."""
        ...

    def work(self, item: Any) -> Any: ...

    def announce(self, item: Any) -> None:
        """Prepare the next item while another one is worked on."""
        ...

    def close(self) -> None: ...


@dataclass
class ModelJob:
    """A constructed adapter and everything that it will be asked.

    train, test   for adapters that are fitted or read references; dropped for all others
    custody       whose data the requests are; None: nobody asks
    quote_errors  whether stored errors may quote messages (open data only)
    """

    adapter: ModelAdapter
    requests: Sequence[Request]
    train: Sequence[Study] = ()
    test: Sequence[Study] = ()
    custody: Custody | None = None
    quote_errors: bool = False
    _worker: Worker | None = field(default=None, init=False, repr=False)
    _prefetcher: RequestPrefetcher | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        card = self.adapter.card
        self.train = self.train if card.needs_train else ()
        self.test = self.test if card.sees_references else ()

    def make_ready(self) -> None:
        """Call the hooks that the adapter's card asks for, in order; `plan` may load weights."""
        adapter = self.adapter
        admit, plan = (getattr(adapter, name, None) for name in ("admit", "plan"))
        if admit is not None and self.custody is not None:
            admit(self.custody)
        if adapter.card.needs_train and isinstance(adapter, FittedAdapter):
            adapter.fit(self.train)
        if adapter.card.sees_references and isinstance(adapter, ReferenceAdapter):
            adapter.see_references(self.test)
        if plan is not None:
            plan(self.requests)

    def start(self) -> None:
        self.make_ready()
        self._worker = Worker(self.adapter, self.quote_errors)
        self._prefetcher = RequestPrefetcher.of(self.adapter)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(getattr(self.adapter, "notes", ()))

    def work(self, item: Sequence[int]) -> list[Prediction]:
        assert self._worker is not None
        batch = [self.requests[n] for n in item]
        answers = self._worker.answers(batch)
        if self._prefetcher:
            self._prefetcher.release(batch)
        return answers

    def announce(self, item: Sequence[int]) -> None:
        if self._prefetcher:
            for n in item:
                self._prefetcher.add(self.requests[n])

    def close(self) -> None:
        if self._prefetcher:
            self._prefetcher.close()
        close_adapter(self.adapter)


@dataclass
class AnnotatorJob:
    """An annotator that has loaded nothing yet; an item is a list of what it reads."""

    annotator: Annotator

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def start(self) -> None:
        return None

    def work(self, item: Sequence[Any]) -> list[Json | None]:
        return list(self.annotator.annotate(item))

    def announce(self, item: Sequence[Any]) -> None:
        return None

    def close(self) -> None:
        self.annotator.close()


def close_adapter(adapter: ModelAdapter) -> None:
    """Call the adapter's `close`, if it has one."""
    close = getattr(adapter, "close", None)
    if close is not None:
        close()


def batches(
    requests: Sequence[Request],
    batch_size: int,
    cost: Callable[[Request], Cost] | None = None,
    exact: bool = False,
) -> list[list[Request]]:
    """Divide requests into batches of at most `batch_size`.

    The batches follow from all requests, answered or not, so that a resumed run has the batches of
    one that was never stopped.

    Args:
        requests: all requests of a run, in order.
        batch_size: the most requests in a batch.
        cost: the adapter's `cost`. Without it, the order stays as given. With it, the most
            expensive requests come first, so that a lack of memory shows at once and the time left
            is never underestimated, and a batch holds one number of new tokens and of images.
        exact: let only requests of equal cost share a batch, so that nothing is padded.
    """
    if cost is None:
        return _cut(requests, batch_size)
    priced = sorted(((cost(r), r) for r in requests), key=lambda pair: pair[0], reverse=True)
    groups = groupby(priced, key=lambda pair: pair[0] if exact else pair[0][:2])
    return [part for _, group in groups for part in _cut([r for _, r in group], batch_size)]


class Worker:
    """An adapter whose batches always come back whole: failures are answers, too.

    A batch that raises is asked again one study at a time; a study that raises alone becomes a
    prediction with status "failed". A batch for which the device has no memory is halved, and
    batches of its kind stay that small for the rest of the run.
    """

    def __init__(self, adapter: ModelAdapter, quote_errors: bool) -> None:
        self.adapter, self._quote = adapter, quote_errors
        self._fits: dict[object, int] = {}  # kind of batch → largest size that fits into memory

    def answers(self, requests: Sequence[Request]) -> list[Prediction]:
        """Return one prediction per request, in order. Raises StopRunError only."""
        kind = self._kind(requests[0])
        size = self._fits.get(kind, len(requests))
        if size < len(requests):
            return [a for part in _cut(requests, size) for a in self.answers(part)]
        began = time.perf_counter()
        try:
            answers = list(self.adapter.generate(requests))
            _check(requests, answers)
        except StopRunError:
            raise
        except Exception as error:
            no_memory = out_of_memory(error)
            if len(requests) > 1:
                size = halved(len(requests)) if no_memory else 1
                if no_memory:
                    self._fits[kind] = size
                    error.__traceback__ = None  # its frames hold the arrays of the batch
                    self._free()
                return [a for part in _cut(requests, size) for a in self.answers(part)]
            answers = [failed(requests[0], explain(error, self._quote))]
            if no_memory:
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
    """Return the next smaller power of two.

    Parts of that size stay whole when they are halved again, so a batch ends in the same parts
    whether the size that fits was found in this batch or in an earlier one.
    """
    return 1 << ((size - 1).bit_length() - 1)


def _cut(requests: Sequence[Request], size: int) -> list[list[Request]]:
    return [list(requests[start : start + size]) for start in range(0, len(requests), size)]


def _check(requests: Sequence[Request], answers: Sequence[Prediction]) -> None:
    """Raise TypeError or ValueError for answers that break the contract of `generate`."""
    for answer in answers:
        for text in (answer.report.findings, answer.report.impression, answer.raw):
            if not isinstance(text, str | None):
                raise TypeError(f"a report is text or None, not {type(text).__name__}")
    if [answer_key(r) for r in requests] != [answer_key(a) for a in answers]:
        raise ValueError(
            f"generate() must answer each request once and in order: asked {len(requests)} studies,"
            f" got {len(answers)}"
        )
