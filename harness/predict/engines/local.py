"""Runs models and annotators in this process, one batch at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence, Set
from typing import Any

from reportcard.api import Annotator, Json, ModelAdapter, Prediction, Request, StopRunError
from reportcard.config.settings import EngineSettings
from reportcard.predict.engines.job import ModelJob, Worker, batches, close_adapter
from reportcard.predict.engines.prefetch import prefetch
from reportcard.predict.predictions_file import AnswerKey, answer_key


class LocalEngine:
    """The engine of `engine=local`, which is the default."""

    def __init__(self, settings: EngineSettings | None = None) -> None:
        self.settings = settings or EngineSettings()

    def generate(
        self, job: ModelJob, batch_size: int, done: Set[AnswerKey] = frozenset()
    ) -> Generator[list[Prediction], None, None]:
        exact = self.settings.exact_buckets
        try:
            job.make_ready()
            yield from generate(
                job.adapter, job.requests, batch_size, job.quote_errors, done, exact
            )
        finally:
            close_adapter(job.adapter)

    def annotate(
        self, annotator: Annotator, parts: Sequence[Sequence[Any]]
    ) -> Iterable[tuple[Sequence[Any], Sequence[Json | None]]]:
        for part in parts:
            yield part, list(annotator.annotate(part))

    def close(self) -> None:
        return None


def generate(
    adapter: ModelAdapter,
    requests: Sequence[Request],
    batch_size: int,
    quote_errors: bool,
    done: Set[AnswerKey] = frozenset(),
    exact: bool = False,
    ahead: bool = True,
) -> Generator[list[Prediction], None, None]:
    """Yield predictions batch by batch, for the requests whose key is not in `done`.

    Args:
        adapter: the model, ready to answer.
        requests: all requests of the run. Batches are planned from all of them, because what
            shares a batch can change the last bits of a half-precision answer, and a resumed run
            must not differ from one that was never stopped.
        batch_size: the most requests in a batch.
        quote_errors: whether a failed study keeps its exception's message (open data only).
        done: answers that are stored already.
        exact: see `batches`.
        ahead: False prepares no inputs in threads (benchmarks).

    Raises StopRunError, after yielding the answers that it carries.
    """
    if getattr(adapter, "independent", False):
        requests = [request for request in requests if answer_key(request) not in done]
    planned = batches(requests, batch_size, getattr(adapter, "cost", None), exact)
    todo = [batch for batch in planned if any(answer_key(r) not in done for r in batch)]
    worker = Worker(adapter, quote_errors)
    with prefetch(adapter, todo, batch_size, ahead) as release:
        for batch in todo:
            try:
                answers = worker.answers(batch)
            except StopRunError as stop:
                yield [answer for answer in stop.answers if answer_key(answer) not in done]
                raise
            release(len(batch))
            yield [answer for answer in answers if answer_key(answer) not in done]
