"""Requests → lines of a log, resumable at every batch: what `predict` and `generate` share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from contextlib import closing

from reportcard.api import Json, ModelAdapter, Prediction
from reportcard.core.files import JsonlLog
from reportcard.predict.engines.engine import Engine
from reportcard.predict.engines.job import ModelJob
from reportcard.predict.engines.worker import Key

Batches = Iterable[list[Prediction]]


def missing(adapter: ModelAdapter) -> str | None:
    """Why this model cannot run on this machine; None: it can, as far as one sees unloaded."""
    ask = getattr(adapter, "missing", None)
    return ask() if ask is not None else None


def answer_all(
    engine: Engine,
    job: ModelJob,
    log: JsonlLog,
    line: Callable[[Prediction], Json],
    progress: Callable[[Batches, int], Batches],
    batch_size: int,
    others: Set[Key] = frozenset(),
) -> tuple[int, float]:
    """Append to the log what it lacks of the job's requests, then close it.

    line: how an answer is written. batch_size: where the adapter has none of its own. others: keys
    that are not ours to answer. Returns how many were answered, and the model's seconds.
    """
    adapter, seconds = job.adapter, 0.0
    try:
        rows = list(log.rows())
        done = {(row["study_id"], row["draw"]) for row in rows} | others
        resume = getattr(adapter, "resume", None)
        if resume is not None:
            resume(rows)
        pending = len(job.requests) - len(done)
        size = getattr(adapter, "batch_size", None) or batch_size
        batches = engine.generate(job, size, done)
        with closing(batches):  # its threads and replicas end with it, also when we are stopped
            for batch in progress(batches, pending):
                log.append(map(line, batch))
                seconds += sum(p.seconds or 0.0 for p in batch)
    finally:
        log.close()
    return pending, seconds
