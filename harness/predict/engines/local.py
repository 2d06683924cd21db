"""Here: this process, one batch at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence, Set
from typing import Any

from reportcard.api import Annotator, Prediction
from reportcard.config.settings import EngineSettings
from reportcard.predict.engines import worker as local
from reportcard.predict.engines.engine import Notes
from reportcard.predict.engines.job import ModelJob, close_adapter


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
