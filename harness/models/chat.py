"""ChatClient sends chat requests with images to an endpoint; adapters of such models use it.

    adapter ──ChatRequest──▶ ChatClient ──▶ QuestionBatch, Backoff, Ledger ──▶ guarded endpoint
        ▲                        │
        └──────ChatAnswer────────┘   or the reason why the run must stop

A request goes through the same connections, egress rules, retries, time limits and budget as a
judge's question. There are three differences: an answer is kept as it is, nothing is cached
(predictions.jsonl holds the answers), and if the endpoint is down the run stops, to be continued
later. Nothing is sent before `admit` is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from reportcard.api import Custody, ReportCardError, Status
from reportcard.config.endpoint_settings import ChatSettings as ChatSettings
from reportcard.core.model_answer import answer_in
from reportcard.llm.client.backoff import UNREACHABLE
from reportcard.llm.client.batch import EventLoopThread, QuestionBatch, QuestionOutcome
from reportcard.llm.client.budget import Ledger
from reportcard.llm.client.endpoint import StructuredOutputModes, preflight
from reportcard.llm.client.replies import CONTENT_FILTER, EMPTY, REFUSES, ReplyRecord, safe_id
from reportcard.llm.judge.contract import ONLY_THOUGHTS, Message, Question

if TYPE_CHECKING:
    from reportcard.llm.egress.policy import Permit

WAIT_S = 0.1
PROBE = "Answer with the word OK."
PROBE_TOKENS = 16
BROKEN = 3  # after so many requests that fail alone, without any success, all would fail
PROBE_S = 0.01  # patience_s of the probe: it stops at the second failure


@dataclass(frozen=True)
class ChatRequest:
    """ChatRequest is a user's turn: images, then the text.

    Each image is a function that returns the bytes of a PNG; it may raise ImageError. `sampling`
    holds temperature, top_p and seed under the endpoint's names.
    """

    text: str
    images: tuple[Callable[[], bytes], ...] = ()
    sampling: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ChatAnswer:
    """ChatAnswer is the endpoint's answer to one request.

    `reason` says why it is not ok, and quotes neither the request nor the answer. `answered_by` is
    the model's id as the endpoint reports it, with its system_fingerprint.
    """

    status: Status
    text: str = ""
    reason: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    answered_by: str | None = None


@dataclass(frozen=True)
class ChatAnswers:
    """ChatAnswers holds an answer per request, in order.

    A request without an answer has None; `stopped` then says why the rest was not asked.
    """

    answers: tuple[ChatAnswer | None, ...]
    stopped: str | None = None


class ChatClient:
    """ChatClient asks settings.model at settings.base_url; one client is one run, one budget."""

    def __init__(self, settings: ChatSettings, system: str | None, max_tokens: int) -> None:
        self.settings = settings
        self.answered_by: str | None = None  # the id that this run's answers came from
        self._system = (Message("system", system),) if system else ()
        self._max_tokens = max_tokens
        self._ledger: Ledger | None = None
        self._modes = StructuredOutputModes("none")
        self._resolved: str | None = None
        self._permit: Permit | None = None

    def missing(self) -> str | None:
        """Return None if it can ask, else what is missing and what to do. It uses no network."""
        return preflight(self.settings)

    def admit(self, custody: Custody) -> None:
        """Raise ReportCardError if images and text of this data may not go to this endpoint."""
        from reportcard.llm.egress.policy import permit

        self._permit = None  # a refusal leaves no earlier permission in force
        if reason := self.missing():
            raise ReportCardError(reason)
        self._permit = permit(custody.data, str(self.settings.base_url))

    def cost(self) -> str:
        """Return the tokens and USD of this invocation, including answers that were lost."""
        return (self._ledger or Ledger.from_settings(self.settings)).summary()

    def ask(self, requests: Sequence[ChatRequest]) -> ChatAnswers:
        """Send all requests, `concurrency` at a time.

        If nothing succeeds for patience_s, the endpoint is asked for one word. If it does not
        answer, it is down. If it does, the open requests are sent one by one, and those that fail
        again have failed for good.
        """
        questions = [self._question(request) for request in requests]
        found: list[ChatAnswer | None] = [None] * len(questions)
        left, stopped = list(range(len(questions))), None
        while left:
            stopped = self._round(questions, found, left)
            if not _unreachable(stopped) or not self._alive():
                break
            before, left = len(left), [i for i in left if found[i] is None]
            if len(left) == before:
                stopped = self._one_by_one(questions, found, left)
                break
        return ChatAnswers(tuple(found), stopped)

    def _one_by_one(
        self, questions: Sequence[Question], found: list[ChatAnswer | None], left: Sequence[int]
    ) -> str | None:
        broken: list[int] = []
        for i in left:
            stopped = self._round(questions, found, [i])
            if not stopped:
                continue
            if not _unreachable(stopped) or not self._alive():
                return stopped
            why = str(stopped).partition(": ")[2]
            found[i] = ChatAnswer("failed", reason=f"{why}, though the endpoint answers others")
            broken.append(i)
            if self.answered_by is None and len(broken) == BROKEN:
                for j in broken:  # it answers the probe, and none of this run's requests
                    found[j] = None
                return stopped
        return None

    def _round(
        self, questions: Sequence[Question], found: list[ChatAnswer | None], which: Sequence[int]
    ) -> str | None:
        """Ask the questions `which` and store their answers in `found`.

        Returns why the rest was not asked, or None.
        """
        outcomes, stopped = self._exchange([questions[i] for i in which], self.settings)
        for outcome in outcomes:
            if outcome.model is not None:
                name = shown(outcome.model)
                self.answered_by = self.answered_by or name
                if name != self.answered_by:
                    stopped = _changed(self.answered_by, name)
                    continue
            if stopped and outcome.verdict.again:
                continue
            question = questions[which[outcome.index]]
            found[which[outcome.index]] = _answer_of(outcome, question)
        return stopped

    def _alive(self) -> bool:
        """Return whether the endpoint answers one word; it is asked at most twice."""
        message = Message("user", PROBE)
        question = Question("probe", {}, (message,), "", dict, max_tokens=PROBE_TOKENS, once=True)
        outcomes, _ = self._exchange([question], replace(self.settings, patience_s=PROBE_S))
        return any(outcome.answers for outcome in outcomes)

    def _exchange(
        self, questions: Sequence[Question], settings: ChatSettings
    ) -> tuple[list[QuestionOutcome], str | None]:
        permit = self._permit
        if permit is None:
            return [], "the model does not know whose requests these are: call admit() first"
        self._ledger = self._ledger or Ledger.from_settings(settings)
        outcomes: list[QuestionOutcome] = []
        batch = QuestionBatch(
            settings,
            permit,
            self._ledger,
            self._modes,
            outcomes.append,
            resolved=self._resolved,
            proven=self.answered_by is not None,
        )
        thread = EventLoopThread(lambda: batch.run(questions))
        try:
            while not thread.wait(WAIT_S):
                pass
        finally:
            thread.stop()
        stopped, self._resolved = batch.stopped, batch.resolved
        try:
            thread.raise_error()
        except ReportCardError as error:  # the egress guard
            stopped = str(error)
        return outcomes, stopped

    def _question(self, request: ChatRequest) -> Question:
        return Question(
            kind="chat",
            texts={"user": request.text, "system": "".join(m.content for m in self._system)},
            messages=(*self._system, Message("user", request.text, request.images)),
            prompt="",
            check=dict,
            sampling=request.sampling,
            max_tokens=self._max_tokens,
            once=True,
        )


def shown(model: str) -> str:
    """Return a model's id without folders: llama.cpp may answer with a path on its machine."""
    return model.rsplit("/", 1)[-1] if model.startswith(("/", "~")) else model


def _unreachable(stopped: str | None) -> bool:
    return bool(stopped) and str(stopped).startswith(f"{ChatSettings.role} {UNREACHABLE}")


def _changed(old: str, new: str) -> str:
    return (
        f"the endpoint answers as {new} where {old} answered before, and one run never mixes two"
        " models: name a dated model as model.model, or delete this run's folder to ask"
        f" {new} everything"
    )


def _answer_of(outcome: QuestionOutcome, question: Question) -> ChatAnswer:
    if not outcome.answers:
        reason = outcome.verdict.reason
        return ChatAnswer("refused" if reason == CONTENT_FILTER else "failed", reason=reason)
    last = outcome.answers[-1]
    status, reason = _status(last)
    usage = last.reply.usage
    tokens_in, tokens_out = (usage.tokens_in, usage.tokens_out) if usage else (None, None)
    by = shown(str(outcome.model))
    if fingerprint := last.reply.fingerprint:
        by += " " + safe_id(fingerprint, (str(text) for text in question.texts.values()))
    return ChatAnswer(status, last.reply.content or "", reason, tokens_in, tokens_out, by)


def _status(record: ReplyRecord) -> tuple[Status, str | None]:
    """Return the status of an endpoint's reply, and the reason if it is not ok."""
    finish, bad = record.reply.finish, record.reply.bad
    if finish == "content_filter":
        return "refused", CONTENT_FILTER
    if bad == REFUSES:
        return "refused", bad
    if not bad and not answer_in(record.reply.content or ""):
        bad = ONLY_THOUGHTS
    if bad in (EMPTY, ONLY_THOUGHTS):
        what = "text" if bad == EMPTY else "answer after the thoughts"
        limit = f"no {what} within {record.max_tokens} tokens" if finish == "length" else None
        return "empty", limit or (bad if bad == ONLY_THOUGHTS else None)
    if bad:
        return "failed", bad
    return ("truncated" if finish == "length" else "ok"), None
