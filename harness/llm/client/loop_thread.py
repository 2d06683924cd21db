"""The thread in which questions are asked, with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence

from reportcard.llm.client.batch import QuestionBatch
from reportcard.llm.client.endpoint import Endpoint
from reportcard.llm.judge.contract import Question

STOP_S = 5.0  # for requests in flight to be abandoned in


class EventLoopThread:
    """A thread with an event loop that asks all questions and ends."""

    def __init__(
        self,
        build: Callable[[Endpoint], QuestionBatch],
        connect: Callable[[], Endpoint],
        questions: Sequence[Question],
    ) -> None:
        self._build, self._connect, self._questions = build, connect, questions
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        # Not Thread.join: before Python 3.13 a Ctrl-C in it makes a running thread count as ended.
        self._over = threading.Event()
        threading.Thread(target=self._main, name="judge", daemon=True).start()

    def _main(self) -> None:
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
        if self._stopping:
            return
        endpoint = self._connect()
        try:
            await self._build(endpoint).run(self._questions)
        finally:
            await endpoint.close()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, after at most so many seconds."""
        return self._over.wait(seconds)

    def stop(self) -> None:
        """Abandon what is in flight."""
        self._stopping = True
        if not self._over.is_set() and self._loop and self._task:
            with contextlib.suppress(RuntimeError):  # it has ended meanwhile
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._over.wait(STOP_S)

    def raise_error(self) -> None:
        if self._error is not None:
            raise self._error
