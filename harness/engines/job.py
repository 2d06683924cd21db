"""What is sent to where a plugin works: picklable before it is started, heavy afterwards.

A job is started once per process. It then answers items: for a model, numbers of requests; for an
annotator, texts. `coming` announces the next item, so that it can be prepared meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.api import (
    Annotator,
    FittedAdapter,
    Json,
    ModelAdapter,
    Prediction,
    ReferenceAdapter,
    Request,
    Study,
)
from harness.engines.local import Worker
from harness.engines.preparing import Preparing


class Job(Protocol):
    """`start` may raise ReportCardError: then nothing of it can run anywhere."""

    def start(self) -> None: ...

    def work(self, item: Any) -> Any: ...

    def coming(self, item: Any) -> None: ...

    def close(self) -> None: ...


@dataclass
class ModelJob:
    """A constructed adapter and everything it will be asked; an item is numbers of requests."""

    adapter: ModelAdapter
    requests: Sequence[Request]
    train: Sequence[Study] = ()
    test: Sequence[Study] = ()
    quote_errors: bool = False
    _worker: Worker | None = field(default=None, init=False, repr=False)
    _preparing: Preparing | None = field(default=None, init=False, repr=False)

    def start(self) -> None:
        make_ready(self.adapter, self.requests, self.train, self.test)
        self._worker = Worker(self.adapter, self.quote_errors)
        self._preparing = Preparing.of(self.adapter)

    def work(self, item: Sequence[int]) -> list[Prediction]:
        assert self._worker is not None
        batch = [self.requests[n] for n in item]
        answers = self._worker.answers(batch)
        if self._preparing:
            self._preparing.leave(batch)
        return answers

    def coming(self, item: Sequence[int]) -> None:
        if self._preparing:
            for n in item:
                self._preparing.add(self.requests[n])

    def close(self) -> None:
        if self._preparing:
            self._preparing.close()
        close = getattr(self.adapter, "close", None)
        if close is not None:
            close()


@dataclass
class AnnotatorJob:
    """An annotator that has loaded nothing yet; an item is a list of what it reads."""

    annotator: Annotator

    def start(self) -> None:
        return None

    def work(self, item: Sequence[Any]) -> list[Json | None]:
        return list(self.annotator.annotate(item))

    def coming(self, item: Sequence[Any]) -> None:
        return None

    def close(self) -> None:
        self.annotator.close()


def make_ready(
    adapter: ModelAdapter,
    requests: Sequence[Request],
    train: Sequence[Study],
    test: Sequence[Study],
) -> None:
    """What the adapter's card asks for, and its `plan`. Raises ReportCardError."""
    if adapter.card.needs_train and isinstance(adapter, FittedAdapter):
        adapter.fit(train)
    if adapter.card.sees_references and isinstance(adapter, ReferenceAdapter):
        adapter.see_references(test)
    plan = getattr(adapter, "plan", None)
    if plan is not None:
        plan(requests)
