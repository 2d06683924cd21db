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

from reportcard.api import ModelAdapter, Request
from reportcard.models.staged import Prepared, StagedAdapter
from reportcard.predict.engines.prefetch_images import THREADS, cores, decoding_ahead

BATCHES = 2  # prepared beyond the present one; a request of three images is 20 MB

Leave = Callable[[int], None]


@contextmanager
def looking_ahead(
    adapter: ModelAdapter, batches: Sequence[Sequence[Request]], batch_size: int, on: bool = True
) -> Iterator[Leave]:
    """Inside the block the coming batches are prepared. Call the yielded function with the number
    of requests that were answered. on=False: nothing is done ahead (benchmarks)."""
    coming = [request for batch in batches for request in batch]
    preparing = Preparing.of(adapter) if on else None
    if preparing is not None:
        with _in_order(preparing, coming, (BATCHES + 1) * batch_size) as leave:
            yield leave
    else:
        wanted = coming if on and adapter.card.needs_pixels else []
        with decoding_ahead(wanted, images=max(128, 3 * batch_size)) as ahead:
            yield ahead.leave


@contextmanager
def _in_order(preparing: Preparing, coming: Sequence[Request], most: int) -> Iterator[Leave]:
    waiting, order = deque(coming), deque[Request]()

    def fill() -> None:
        while waiting and len(order) < most:
            order.append(waiting.popleft())
            preparing.add(order[-1])

    def leave(requests: int) -> None:
        preparing.leave([order.popleft() for _ in range(requests)])
        fill()

    try:
        fill()
        yield leave
    finally:
        preparing.close()


class Preparing:
    """Threads that prepare announced requests of one adapter, which takes them from here."""

    def __init__(self, adapter: StagedAdapter) -> None:
        self._adapter = adapter
        self._ready: dict[int, Future[Prepared]] = {}
        self._pool = ThreadPoolExecutor(min(THREADS, cores()), thread_name_prefix="prepare")
        adapter.prepared = self._take

    @classmethod
    def of(cls, adapter: ModelAdapter) -> Preparing | None:
        """None for an adapter without stages."""
        return cls(adapter) if isinstance(adapter, StagedAdapter) else None

    def add(self, request: Request) -> None:
        if id(request) not in self._ready:
            self._ready[id(request)] = self._pool.submit(self._adapter.prepare, request)

    def leave(self, requests: Sequence[Request]) -> None:
        """These are answered: what was prepared for them is let go."""
        for request in requests:
            self._ready.pop(id(request), None)

    def close(self) -> None:
        self._adapter.prepared = self._adapter.prepare
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _take(self, request: Request) -> Prepared:
        future = self._ready.get(id(request))
        return future.result() if future else self._adapter.prepare(request)
