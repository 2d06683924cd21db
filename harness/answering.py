"""Requests → lines of a log, resumable at every batch: what `predict` and `generate` share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing

from harness.api import Json, ModelAdapter, Prediction, Request
from harness.engines import local
from harness.store import JsonlLog

Batches = Iterable[list[Prediction]]


def missing(adapter: ModelAdapter) -> str | None:
    """Why this model cannot run on this machine; None: it can, as far as one sees unloaded."""
    ask = getattr(adapter, "missing", None)
    return ask() if ask is not None else None


def plan(adapter: ModelAdapter, requests: Sequence[Request]) -> None:
    """Let the adapter see what is coming; it may refuse, and one with weights loads them."""
    see = getattr(adapter, "plan", None)
    if see is not None:
        see(requests)


def answer_all(
    adapter: ModelAdapter,
    requests: Sequence[Request],
    log: JsonlLog,
    line: Callable[[Prediction], Json],
    progress: Callable[[Batches, int], Batches],
    *,
    batch_size: int,
    exact: bool,
    quote_errors: bool,
) -> tuple[int, float]:
    """Append to the log what it lacks of these requests, then close it and the adapter.

    line: how an answer is written. quote_errors: an error may be kept with its message, which may
    quote a report. Returns how many were answered, and the model's seconds.
    """
    seconds = 0.0
    try:
        rows = list(log.rows())
        done = {(row["study_id"], row["draw"]) for row in rows}
        resume = getattr(adapter, "resume", None)
        if resume is not None:
            resume(rows)
        pending = len(requests) - len(done)
        size = getattr(adapter, "batch_size", None) or batch_size
        batches = local.generate(adapter, requests, size, quote_errors, done, exact)
        with closing(batches):  # its threads end with it, also when we are stopped
            for batch in progress(batches, pending):
                log.append(map(line, batch))
                seconds += sum(p.seconds or 0.0 for p in batch)
    finally:
        log.close()
        close = getattr(adapter, "close", None)
        if close is not None:
            close()
    return pending, seconds
