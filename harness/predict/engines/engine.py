"""Where models and annotators run: in this process, or on Ray. Both keep one promise: the same
requests give the same predictions, and whoever stores them is this process alone."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence, Set
from typing import Any, Protocol

from reportcard.api import Annotator, Json, Prediction
from reportcard.config.settings import EngineSettings
from reportcard.predict.engines import worker as local
from reportcard.predict.engines.job import ModelJob

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
