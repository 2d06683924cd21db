"""What is done for the coming batches while the model works on the present one.

A model in stages (harness/staged.py) has whole requests prepared: decoded, scaled, tokenised. Any
other model that needs pixels has its images decoded (ahead.py). Either way an answer does not
depend on how far the threads are, and an error is raised where the request is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from harness.api import ModelAdapter, Request
from harness.engines.ahead import THREADS, cores, decoding_ahead
from harness.staged import Prepared, StagedAdapter

BATCHES = 2  # prepared beyond the present one; a request of three images is 20 MB

Leave = Callable[[int], None]


@contextmanager
def looking_ahead(
    adapter: ModelAdapter, batches: Sequence[Sequence[Request]], batch_size: int, on: bool = True
) -> Iterator[Leave]:
    """Inside the block the coming batches are prepared. Call the yielded function with the number
    of requests that were answered. on=False: nothing is done ahead (benchmarks)."""
    coming = [request for batch in batches for request in batch]
    if not on:
        yield _nothing
    elif isinstance(adapter, StagedAdapter):
        with _preparing(adapter, coming, batch_size) as leave:
            yield leave
    else:
        wanted = coming if adapter.card.needs_pixels else []
        with decoding_ahead(wanted, images=max(128, 3 * batch_size)) as ahead:
            yield ahead.leave


def _nothing(requests: int) -> None:
    return None


@contextmanager
def _preparing(
    adapter: StagedAdapter, coming: Sequence[Request], batch_size: int
) -> Iterator[Leave]:
    """Requests are prepared in order, at most BATCHES batches beyond the one being answered."""
    waiting = deque(coming)
    ready: dict[int, Future[Prepared]] = {}
    order: deque[int] = deque()
    pool = ThreadPoolExecutor(min(THREADS, cores()), thread_name_prefix="prepare")

    def fill() -> None:
        while waiting and len(order) < (BATCHES + 1) * batch_size:
            request = waiting.popleft()
            ready[id(request)] = pool.submit(adapter.prepare, request)
            order.append(id(request))

    def take(request: Request) -> Prepared:
        future = ready.get(id(request))
        return future.result() if future else adapter.prepare(request)

    def leave(requests: int) -> None:
        for _ in range(requests):
            ready.pop(order.popleft(), None)
        fill()

    adapter.prepared = take
    try:
        fill()
        yield leave
    finally:
        adapter.prepared = adapter.prepare
        pool.shutdown(wait=True, cancel_futures=True)
