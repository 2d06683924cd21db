"""Prepares the inputs of the next batches in threads while the model works on the current one.

A model in stages (models/staged.py) gets whole requests prepared: decoded, scaled, tokenised. Any
other model that needs pixels gets its images decoded, so that `Image.pixels()` returns an array
that is already there, waits for one that is being decoded, or decodes one that no thread has
started. Answers therefore never depend on how far the threads are, and an image or a request
raises the same error, at the place where the model asks for it.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from reportcard.api import Image, ModelAdapter, Request
from reportcard.core.imaging.pixels import Pixels
from reportcard.core.imaging.read import LOOKUPS, decode
from reportcard.models.staged import Prepared, StagedAdapter

THREADS = 4
IMAGES = 128  # decoded images that may wait
BYTES = 2**30  # and their bytes
BATCHES = 2  # batches prepared beyond the current one; a request of three images takes 20 MB

Release = Callable[[int], None]
Role = tuple[str, str]  # ("present" or "prior", view)


@contextmanager
def prefetch(
    adapter: ModelAdapter, batches: Sequence[Sequence[Request]], batch_size: int, on: bool = True
) -> Iterator[Release]:
    """Prepare the coming batches inside the block.

    Args:
        adapter: the model that will answer them.
        batches: all batches, in the order in which they will be asked.
        batch_size: the largest of them, which bounds how much is prepared.
        on: False prepares nothing (for benchmarks).

    Yields a function to call after each batch with the number of requests that were answered.
    """
    coming = [request for batch in batches for request in batch]
    preparer = RequestPrefetcher.of(adapter) if on else None
    if preparer is not None:
        with _in_order(preparer, coming, (BATCHES + 1) * batch_size) as release:
            yield release
    else:
        wanted = coming if on and adapter.card.needs_pixels else []
        with prefetch_images(wanted, images=max(IMAGES, 3 * batch_size)) as images:
            yield images.release


@contextmanager
def _in_order(
    preparer: RequestPrefetcher, coming: Sequence[Request], most: int
) -> Iterator[Release]:
    """Announce at most `most` requests to the preparer at a time."""
    waiting, announced = deque(coming), deque[Request]()

    def announce() -> None:
        while waiting and len(announced) < most:
            announced.append(waiting.popleft())
            preparer.add(announced[-1])

    def release(requests: int) -> None:
        preparer.release([announced.popleft() for _ in range(requests)])
        announce()

    try:
        announce()
        yield release
    finally:
        preparer.close()


class RequestPrefetcher:
    """Threads that run `prepare` of one staged adapter for requests that were announced."""

    def __init__(self, adapter: StagedAdapter) -> None:
        self._adapter = adapter
        self._ready: dict[int, Future[Prepared]] = {}
        self._pool = ThreadPoolExecutor(min(THREADS, cores()), thread_name_prefix="prepare")
        adapter.prepared = self._take

    @classmethod
    def of(cls, adapter: ModelAdapter) -> RequestPrefetcher | None:
        """Return None for an adapter without stages."""
        return cls(adapter) if isinstance(adapter, StagedAdapter) else None

    def add(self, request: Request) -> None:
        """Start preparing a request, unless that was started already."""
        if id(request) not in self._ready:
            self._ready[id(request)] = self._pool.submit(self._adapter.prepare, request)

    def release(self, requests: Sequence[Request]) -> None:
        """Free what was prepared for requests that are answered."""
        for request in requests:
            self._ready.pop(id(request), None)

    def close(self) -> None:
        self._adapter.prepared = self._adapter.prepare
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _take(self, request: Request) -> Prepared:
        future = self._ready.get(id(request))
        return future.result() if future else self._adapter.prepare(request)


@contextmanager
def prefetch_images(
    requests: Sequence[Request],
    threads: int | None = None,
    images: int = IMAGES,
    size: int = BYTES,
) -> Iterator[ImagePrefetcher]:
    """Decode the images of these requests inside the block; all threads end with it.

    Args:
        requests: in the order in which they will be asked.
        threads: default: one per core of this process, at most THREADS.
        images: how many decoded images may wait at once.
        size: how many bytes of decoded images may wait at once.
    """
    prefetcher = ImagePrefetcher(requests, threads or min(THREADS, cores()), images, size)
    LOOKUPS.append(prefetcher.take)
    try:
        yield prefetcher
    finally:
        LOOKUPS.remove(prefetcher.take)
        prefetcher.close()


@dataclass(eq=False)
class _Decoding:
    """One image of one request. state: waiting → decoding → decoded → gone."""

    image: Image
    role: Role
    request: int
    state: str = "waiting"
    pixels: Pixels | None = None
    error: BaseException | None = None
    size: int = 0


class ImagePrefetcher:
    """A queue of images in request order, and the threads that decode them.

    Each array is handed over once and not kept. After each batch, images in a role (a view of the
    study or of its prior) that the model left unread are skipped until it reads that role again.
    Memory is bounded by `images` and `size`; one image per thread may come on top.
    """

    def __init__(self, requests: Sequence[Request], threads: int, images: int, size: int) -> None:
        self.images, self.size = images, size
        self.held = self.bytes = self.request = 0
        self.most = 0  # the largest number of images held at once
        self._queue = [item for n, request in enumerate(requests) for item in _items(n, request)]
        self._by_image: dict[Image, deque[_Decoding]] = defaultdict(deque)
        for item in self._queue:
            self._by_image[item.image].append(item)
        self._next = self._oldest = 0
        self._asked: set[Role] = set()
        self._unwanted: set[Role] = set()
        self._closed = False
        self._process = os.getpid()
        self._change = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"decode-{n}", daemon=True)
            for n in range(min(threads, len(self._queue)))
        ]
        for thread in self._threads:
            thread.start()

    def take(self, image: Image) -> Pixels | None:
        """Return the pixels of an image that was or is being decoded, None if none has begun.

        Raises what decoding raised.
        """
        if os.getpid() != self._process:  # a forked data loader has none of the threads
            return None
        with self._change:
            item = self._find(image)
            if item is None:
                return None
            self._asked.add(item.role)
            while item.state == "decoding" and not self._closed:
                self._change.wait()
            pixels, error = item.pixels, item.error
            self._drop(item)
        if error is not None:
            raise error
        return pixels

    def release(self, requests: int) -> None:
        """Free what was decoded for the next `requests` requests, which are answered."""
        with self._change:
            self.request += requests
            present = set()
            while self._oldest < len(self._queue):
                item = self._queue[self._oldest]
                if item.request >= self.request:
                    break
                present.add(item.role)
                self._drop(item)
                self._oldest += 1
            self._unwanted |= present - self._asked
            self._unwanted -= self._asked
            self._asked.clear()
            self._change.notify_all()

    def close(self) -> None:
        """Stop the threads and wait until each has finished the image that it is decoding."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()
        self._queue.clear()
        self._by_image.clear()

    def _find(self, image: Image) -> _Decoding | None:
        """Return the first item of this image that was not handed over yet."""
        queue = self._by_image.get(image)
        while queue and queue[0].state == "gone":
            queue.popleft()
        # Two images may compare equal and have different renderers.
        return queue[0] if queue and queue[0].image.read is image.read else None

    def _drop(self, item: _Decoding) -> None:
        if item.state == "decoded":
            self.held -= 1
            self.bytes -= item.size
        item.state, item.pixels, item.error = "gone", None, None
        self._change.notify_all()

    def _work(self) -> None:
        """Decode images until none is left; the body of each thread."""
        while (item := self._begin()) is not None:
            pixels: Pixels | None = None
            error: BaseException | None = None
            try:
                pixels = decode(item.image).pixels
            except BaseException as caught:  # raised again where the image is asked for
                error = caught
            with self._change:
                if item.state == "gone":  # its batch is over
                    self.held -= 1
                else:
                    item.state, item.pixels, item.error = "decoded", pixels, error
                    item.size = 0 if pixels is None else pixels.nbytes
                    self.bytes += item.size
                self._change.notify_all()
            del pixels, error

    def _begin(self) -> _Decoding | None:
        """Wait for room and return the next wanted image; None at the end."""
        with self._change:
            while not self._closed:
                while self._next < len(self._queue) and self._skipped(self._queue[self._next]):
                    self._next += 1
                if self._next == len(self._queue):
                    return None
                if self.held < self.images and self.bytes < self.size:
                    item = self._queue[self._next]
                    self._next += 1
                    self.held += 1
                    self.most = max(self.most, self.held)
                    item.state = "decoding"
                    return item
                self._change.wait()
            return None

    def _skipped(self, item: _Decoding) -> bool:
        return item.state == "gone" or item.request < self.request or item.role in self._unwanted


def _items(number: int, request: Request) -> Iterator[_Decoding]:
    for image in request.images:
        yield _Decoding(image, ("present", image.view), number)
    for image in request.prior.images if request.prior else ():
        yield _Decoding(image, ("prior", image.view), number)


def cores() -> int:
    """Return how many cores this process may use (a container or a job scheduler limits them)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
