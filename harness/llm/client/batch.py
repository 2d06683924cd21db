"""Asks one endpoint many questions at a time: workers, retries, and parsing of the answers.

    questions ──▶ QuestionBatch (workers) ──▶ Backoff, Ledger ──▶ Endpoint.send ──▶ Reply
                       │
                       └─ a QuestionOutcome per question, as it comes

A question takes several answers only when one cannot be parsed. A request that the endpoint fails
to answer is tried again until the circuit breaker opens (backoff.py). `EventLoopThread` runs the
batch beside the main thread, which stores the outcomes.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reportcard.config.endpoint_settings import EndpointSettings
from reportcard.llm.client.backoff import Backoff
from reportcard.llm.client.budget import Ledger
from reportcard.llm.client.endpoint import Endpoint, Mode, StructuredOutputModes, connect
from reportcard.llm.client.replies import (
    CONTENT_FILTER,
    FailureError,
    FatalError,
    PermanentError,
    Reply,
    ReplyRecord,
    RequestRejectedError,
    TransientError,
    no_such_model,
    safe_id,
)
from reportcard.llm.judge.contract import BadAnswerError, Question, Verdict

if TYPE_CHECKING:
    from reportcard.llm.egress.policy import Permit

TRIES, LIMITED_TRIES = 6, 24  # of one question, while others succeed; the second for 429
REJECTIONS = 3  # questions in a row that are rejected in every mode: then the rest is not tried
LONGER = 4  # times max_tokens, after an answer that was cut
STEP = 0.3  # of temperature per further answer
STOP_S = 5.0  # how long `EventLoopThread.stop` waits until the requests in flight are cancelled


@dataclass(frozen=True, slots=True)
class QuestionOutcome:
    """The verdict on one question of a batch, with the answers it was read from.

    index    of the question in the batch
    model    the id that answered; None where nothing did
    answers  every answer that was received
    unread   how many answers could not be parsed, when the verdict has no value because of that
    """

    index: int
    verdict: Verdict
    model: str | None = None
    answers: tuple[ReplyRecord, ...] = ()
    unread: int = 0


class QuestionBatch:
    """All questions of one `ask`."""

    def __init__(
        self,
        settings: EndpointSettings,
        permit: Permit,
        ledger: Ledger,
        modes: StructuredOutputModes,
        deliver: Callable[[QuestionOutcome], None],
        *,
        attempts: int = 1,
        resolved: str | None = None,
        others: Set[str] = frozenset(),
        proven: bool = False,
    ) -> None:
        """Prepare a batch; nothing is sent before `run`.

        Args:
            settings: which endpoint, and its limits.
            permit: the egress gate's permission; connections reach nothing else.
            ledger: counts the cost, over several batches.
            modes: what is known of the endpoint's structured output, over several batches.
            deliver: receives each outcome as it comes, in the thread that runs the batch.
            attempts: how many answers are requested per question until one can be parsed.
            resolved: the id that the endpoint is known to resolve the model's name to.
            others: ids that it answered under before. An answer of one of them, in turns with
                `resolved`, is discarded and requested again; any other id ends the batch.
            proven: the endpoint has accepted such questions before, so that a rejection is about
                the one question.
        """
        self.resolved = resolved
        self._others = others - {resolved}
        self._own = False  # whether `resolved` has answered in this batch
        self._seen: set[str] = set()  # those of `others` that have answered in this batch
        self._settings, self._permit, self._ledger = settings, permit, ledger
        self._modes, self._deliver, self._attempts = modes, deliver, attempts
        self._backoff = Backoff(settings.patience_s, settings.role)
        self._rejected, self._proven = 0, proven

    @property
    def stopped(self) -> str | None:
        """Why no further question was asked; None when all were."""
        return self._backoff.stopped

    @property
    def by_turns(self) -> str | None:
        """The warning that two models have answered under one name, if they have."""
        if self.resolved and self._own and self._seen:
            return _by_turns(self.resolved, " and ".join(sorted(self._seen)))
        return None

    async def run(self, questions: Sequence[Question]) -> None:
        """Connect, ask all questions, and deliver an outcome for each as it comes."""
        queue = iter(enumerate(questions))
        endpoint = connect(self._settings, self._permit)
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(max(1, int(self._settings.concurrency)), len(questions))):
                    workers.create_task(self._work(endpoint, queue))
        finally:
            await endpoint.close()

    async def _work(self, endpoint: Endpoint, queue: Iterator[tuple[int, Question]]) -> None:
        for index, question in queue:
            try:
                outcome = await self._answer(endpoint, index, question)
            except PermanentError as error:
                outcome = QuestionOutcome(index, Verdict(reason=str(error)))
            except FailureError as error:
                if isinstance(error, FatalError):
                    self._backoff.stop(str(error))
                outcome = QuestionOutcome(index, Verdict(reason=str(error), again=True))
            if outcome.model not in (None, self.resolved):
                self._backoff.stop(model_changed(self._settings, self.resolved, outcome.model))
            self._deliver(outcome)

    async def _answer(self, endpoint: Endpoint, index: int, question: Question) -> QuestionOutcome:
        """Request answers until one can be parsed, with other sampling each time."""
        answers: list[ReplyRecord] = []
        unread, discarded, max_tokens, reason = 0, 0, question.max_tokens, ""
        while unread < self._attempts:
            sampling = dict(question.sampling)
            if unread:
                warmer = max(sampling.get("temperature", 0.0), STEP * unread)
                sampling |= {"temperature": warmer, "seed": unread}
            reply, mode = await self._get(endpoint, question, sampling, max_tokens)
            model = self._model(question, reply)
            self.resolved = self.resolved or model
            self._own |= model == self.resolved
            self._seen |= {model} & self._others
            if model in self._others:
                discarded += 1
                if discarded < self._attempts:
                    continue
                if self._own:
                    reason = _by_turns(self.resolved, model)
                    return QuestionOutcome(index, Verdict(reason=reason, again=True))
            answers.append(ReplyRecord(reply, mode, sampling, max_tokens))
            if question.once:
                return QuestionOutcome(index, Verdict({}), model, tuple(answers))
            if reply.finish == "content_filter":
                return QuestionOutcome(index, Verdict(reason=CONTENT_FILTER), model, tuple(answers))
            try:
                verdict = question.read(reply.content, reply.bad)
            except BadAnswerError as error:
                cut = ", cut by its limit of tokens" if reply.finish == "length" else ""
                reason = f"{error}{cut}"
            else:
                return QuestionOutcome(index, verdict, model, tuple(answers))
            if model != self.resolved:
                raise FatalError(model_changed(self._settings, self.resolved, model))
            if reply.finish == "length" and max_tokens == question.max_tokens:
                max_tokens *= LONGER
            else:
                unread += 1
        verdict = Verdict(reason=f"{reason} ({unread} answers)")
        return QuestionOutcome(index, verdict, model, tuple(answers), unread)

    def _model(self, question: Question, reply: Reply) -> str:
        """Return the id that answered, in a form that is safe to show."""
        name = str(self._settings.model)
        texts = (t for v in question.texts.values() for t in ([v] if isinstance(v, str) else v))
        return safe_id(reply.model, texts, name) if reply.model else name

    async def _get(
        self, endpoint: Endpoint, question: Question, sampling: dict[str, float], max_tokens: int
    ) -> tuple[Reply, Mode]:
        """Try until the endpoint replies, in a mode that it accepts. Raises FailureError."""
        modes, n = self._modes.candidates(question), 0
        rejected: set[Mode] = set()
        broke: Counter[Mode] = Counter()
        tries = strikes = 0
        failed_at = 0.0
        while True:
            await self._backoff.wait_turn()
            mode, sent = modes[n], time.monotonic()
            try:
                reply = await self._send(endpoint, question, mode, sampling, max_tokens)
            except RequestRejectedError as error:
                rejected.add(mode)
                n += 1
                if n == len(modes):
                    raise self._no_mode_left(error) from None
            except TransientError as error:
                if self._backoff.last_success >= failed_at:
                    strikes += 1
                if strikes >= (LIMITED_TRIES if error.limited else TRIES):
                    raise TransientError(f"{error} ({tries + 1} tries)") from None
                tries, failed_at = tries + 1, time.monotonic()
                await self._backoff.failed(error, sent, tries - 1)
                if error.status in (500, 501):
                    broke[mode] += 1
                    # Twice in this mode: it may be the mode's fault. If the last mode breaks too,
                    # it was the server's, so begin with the first again.
                    if n or broke[mode] >= 2:
                        n = (n + 1) % len(modes)
            else:
                self._backoff.succeeded()
                self._rejected = 0
                self._modes.worked(question, mode, rejected, set(broke) - {mode})
                return reply, mode

    async def _send(
        self,
        endpoint: Endpoint,
        question: Question,
        mode: Mode,
        sampling: dict[str, float],
        max_tokens: int,
    ) -> Reply:
        """Send one request within the budget: reserve, send, settle."""
        amount = await self._ledger.reserve(question, max_tokens)
        try:
            if self.stopped is not None:  # while it waited for the budget
                raise FatalError(self.stopped)
            reply = await endpoint.send(question, mode, sampling, max_tokens)
        except BaseException as error:
            cancelled = isinstance(error, asyncio.CancelledError)
            self._ledger.release(amount, cancelled or getattr(error, "billed", False))
            raise
        self._ledger.settle(amount, reply.usage)
        return reply

    def _no_mode_left(self, error: RequestRejectedError) -> FailureError:
        """Decide whether a request that every mode rejected ends the batch or one question."""
        if error.status == 404:
            return FatalError(no_such_model(self._settings, "HTTP 404"))
        self._rejected += 1
        if self._rejected >= REJECTIONS and not (self._proven or self._backoff.last_success):
            return FatalError(str(error))
        return error


def _by_turns(resolved: str, other: str) -> str:
    return f"the endpoint answers as {resolved} and as {other} by turns; {other} is not used"


def model_changed(settings: EndpointSettings, old: str | None, new: str | None) -> str:
    """Return the message that another model answers under the name than before."""
    return (
        f"the endpoint answers as {new} where {old} answered before, and one run never mixes two"
        f" {settings.role}s: run again to ask {new} everything, or name a dated model as"
        f" {settings.role}.model"
        f" ({settings.model} moves)"
    )


class EventLoopThread:
    """A daemon thread that runs a batch, or any coroutine, in an event loop of its own.

    The main thread cannot run it: Jupyter already runs an event loop there, and Ctrl-C reaches the
    main thread, which can then cancel the requests in flight and store what was answered.
    """

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
