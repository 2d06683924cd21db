"""Images of the coming studies are decoded in threads while the model works on the present ones.

    with decoding_ahead(requests) as ahead:
        …generate(batch)…; ahead.leave(len(batch))

`Image.pixels()` then returns an array that is there already, waits for one being decoded, or
decodes at once what no thread has begun; so nothing depends on how far the threads are, and an
image raises the same ImageError where it is asked for. An array is handed over once and not kept.

What the model does not ask for is soon not decoded: after each batch, a role (a view of the study,
or of its prior) that it left alone is passed over until it asks for one. Memory is bounded by
`images` and `size`, the bytes of decoded arrays; threads × one image may come on top.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from reportcard.api import Image, Request
from reportcard.core.imaging.pixels import Pixels
from reportcard.core.imaging.read import LOOKUPS, decode

THREADS = 4
SIZE = 2**30

Role = tuple[str, str]


@dataclass(eq=False)
class _Job:
    """One image of one request. state: waiting → decoding → decoded → gone."""

    image: Image
    role: Role
    request: int
    state: str = "waiting"
    pixels: Pixels | None = None
    error: BaseException | None = None
    size: int = 0


class Ahead:
    """The queue of images in request order, the threads that work on it, and who asks for one."""

    def __init__(self, requests: Sequence[Request], threads: int, images: int, size: int) -> None:
        self.images, self.size = images, size
        self.held = self.bytes = self.request = 0
        self.most = 0  # the largest number of images held at once
        self._jobs = [job for n, request in enumerate(requests) for job in _jobs(n, request)]
        self._by_image: dict[Image, deque[_Job]] = defaultdict(deque)
        for job in self._jobs:
            self._by_image[job.image].append(job)
        self._next = self._oldest = 0
        self._asked: set[Role] = set()
        self._unwanted: set[Role] = set()
        self._closed = False
        self._process = os.getpid()
        self._change = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"decode-{n}", daemon=True)
            for n in range(min(threads, len(self._jobs)))
        ]
        for thread in self._threads:
            thread.start()

    def take(self, image: Image) -> Pixels | None:
        """The pixels of an image that was or is being decoded; None: nobody has begun.

        Raises what decoding raised.
        """
        if os.getpid() != self._process:  # a forked data loader has none of the threads
            return None
        with self._change:
            job = self._job_of(image)
            if job is None:
                return None
            self._asked.add(job.role)
            while job.state == "decoding" and not self._closed:
                self._change.wait()
            pixels, error = job.pixels, job.error
            self._drop(job)
        if error is not None:
            raise error
        return pixels

    def leave(self, requests: int) -> None:
        """The next so many requests are answered: what was decoded for them is let go."""
        with self._change:
            self.request += requests
            present = set()
            while self._oldest < len(self._jobs):
                job = self._jobs[self._oldest]
                if job.request >= self.request:
                    break
                present.add(job.role)
                self._drop(job)
                self._oldest += 1
            self._unwanted |= present - self._asked
            self._unwanted -= self._asked
            self._asked.clear()
            self._change.notify_all()

    def close(self) -> None:
        """Stop the threads and wait for them: each at most for the image that it is decoding."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()
        self._jobs.clear()
        self._by_image.clear()

    def _job_of(self, image: Image) -> _Job | None:
        """The first job for this image that is still to be handed over."""
        queue = self._by_image.get(image)
        while queue and queue[0].state == "gone":
            queue.popleft()
        # Equal images may be made by different renderers; only the very same one will do.
        return queue[0] if queue and queue[0].image.read is image.read else None

    def _drop(self, job: _Job) -> None:
        if job.state == "decoded":
            self.held -= 1
            self.bytes -= job.size
        job.state, job.pixels, job.error = "gone", None, None
        self._change.notify_all()

    def _work(self) -> None:
        while (job := self._begin()) is not None:
            pixels: Pixels | None = None
            error: BaseException | None = None
            try:
                pixels = decode(job.image).pixels
            except BaseException as caught:  # raised again where the image is asked for
                error = caught
            with self._change:
                if job.state == "gone":  # its batch is over
                    self.held -= 1
                else:
                    job.state, job.pixels, job.error = "decoded", pixels, error
                    job.size = 0 if pixels is None else pixels.nbytes
                    self.bytes += job.size
                self._change.notify_all()
            del pixels, error

    def _begin(self) -> _Job | None:
        """Wait for room, and take the next image of a wanted role; None at the end."""
        with self._change:
            while not self._closed:
                while self._next < len(self._jobs) and self._passed_over(self._jobs[self._next]):
                    self._next += 1
                if self._next == len(self._jobs):
                    return None
                if self.held < self.images and self.bytes < self.size:
                    job = self._jobs[self._next]
                    self._next += 1
                    self.held += 1
                    self.most = max(self.most, self.held)
                    job.state = "decoding"
                    return job
                self._change.wait()
            return None

    def _passed_over(self, job: _Job) -> bool:
        return job.state == "gone" or job.request < self.request or job.role in self._unwanted


def _jobs(number: int, request: Request) -> Iterator[_Job]:
    for image in request.images:
        yield _Job(image, ("present", image.view), number)
    for image in request.prior.images if request.prior else ():
        yield _Job(image, ("prior", image.view), number)


def cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # what a container or a job scheduler left us
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def decoding_ahead(
    requests: Sequence[Request],
    threads: int | None = None,
    images: int = 128,
    size: int = SIZE,
) -> Iterator[Ahead]:
    """Decode these requests' images ahead inside the block; no thread is left when it is left.

    threads   default: one per core of this process, at most THREADS
    images    how many decoded images may wait at once
    size      and how many bytes
    """
    ahead = Ahead(requests, threads or min(THREADS, cores()), images, size)
    LOOKUPS.append(ahead.take)
    try:
        yield ahead
    finally:
        LOOKUPS.remove(ahead.take)
        ahead.close()
