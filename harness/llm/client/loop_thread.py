"""Runs one coroutine in a thread with an event loop of its own.

The main thread cannot run it: Jupyter already runs an event loop there, and Ctrl-C reaches the main
thread, which can then cancel the requests in flight and store what was answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

STOP_S = 5.0  # how long `stop` waits for the requests in flight to be cancelled


class EventLoopThread:
    """A daemon thread that runs one coroutine in an event loop of its own."""

    def __init__(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._main = main
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        # Not Thread.join: before Python 3.13 a Ctrl-C in it makes a running thread count as ended.
        self._over = threading.Event()
        threading.Thread(target=self._run_thread, name="judge", daemon=True).start()

    def _run_thread(self) -> None:
        try:
            asyncio.run(self._run())
        except asyncio.CancelledError:
            pass
        except BaseExceptionGroup as group:
            self._error = group.exceptions[0]
        except BaseException as error:
            self._error = error
        finally:
            self._over.set()

    async def _run(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if not self._stopping:
            await self._main()

    def wait(self, seconds: float) -> bool:
        """Wait at most so many seconds; return whether the coroutine has ended."""
        return self._over.wait(seconds)

    def stop(self) -> None:
        """Cancel the coroutine, and with it the requests in flight."""
        self._stopping = True
        if not self._over.is_set() and self._loop and self._task:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._over.wait(STOP_S)

    def raise_error(self) -> None:
        """Raise what ended the coroutine, if anything but `stop` did."""
        if self._error is not None:
            raise self._error
