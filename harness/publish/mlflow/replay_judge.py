"""A read-only judge for MLflow traces: it answers from the verdict cache and records each question.

It sends nothing: a question whose verdict is not in the cache gets no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reportcard.api import Custody, Json, ReportCardError
from reportcard.config.endpoint_settings import JudgeSettings
from reportcard.core.layout import CacheFolder
from reportcard.llm.judge.cache import (
    NOBODY,
    ModelName,
    VerdictCache,
    key_of,
    question_digest,
    usable_verdict,
)
from reportcard.llm.judge.contract import Judge, Question, Verdict
from reportcard.llm.judge.live import LiveJudge

ABSENT = Verdict(reason="its verdict is not in the cache", again=True)


@dataclass(frozen=True)
class Exchange:
    """A question, its verdict, and the answers that it was read from.

    Recorded verdicts (`judge=recorded`) come without answers.
    """

    question: Question
    verdict: Verdict
    answers: tuple[Json, ...] = ()


class ReplayJudge:
    """Takes the place of a run's judge while its metrics are opened (`open_metrics`).

    `exchanges` lists the questions since the list was last cleared.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._cache: VerdictCache | None = None
        self._resolved: str | None = None
        self.exchanges: list[Exchange] = []

    @property
    def identity(self) -> str:
        return self._judge.identity

    @property
    def caveat(self) -> str | None:
        return self._judge.caveat

    def missing(self) -> str | None:
        """Return what the judge lacks. Reading the cache needs neither a key nor a server."""
        return None if isinstance(self._judge, LiveJudge) else self._judge.missing()

    def admit(self, custody: Custody) -> None:
        """Open the verdict cache of this data, if there is one."""
        if not isinstance(self._judge, LiveJudge):
            self._judge.admit(custody)
            return
        self.close()
        path = CacheFolder(custody.cache_dir).verdicts
        if path.is_file():
            settings = self._judge.settings
            self._cache = VerdictCache(path)
            self._resolved = self._cache.resolved(ModelName.from_settings(settings))

    def ask(self, questions: Sequence[Question], label: str) -> list[Verdict]:
        """Return the cached verdicts and append one exchange per question."""
        if isinstance(self._judge, LiveJudge):
            found = [self._cached(question, self._judge.settings) for question in questions]
        else:
            verdicts = self._judge.ask(questions, label)
            found = [Exchange(q, v) for q, v in zip(questions, verdicts, strict=True)]
        self.exchanges += found
        return [exchange.verdict for exchange in found]

    def _cached(self, question: Question, settings: JudgeSettings) -> Exchange:
        digest = question_digest(question, settings)
        for model in (self._resolved, NOBODY):
            if self._cache is None or model is None:
                continue
            key = key_of(digest, model)
            row, answers = self._cache.get([key]).get(key), self._answers(key)
            verdict = usable_verdict(row, question, settings.attempts, answers)
            if verdict is not None:
                return Exchange(question, verdict, tuple(answers))
        return Exchange(question, ABSENT)

    def _answers(self, key: bytes) -> list[Json]:
        assert self._cache is not None
        try:
            return self._cache.answers(key)
        except (ReportCardError, ValueError):  # the verdict is shown without its answers
            return []

    def close(self) -> None:
        """Close the cache, or the judge that this one stands for."""
        if self._cache:
            self._cache.close()
            self._cache = None
        if not isinstance(self._judge, LiveJudge):
            self._judge.close()
