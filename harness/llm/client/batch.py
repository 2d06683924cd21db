"""Many questions to one endpoint: a pool of workers, retries, negotiation, and reading answers.

A question takes several answers only when one cannot be read; what the endpoint fails to answer is
asked again until patience ends (harness/patience.py).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field

from reportcard.api import Json
from reportcard.config.settings import JudgeSettings
from reportcard.llm.client.backoff import Backoff
from reportcard.llm.client.budget import IMAGE_TOKENS, Ledger, SpentError
from reportcard.llm.client.endpoint import Completion, Endpoint, Mode
from reportcard.llm.client.endpoint_errors import (
    CONTENT_FILTER,
    FailureError,
    FatalError,
    PermanentError,
    RequestRejectedError,
    TransientError,
    unknown,
)
from reportcard.llm.client.redact import safe_id
from reportcard.llm.judge.contract import BadAnswerError, Question, Verdict

LADDER: tuple[Mode, ...] = ("json_schema", "json_object", "none")
TRIES, LIMITED_TRIES = 6, 24  # of one question, while others succeed; the second for 429
REFUSALS = 3  # questions in a row that no mode makes acceptable: then the rest is not tried
LONGER = 4  # times max_tokens, after an answer that was cut
STEP = 0.3  # of temperature per further answer


@dataclass(frozen=True, slots=True)
class QuestionOutcome:
    """A verdict on question number `index`; `model` is the id that answered, where one did."""

    index: int
    verdict: Verdict
    model: str | None = None
    answers: tuple[Json, ...] = ()
    unread: int = 0  # answers asked for in vain


@dataclass
class StructuredOutputModes:
    """Which structured output the endpoint takes, per kind of question.

    A mode is left for good only where a lower one worked on the question it failed on: at once if
    it was refused, at the second time after a 500 (llama-cpp-python answers json_schema so), which
    may also have been an accident. A mode that worked once is never left.
    """

    setting: str
    _left: dict[str, set[Mode]] = field(default_factory=dict)
    _works: set[tuple[str, Mode]] = field(default_factory=set)
    _strikes: Counter[tuple[str, Mode]] = field(default_factory=Counter)

    def ladder(self, question: Question) -> tuple[Mode, ...]:
        """Modes to try, best first."""
        if question.schema is None:
            return ("none",)
        if self.setting != "auto":
            return tuple(mode for mode in LADDER if mode == self.setting)
        left = self._left.get(question.kind, set())
        modes = tuple(mode for mode in LADDER if mode not in left)
        works = [mode for mode in modes if (question.kind, mode) in self._works]
        return (works[0],) if works and works[0] == modes[0] else modes

    def worked(self, question: Question, mode: Mode, refused: set[Mode], broke: set[Mode]) -> None:
        """`refused`, `broke`: higher modes that the same question has just failed in."""
        kind = question.kind
        self._works.add((kind, mode))
        for higher in (refused | broke) - {mode}:
            self._strikes[kind, higher] += 2 if higher in refused else 1
            if self._strikes[kind, higher] >= 2 and (kind, higher) not in self._works:
                self._left.setdefault(kind, set()).add(higher)


class QuestionBatch:
    """One `ask`. `resolved`: the id that the endpoint is known to resolve the model to; `others`:
    ids that it answered under before. One of those, in turns with `resolved`, is asked again and
    not used; a new one, or one instead of `resolved`, ends the run. `proven`: the endpoint has
    taken such questions before, so that a refusal is the question's own fault.
    """

    def __init__(
        self,
        settings: JudgeSettings,
        endpoint: Endpoint,
        ledger: Ledger,
        modes: StructuredOutputModes,
        resolved: str | None,
        deliver: Callable[[QuestionOutcome], None],
        others: Set[str] = frozenset(),
        proven: bool = False,
    ) -> None:
        self.resolved, self._others = resolved, others - {resolved}
        self._own = False  # whether `resolved` has answered in this run
        self._seen: set[str] = set()  # of the others
        self._settings, self._endpoint, self._ledger = settings, endpoint, ledger
        self._modes, self._deliver = modes, deliver
        self._patience = Backoff(settings.patience_s, settings.role)
        self._refused, self._proven = 0, proven

    @property
    def stopped(self) -> str | None:
        """Why no further question was asked, if that is so."""
        return self._patience.reason

    @property
    def by_turns(self) -> str | None:
        """What is to be said of two models behind one name, if both have answered."""
        if self.resolved and self._own and self._seen:
            return by_turns(self.resolved, " and ".join(sorted(self._seen)))
        return None

    async def run(self, questions: Sequence[Question]) -> None:
        """An outcome for each question is delivered as it comes."""
        queue = iter(enumerate(questions))
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(max(1, int(self._settings.concurrency)), len(questions))):
                workers.create_task(self._work(queue))

    async def _work(self, queue: Iterator[tuple[int, Question]]) -> None:
        for index, question in queue:
            try:
                outcome = await self._answer(index, question)
            except PermanentError as error:
                outcome = QuestionOutcome(index, Verdict(reason=str(error)))
            except FailureError as error:
                if isinstance(error, FatalError):
                    self._patience.stop(str(error))
                outcome = QuestionOutcome(index, Verdict(reason=str(error), again=True))
            if outcome.model not in (None, self.resolved):
                self._patience.stop(changed(self._settings, self.resolved, outcome.model))
            self._deliver(outcome)

    async def _answer(self, index: int, question: Question) -> QuestionOutcome:
        """Ask until an answer can be read, with other sampling each time."""
        answers: list[Json] = []
        unread, refused, max_tokens, reason = 0, 0, question.max_tokens, ""
        while unread < self._settings.attempts:
            sampling = dict(question.sampling)
            if unread:
                warmer = max(sampling.get("temperature", 0.0), STEP * unread)
                sampling |= {"temperature": warmer, "seed": unread}
            answer, mode = await self._get(question, sampling, max_tokens)
            model = self._model(question, answer)
            self.resolved = self.resolved or model
            self._own |= model == self.resolved
            self._seen |= {model} & self._others
            if model in self._others:
                refused += 1
                if refused < self._settings.attempts:
                    continue
                if self._own:
                    reason = by_turns(self.resolved, model)
                    return QuestionOutcome(index, Verdict(reason=reason, again=True))
            answers.append(answer.record(mode, sampling, max_tokens))
            if question.once:
                return QuestionOutcome(index, Verdict({}), model, tuple(answers))
            if answer.finish == "content_filter":
                return QuestionOutcome(index, Verdict(reason=CONTENT_FILTER), model, tuple(answers))
            try:
                value = read(question, answer)
            except BadAnswerError as error:
                reason = str(error)
            else:
                return QuestionOutcome(index, Verdict(value), model, tuple(answers))
            if model != self.resolved:
                raise FatalError(changed(self._settings, self.resolved, model))
            if answer.finish == "length" and max_tokens == question.max_tokens:
                max_tokens *= LONGER
            else:
                unread += 1
        verdict = Verdict(reason=f"{reason} ({unread} answers)")
        return QuestionOutcome(index, verdict, model, tuple(answers), unread)

    def _model(self, question: Question, answer: Completion) -> str:
        """The id that answered, fit to be shown."""
        name = str(self._settings.model)
        texts = (t for v in question.texts.values() for t in ([v] if isinstance(v, str) else v))
        return safe_id(answer.model, texts, name) if answer.model else name

    async def _get(
        self, question: Question, sampling: dict[str, float], max_tokens: int
    ) -> tuple[Completion, Mode]:
        """One answer of the endpoint. Raises FailureError."""
        ladder, rung = self._modes.ladder(question), 0
        refused: set[Mode] = set()
        broke: Counter[Mode] = Counter()
        tries = strikes = 0
        failed_at = 0.0
        while True:
            await self._patience.turn()
            mode, sent = ladder[rung], time.monotonic()
            try:
                answer = await self._paid(question, mode, sampling, max_tokens)
            except RequestRejectedError as error:
                refused.add(mode)
                rung += 1
                if rung == len(ladder):
                    raise self._no_mode(error) from None
            except TransientError as error:
                if self._patience.last_success >= failed_at:
                    strikes += 1
                if strikes >= (LIMITED_TRIES if error.limited else TRIES):
                    raise TransientError(f"{error} ({tries + 1} tries)") from None
                tries, failed_at = tries + 1, time.monotonic()
                await self._patience.failed(error, sent, tries - 1)
                if error.status in (500, 501):
                    broke[mode] += 1
                    # Twice here: is it the mode? And when the last breaks too, it was the server.
                    if rung or broke[mode] >= 2:
                        rung = (rung + 1) % len(ladder)
            else:
                self._patience.succeeded()
                self._refused = 0
                self._modes.worked(question, mode, refused, set(broke) - {mode})
                return answer, mode

    async def _paid(
        self, question: Question, mode: Mode, sampling: dict[str, float], max_tokens: int
    ) -> Completion:
        """Within the budget: reserve, send, settle."""
        amount = self._worst(question, max_tokens)
        try:
            await self._ledger.reserve(amount)
        except SpentError:
            raise FatalError(f"budget of ${self._settings.budget_usd:g} reached") from None
        try:
            if self._patience.reason is not None:
                raise FatalError(self._patience.reason)  # while waiting for the budget
            answer = await self._endpoint.send(question, mode, sampling, max_tokens)
        except BaseException as error:
            cancelled = isinstance(error, asyncio.CancelledError)
            self._ledger.release(amount, cancelled or getattr(error, "billed", False))
            raise
        self._ledger.settle(amount, answer.usage)
        return answer

    def _worst(self, question: Question, max_tokens: int) -> float:
        price = self._ledger.price
        if price is None:
            return 0.0
        size = sum(len(m.content.encode("utf-8", "surrogatepass")) for m in question.messages)
        size += len(json.dumps(question.schema)) if question.schema else 0
        size += IMAGE_TOKENS * sum(len(m.images) for m in question.messages)
        return price.worst(size, len(question.messages), max_tokens)

    def _no_mode(self, error: RequestRejectedError) -> FailureError:
        """The request was refused in every mode: by this question's fault, or for all."""
        if error.status == 404:
            return FatalError(unknown(self._settings, "HTTP 404"))
        self._refused += 1
        if self._refused >= REFUSALS and not (self._proven or self._patience.last_success):
            return FatalError(str(error))
        return error


def read(question: Question, answer: Completion) -> Json:
    """The verdict's value. Raises BadAnswerError, whatever the answer holds."""
    if answer.content is None:
        raise BadAnswerError(answer.bad or "an empty answer")
    try:
        return question.check(question.parse(answer.content))
    except BadAnswerError:
        raise
    except Exception as error:  # nesting bombs, 10⁵-digit numbers: an answer never ends the run
        raise BadAnswerError(f"an answer that breaks the reader ({type(error).__name__})") from None


def by_turns(resolved: str, other: str) -> str:
    return f"the endpoint answers as {resolved} and as {other} by turns; {other} is not used"


def changed(settings: JudgeSettings, old: str | None, new: str | None) -> str:
    return (
        f"the endpoint answers as {new} where {old} answered before, and one run never mixes two"
        f" {settings.role}s: run again to ask {new} everything, or name a dated model as"
        f" {settings.role}.model"
        f" ({settings.model} moves)"
    )
