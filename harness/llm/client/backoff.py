"""How long to wait for an endpoint, and when to give up: shared by all questions of one `ask`.

A 429 or a Retry-After pauses everybody; any other failure only the question that met it, for a
jittered, doubling time. When nothing has succeeded for patience_s while requests fail, the run of
questions is stopped.
"""

from __future__ import annotations

import asyncio
import random
import time

from reportcard.llm.client.endpoint_errors import FatalError, TransientError

UNREACHABLE = "unreachable"
BACKOFF_S, BACKOFF_MAX_S = 0.5, 20.0
MIN_PAUSE_S = 0.1  # also when a server says Retry-After: 0


def backoff(tries: int) -> float:
    """Seconds before the next try; between half and all of 0.5, 1, 2, … 20."""
    longest: float = min(BACKOFF_MAX_S, BACKOFF_S * 2.0 ** min(tries, 10))
    return longest * random.uniform(0.5, 1.0)


class Backoff:
    """Needs a running event loop."""

    def __init__(self, patience_s: float, who: str) -> None:
        self.reason: str | None = None
        self.last_success = 0.0
        self._patience_s, self._who = patience_s, who
        self._stopped = asyncio.Event()
        self._pause_until = 0.0
        self._pauses = 0  # in a row
        self._failing_since: float | None = None

    def stop(self, reason: str) -> None:
        """Every further `turn` raises; the first reason stays."""
        self.reason = self.reason or reason
        self._stopped.set()

    async def turn(self) -> None:
        """Returns when a request may go out. Raises FatalError when none may any more."""
        while self.reason is None and (left := self._pause_until - time.monotonic()) > 0:
            await self._sleep(left * random.uniform(1.0, 1.1))  # not all at the same instant
        if self.reason is not None:
            raise FatalError(self.reason)

    def succeeded(self) -> None:
        self.last_success = time.monotonic()
        self._failing_since, self._pauses = None, 0

    async def failed(self, failure: TransientError, sent: float, tries: int) -> None:
        """Wait before trying again. sent: when (monotonic); tries: of this question so far."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        left = self._failing_since + self._patience_s - now
        if left <= 0:
            self.stop(f"{self._who} {UNREACHABLE}: {failure}")
        # One last try when patience ends, whatever the server asked for.
        if failure.wait_s is not None:
            self._pause(now, min(max(failure.wait_s, MIN_PAUSE_S), left), sent)
        elif failure.limited:
            self._pause(now, min(backoff(self._pauses), left), sent)
        else:
            await self._sleep(min(backoff(tries), max(left, 0.0)))

    def _pause(self, now: float, seconds: float, sent: float) -> None:
        """Refusals of requests that were under way when it began do not lengthen a pause."""
        if sent >= self._pause_until:
            self._pauses += 1
            self._pause_until = now + seconds

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            pass
