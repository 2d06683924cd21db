"""What is sent to where a plugin works: picklable before it is started, heavy afterwards.

A job is started once per process. It then answers items: for a model, numbers of requests; for an
annotator, texts. `coming` announces the next item, so that it can be prepared meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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
    Study,
)
from reportcard.predict.engines.prefetch_requests import Preparing
from reportcard.predict.engines.worker import Worker


class Job(Protocol):
    """`start` may raise ReportCardError: then nothing of it can run anywhere. `notes`: what an
    adapter has to tell of its start."""

    @property
    def notes(self) -> tuple[str, ...]: ...

    def start(self) -> None: ...

    def work(self, item: Any) -> Any: ...

    def coming(self, item: Any) -> None: ...

    def close(self) -> None: ...


@dataclass
class ModelJob:
    """A constructed adapter and everything it will be asked; an item is numbers of requests.

    train, test: for adapters that are fitted, or see references; not sent where they are not.
    """

    adapter: ModelAdapter
    requests: Sequence[Request]
    train: Sequence[Study] = ()
    test: Sequence[Study] = ()
    custody: Custody | None = None
    quote_errors: bool = False
    _worker: Worker | None = field(default=None, init=False, repr=False)
    _preparing: Preparing | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        card = self.adapter.card
        self.train = self.train if card.needs_train else ()
        self.test = self.test if card.sees_references else ()

    def make_ready(self) -> None:
        """What the adapter's card and hooks ask for, in order; last, weights are loaded."""
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
        self._preparing = Preparing.of(self.adapter)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(getattr(self.adapter, "notes", ()))

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

    def coming(self, item: Sequence[Any]) -> None:
        return None

    def close(self) -> None:
        self.annotator.close()


def close_adapter(adapter: ModelAdapter) -> None:
    close = getattr(adapter, "close", None)
    if close is not None:
        close()
