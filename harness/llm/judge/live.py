"""The live judge: a language model behind an OpenAI-compatible or Azure endpoint.

    ask ──▶ VerdictCache ──▶ QuestionBatch (in an EventLoopThread) ──▶ the endpoint
                  ▲                    │
                  └── VerdictWriter ◀──┘ each verdict as it comes

Each question is looked up in the verdict cache first; the endpoint gets only the remaining ones.
Each verdict is stored as it comes, so that a run that was interrupted asks nothing twice.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from reportcard.api import Custody, ReportCardError
from reportcard.config.endpoint_settings import JudgeSettings
from reportcard.core.layout import CacheFolder
from reportcard.llm.client.backoff import UNREACHABLE
from reportcard.llm.client.batch import (
    EventLoopThread,
    QuestionBatch,
    QuestionOutcome,
    model_changed,
)
from reportcard.llm.client.budget import Ledger
from reportcard.llm.client.endpoint import StructuredOutputModes, preflight
from reportcard.llm.judge.cache import (
    NOBODY,
    ModelName,
    VerdictCache,
    VerdictWriter,
    key_of,
    question_digest,
    usable_verdict,
)
from reportcard.llm.judge.contract import Question, Verdict, read_with, reading_summary
from reportcard.llm.judge.recorded import VerdictRecorder, given_by

if TYPE_CHECKING:
    from reportcard.llm.egress.policy import Permit

COMMIT_S = 0.1  # verdicts that come within this time are stored in one transaction


class LiveJudge:
    """Asks settings.model at settings.base_url. One object is one invocation with one budget."""

    def __init__(self, settings: JudgeSettings) -> None:
        self.settings = settings
        self._name = ModelName.from_settings(settings)
        self._ledger: Ledger | None = None
        self._modes = StructuredOutputModes(settings.structured)
        self._recorder = VerdictRecorder(settings.record) if settings.record else None
        self._custody: Custody | None = None
        self._permit: Permit | None = None
        self._cache: VerdictCache | None = None
        self._resolved: str | None = None
        self._down: str | None = None  # why no more is asked until another custody is admitted

    @property
    def caveat(self) -> str | None:
        """The configured caveat."""
        return self.settings.caveat

    @property
    def identity(self) -> str:
        """`model`, or `model(resolved)` where the endpoint answers under another id."""
        model, resolved = str(self.settings.model), self._resolved
        if resolved and resolved.startswith(("/", "~")):
            resolved = resolved.rsplit("/", 1)[-1]  # a GGUF's path would show a home folder
        return model if resolved in (None, model) else f"{model}({resolved})"

    def missing(self) -> str | None:
        """Return None when it can be asked; else what is missing and what to do."""
        return preflight(self.settings)

    def admit(self, custody: Custody) -> None:
        """Ask the egress gate whether this text may go to the endpoint, and open its cache.

        Raises ReportCardError when it may not, or when the judge cannot be asked.
        """
        from reportcard.llm.egress.policy import permit

        if custody is not self._custody:
            self._down = None
        self._permit = self._custody = None  # a refusal leaves no earlier permission in force
        if reason := self.missing():
            raise ReportCardError(reason)
        granted = permit(custody.data, str(self.settings.base_url))
        if self._recorder:
            self._recorder.check()
        if self._cache and self._cache.path != CacheFolder(custody.cache_dir).verdicts:
            self.close()
        self._open(custody)
        self._custody, self._permit = custody, granted

    def _open(self, custody: Custody) -> VerdictCache:
        if self._cache is None:
            self._cache = VerdictCache.in_folder(custody.cache_dir)
            self._resolved = self._cache.resolved(self._name)
        return self._cache

    def close(self) -> None:
        """Close the cache; a later `ask` opens it again."""
        if self._cache:
            self._cache.close()
            self._cache = None

    def ask(self, questions: Sequence[Question], label: str) -> list[Verdict]:
        """Return a verdict per question, from the cache where it holds one.

        Raises ReportCardError before `admit`, and for a damaged cache.
        """
        custody, permit = self._custody, self._permit
        if custody is None or permit is None:
            raise ReportCardError("the judge does not know whose text this is: call admit() first.")
        cache = self._open(custody)
        self._ledger = self._ledger or Ledger.from_settings(self.settings)
        digests = [question_digest(question, self.settings) for question in questions]
        known = self._look_up(cache, dict(zip(digests, questions, strict=True)))
        asked = {d: q for d, q in zip(digests, questions, strict=True) if d not in known}
        if asked and self._down:
            known |= dict.fromkeys(asked, Verdict(reason=self._down, again=True))
        elif asked:
            known |= (found := self._ask_endpoint(asked, cache, permit, custody, label))
            # patience_s is spent once, not once per metric; another custody gets a new chance.
            reasons = {verdict.reason for verdict in found.values()}
            unreachable = f"{self.settings.role} {UNREACHABLE}"
            if len(reasons) == 1 and str(*reasons).startswith(unreachable):
                (self._down,) = reasons
        verdicts = [known[digest] for digest in digests]
        if self._recorder:
            model, caveat = self.identity, self.caveat
            sources = [
                given_by(question, model, caveat) | read_with(verdict)
                for question, verdict in zip(questions, verdicts, strict=True)
            ]
            self._recorder.write(questions, verdicts, sources)
        custody.say(self._summary(label, verdicts, len(asked)))
        return verdicts

    def _look_up(
        self, cache: VerdictCache, questions: Mapping[bytes, Question]
    ) -> dict[bytes, Verdict]:
        """Return the verdicts that the cache holds, by digest of the question."""
        known: dict[bytes, Verdict] = {}
        for model in (NOBODY,) if self._resolved is None else (self._resolved, NOBODY):
            keys = {key_of(d, model): d for d in questions if d not in known}
            for key, row in cache.get(list(keys)).items():
                question, answers = questions[keys[key]], cache.answers(key)
                verdict = usable_verdict(row, question, self.settings.attempts, answers)
                if verdict is not None:
                    known[keys[key]] = verdict
        return known

    def _ask_endpoint(
        self,
        asked: dict[bytes, Question],
        cache: VerdictCache,
        permit: Permit,
        custody: Custody,
        label: str,
    ) -> dict[bytes, Verdict]:
        """Ask the endpoint and store each verdict as it comes, at Ctrl-C too.

        Args:
            asked: the questions by their digest.
            cache: where the verdicts are stored.
            permit: the egress gate's permission.
            custody: receives the progress and messages.
            label: names the questions in them.
        """
        assert self._ledger is not None
        questions, before = list(asked.values()), self._resolved
        inbox: deque[QuestionOutcome] = deque()
        writer = VerdictWriter(cache, self._name, before, list(asked))
        batch = QuestionBatch(
            self.settings,
            permit,
            self._ledger,
            self._modes,
            inbox.append,
            attempts=self.settings.attempts,
            resolved=before,
            others=cache.ids(self._name),
        )
        thread = EventLoopThread(lambda: batch.run(questions))
        try:
            stored = self._stored(thread, inbox, writer)
            for _ in custody.progress(stored, len(questions), label):
                pass
        finally:
            thread.stop()
            writer.store([inbox.popleft() for _ in range(len(inbox))])
            self._resolved = writer.resolved
        thread.raise_error()
        if batch.by_turns:
            custody.say(f"{label}: {batch.by_turns}; name a dated model as judge.model")
        for digest, outcome in writer.foreign.items():
            reason = model_changed(self.settings, before or writer.first, outcome.model)
            writer.verdicts[digest] = Verdict(reason=reason, again=True)
        return writer.verdicts

    def _stored(
        self, thread: EventLoopThread, inbox: deque[QuestionOutcome], writer: VerdictWriter
    ) -> Iterator[list[QuestionOutcome]]:
        """Store what comes until the batch ends; yield the outcomes of each transaction."""
        while True:
            over = thread.wait(COMMIT_S)
            outcomes = [inbox[i] for i in range(len(inbox))]
            writer.store(outcomes)
            for _ in outcomes:  # only now, so that an interrupt before this line loses none
                inbox.popleft()
            if outcomes:
                yield outcomes
            elif over:
                return

    def _summary(self, label: str, verdicts: Sequence[Verdict], n_asked: int) -> str:
        """Return `chexprompt: 61 asked of m, 9 without asking; 3 unscored (2 × …); so far …`."""
        assert self._ledger is not None
        reasons = Counter(v.reason for v in verdicts if v.value is None)
        n_cached = len(verdicts) - n_asked  # includes questions that occur twice in the call
        parts = [f"{label}: {n_asked:,} asked of {self.identity}, {n_cached:,} without asking"]
        if reasons:
            why = "; ".join(f"{n:,} × {reason}" for reason, n in reasons.most_common(5))
            parts.append(f"{sum(reasons.values()):,} unscored ({why})")
        mended = reading_summary(verdicts)
        return "; ".join(parts) + f"{mended}; so far {self._ledger.summary()}"
