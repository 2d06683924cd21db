"""Decides when a request may go out: retry with exponential backoff, and a circuit breaker.

All questions of one batch share one `Backoff`. After HTTP 429 or a Retry-After header every
question waits; after any other failure only the question that met it waits, for a time that doubles
and is jittered. The circuit breaker opens when nothing has succeeded for `patience_s` while
requests keep failing: from then on no further request of the batch goes out.
"""

from __future__ import annotations

import asyncio
import random
import time

from reportcard.llm.client.replies import FatalError, TransientError

UNREACHABLE = "unreachable"
BACKOFF_S, BACKOFF_MAX_S = 0.5, 20.0
MIN_PAUSE_S = 0.1  # also when a server says Retry-After: 0


def delay(tries: int) -> float:
    """Return the seconds before the next try: between half and all of 0.5, 1, 2, … 20."""
    longest: float = min(BACKOFF_MAX_S, BACKOFF_S * 2.0 ** min(tries, 10))
    return longest * random.uniform(0.5, 1.0)


class Backoff:
    """Waiting times between requests, with a circuit breaker."""

    def __init__(self, patience_s: float, who: str) -> None:
        """Start with the circuit breaker closed.

        patience_s: seconds of failures without a success after which it opens.
        who: whose endpoint this is, in the reason: "judge" or "model".
        """
        self.stopped: str | None = None  # why the circuit breaker opened
        self.last_success = 0.0
        self._patience_s, self._who = patience_s, who
        self._open = asyncio.Event()
        self._pause_until = 0.0
        self._pauses = 0  # in a row
        self._failing_since: float | None = None

    def stop(self, reason: str) -> None:
        """Open the circuit breaker: every further `wait_turn` raises. The first reason stays."""
        self.stopped = self.stopped or reason
        self._open.set()

    async def wait_turn(self) -> None:
        """Return when a request may go out; raise FatalError when the circuit breaker is open."""
        while self.stopped is None and (left := self._pause_until - time.monotonic()) > 0:
            await self._sleep(left * random.uniform(1.0, 1.1))  # not all at the same instant
        if self.stopped is not None:
            raise FatalError(self.stopped)

    def succeeded(self) -> None:
        """Note that a request was answered."""
        self.last_success = time.monotonic()
        self._failing_since, self._pauses = None, 0

    async def failed(self, failure: TransientError, sent: float, tries: int) -> None:
        """Wait before the next try.

        failure: what the request met.
        sent: when it was sent (time.monotonic).
        tries: how often this question had been sent before.
        """
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        left = self._failing_since + self._patience_s - now
        if left <= 0:
            self.stop(f"{self._who} {UNREACHABLE}: {failure}")
        # Whatever the server asked for, there is one last try at the end of patience_s.
        if failure.wait_s is not None:
            self._pause(now, min(max(failure.wait_s, MIN_PAUSE_S), left), sent)
        elif failure.limited:
            self._pause(now, min(delay(self._pauses), left), sent)
        else:
            await self._sleep(min(delay(tries), max(left, 0.0)))

    def _pause(self, now: float, seconds: float, sent: float) -> None:
        """Make everybody wait. Requests that were under way when a pause began do not extend it."""
        if sent >= self._pause_until:
            self._pauses += 1
            self._pause_until = now + seconds

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._open.wait()
        except TimeoutError:
            pass
