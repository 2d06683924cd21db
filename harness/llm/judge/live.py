"""The live judge: a language model behind an OpenAI-compatible or Azure endpoint.

Each question is looked up in the verdict cache first; what is left goes to the endpoint through a
pool of workers, and each verdict is stored as it comes, so that a run that was interrupted asks
nothing twice. The pool lives in a thread with an event loop of its own: Jupyter runs a loop
already, and Ctrl-C reaches the main thread, which only waits and writes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reportcard.api import Custody, ReportCardError
from reportcard.config.settings import JudgeSettings
from reportcard.llm.client.backoff import UNREACHABLE
from reportcard.llm.client.batch import (
    QuestionBatch,
    QuestionOutcome,
    StructuredOutputModes,
    changed,
)
from reportcard.llm.client.budget import Ledger
from reportcard.llm.client.connect import connect, new_ledger, preflight
from reportcard.llm.client.endpoint import Endpoint
from reportcard.llm.client.loop_thread import EventLoopThread
from reportcard.llm.judge.cache import VerdictCache
from reportcard.llm.judge.cache_keys import NOBODY, VerdictWriter, content, key_of, usable
from reportcard.llm.judge.contract import Question, Verdict
from reportcard.llm.judge.recorded import VerdictRecorder, by

if TYPE_CHECKING:
    from reportcard.llm.egress.policy import Permit

COMMIT_S = 0.1  # verdicts that come within are stored in one transaction


class LiveJudge:
    """Asks settings.model at settings.base_url. One object is one invocation's budget."""

    def __init__(self, settings: JudgeSettings) -> None:
        self.settings = settings
        self._ledger: Ledger | None = None
        self._modes = StructuredOutputModes(settings.structured)
        self._record = VerdictRecorder(settings.record) if settings.record else None
        self._custody: Custody | None = None
        self._permit: Permit | None = None
        self._cache: VerdictCache | None = None
        self._resolved: str | None = None
        self._down: str | None = None  # why nothing is asked any more under this custody

    @property
    def caveat(self) -> str | None:
        return self.settings.caveat

    @property
    def identity(self) -> str:
        """`model`, or `model(resolved)` where the endpoint answers under another id."""
        model, resolved = str(self.settings.model), self._resolved
        if resolved and resolved.startswith(("/", "~")):
            resolved = resolved.rsplit("/", 1)[-1]  # a GGUF's path says where somebody's home is
        return model if resolved in (None, model) else f"{model}({resolved})"

    def missing(self) -> str | None:
        return preflight(self.settings)

    def admit(self, custody: Custody) -> None:
        from reportcard.llm.egress.policy import permit

        if custody is not self._custody:
            self._down = None
        self._permit = self._custody = None  # a refusal leaves no earlier permission in force
        if reason := self.missing():
            raise ReportCardError(reason)
        granted = permit(custody.data, str(self.settings.base_url))
        if self._record:
            self._record.check()
        if self._cache and self._cache.path.parent != custody.cache_dir:
            self.close()
        self._open(custody)
        self._custody, self._permit = custody, granted

    def _open(self, custody: Custody) -> VerdictCache:
        if self._cache is None:
            self._cache = VerdictCache(custody.cache_dir / "judge.sqlite")
            self._resolved = self._cache.resolved(self._endpoint, str(self.settings.model))
        return self._cache

    @property
    def _endpoint(self) -> str:
        return str(self.settings.base_url).rstrip("/")

    def close(self) -> None:
        if self._cache:
            self._cache.close()
            self._cache = None

    def ask(self, questions: Sequence[Question], label: str) -> list[Verdict]:
        """Raises ReportCardError before `admit`, and for a damaged cache."""
        custody = self._custody
        if custody is None:
            raise ReportCardError("the judge was not told whose text this is: admit() comes first.")
        cache = self._open(custody)
        self._ledger = self._ledger or new_ledger(self.settings)
        digests = [content(question, self.settings) for question in questions]
        known = self._look_up(cache, dict(zip(digests, questions, strict=True)))
        asked = {d: q for d, q in zip(digests, questions, strict=True) if d not in known}
        if asked and self._down:
            known |= dict.fromkeys(asked, Verdict(reason=self._down, again=True))
        elif asked:
            known |= (found := self._ask(asked, custody, label))
            # patience_s is spent once, not once per metric: the next custody is a new chance.
            reasons = {verdict.reason for verdict in found.values()}
            unreachable = f"{self.settings.role} {UNREACHABLE}"
            if len(reasons) == 1 and str(*reasons).startswith(unreachable):
                (self._down,) = reasons
        verdicts = [known[digest] for digest in digests]
        if self._record:
            model, caveat = self.identity, self.caveat
            self._record.write(questions, verdicts, [by(q, model, caveat) for q in questions])
        custody.say(self._summary(label, verdicts, len(asked)))
        return verdicts

    def _look_up(
        self, cache: VerdictCache, questions: Mapping[bytes, Question]
    ) -> dict[bytes, Verdict]:
        """Verdicts that the cache holds, by digest of the question."""
        known: dict[bytes, Verdict] = {}
        for model in (NOBODY,) if self._resolved is None else (self._resolved, NOBODY):
            keys = {key_of(d, model): d for d in questions if d not in known}
            for key, row in cache.get(list(keys)).items():
                verdict = usable(row, questions[keys[key]], self.settings.attempts)
                if verdict is not None:
                    known[keys[key]] = verdict
        return known

    def _ask(
        self, asked: dict[bytes, Question], custody: Custody, label: str
    ) -> dict[bytes, Verdict]:
        """Ask the endpoint; verdicts are stored as they come, also those in hand at Ctrl-C."""
        assert self._ledger is not None
        digests, questions = list(asked), list(asked.values())
        inbox: deque[QuestionOutcome] = deque()
        before = self._resolved
        cache, name = self._open(custody), (self._endpoint, str(self.settings.model))
        shelf, others = VerdictWriter(cache, name, before, digests), cache.ids(*name)
        asking: list[QuestionBatch] = []

        def build(endpoint: Endpoint) -> QuestionBatch:
            assert self._ledger is not None
            common = (self.settings, endpoint, self._ledger, self._modes)
            asking.append(QuestionBatch(*common, before, inbox.append, others))
            return asking[0]

        pool = EventLoopThread(build, self._new_endpoint, questions)
        try:
            for _ in custody.progress(self._batches(pool, inbox, shelf), len(questions), label):
                pass
        finally:
            pool.stop()
            shelf.store([inbox.popleft() for _ in range(len(inbox))])
            self._resolved = shelf.resolved
        pool.raise_error()
        if asking and asking[0].by_turns:
            custody.say(f"{label}: {asking[0].by_turns}; name a dated model as judge.model")
        for digest, outcome in shelf.foreign.items():
            reason = changed(self.settings, before or shelf.first, outcome.model)
            shelf.verdicts[digest] = Verdict(reason=reason, again=True)
        return shelf.verdicts

    def _batches(
        self, pool: EventLoopThread, inbox: deque[QuestionOutcome], shelf: VerdictWriter
    ) -> Iterator[list[Any]]:
        while True:
            over = pool.wait(COMMIT_S)
            batch = [inbox[i] for i in range(len(inbox))]
            shelf.store(batch)
            for _ in batch:  # only now: an interrupt before this line finds them still there
                inbox.popleft()
            if batch:
                yield batch
            elif over:
                return

    def _new_endpoint(self) -> Endpoint:
        assert self._permit is not None
        return connect(self.settings, self._permit)

    def _summary(self, label: str, verdicts: Sequence[Verdict], n_asked: int) -> str:
        """`chexprompt: 61 asked of m, 2,400 without asking; 3 unscored (2 × …); so far …`"""
        assert self._ledger is not None
        reasons = Counter(v.reason for v in verdicts if v.value is None)
        n_cached = len(verdicts) - n_asked  # a question that stood twice in the call among them
        parts = [f"{label}: {n_asked:,} asked of {self.identity}, {n_cached:,} without asking"]
        if reasons:
            why = "; ".join(f"{n:,} × {reason}" for reason, n in reasons.most_common(5))
            parts.append(f"{sum(reasons.values()):,} unscored ({why})")
        return "; ".join([*parts, f"so far {self._ledger.summary()}"])
