"""Where models and annotators run: in this process, or on Ray. Both keep one promise: the same
requests give the same predictions, and whoever stores them is this process alone."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence, Set
from typing import Any, Protocol

from harness.api import Annotator, Json, Prediction
from harness.engines import local
from harness.engines.job import ModelJob, close_adapter
from harness.settings import EngineSettings

Notes = Sequence[Json | None]


class Engine(Protocol):
    settings: EngineSettings

    def generate(
        self, job: ModelJob, batch_size: int, done: Set[local.Key] = frozenset()
    ) -> Generator[list[Prediction], None, None]:
        """Predictions batch by batch, of the requests whose key is not in `done`; makes the adapter
        ready before and closes it after. Raises ReportCardError and StopRunError."""
        ...

    def annotate(
        self, annotator: Annotator, parts: Sequence[Sequence[Any]]
    ) -> Iterable[tuple[Sequence[Any], Notes]]:
        """(items, notes) part by part, in any order."""
        ...

    def close(self) -> None: ...


class LocalEngine:
    """This process, one batch at a time."""

    def __init__(self, settings: EngineSettings | None = None) -> None:
        self.settings = settings or EngineSettings()

    def generate(
        self, job: ModelJob, batch_size: int, done: Set[local.Key] = frozenset()
    ) -> Generator[list[Prediction], None, None]:
        try:
            job.make_ready()
            yield from local.generate(
                job.adapter,
                job.requests,
                batch_size,
                job.quote_errors,
                done,
                self.settings.exact_buckets,
            )
        finally:
            close_adapter(job.adapter)

    def annotate(
        self, annotator: Annotator, parts: Sequence[Sequence[Any]]
    ) -> Iterable[tuple[Sequence[Any], Notes]]:
        for part in parts:
            yield part, list(annotator.annotate(part))

    def close(self) -> None:
        return None


def open_engine(settings: EngineSettings) -> Engine:
    """Connects to nothing yet."""
    if settings.kind == "local":
        return LocalEngine(settings)
    from harness.engines.ray import RayEngine

    return RayEngine(settings)
