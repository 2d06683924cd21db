"""The interface of an engine, which runs models and annotators, and how to open one.

Every engine gives the same predictions for the same requests. Engines store nothing: the process
that calls them writes all files.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence, Set
from typing import Any, Protocol

from reportcard.api import Annotator, Json, Prediction
from reportcard.config.settings import EngineSettings
from reportcard.predict.engines.job import ModelJob
from reportcard.predict.engines.local import LocalEngine
from reportcard.predict.predictions_file import AnswerKey


class Engine(Protocol):
    """Where models and annotators run: in this process (local.py) or on Ray (ray.py)."""

    settings: EngineSettings

    def generate(
        self, job: ModelJob, batch_size: int, done: Set[AnswerKey] = frozenset()
    ) -> Generator[list[Prediction], None, None]:
        """Yield predictions batch by batch, for the requests whose key is not in `done`.

        Makes the adapter ready before the first batch and closes it after the last.
        Raises ReportCardError and StopRunError.
        """
        ...

    def annotate(
        self, annotator: Annotator, parts: Sequence[Sequence[Any]]
    ) -> Iterable[tuple[Sequence[Any], Sequence[Json | None]]]:
        """Yield (items, their notes) part by part, in any order."""
        ...

    def close(self) -> None: ...


def open_engine(settings: EngineSettings) -> Engine:
    """Return the engine that the configuration names. Ray is connected to when work begins."""
    if settings.kind == "local":
        return LocalEngine(settings)
    from reportcard.predict.engines.ray import RayEngine

    return RayEngine(settings)
