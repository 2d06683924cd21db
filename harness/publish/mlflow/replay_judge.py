"""A judge that answers out of what earlier asking left, and keeps what it was asked.

Nothing is sent anywhere: a question whose verdict is not kept stays without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reportcard.api import Custody, Json, ReportCardError
from reportcard.config.settings import JudgeSettings
from reportcard.llm.judge.cache import VerdictCache
from reportcard.llm.judge.cache_keys import NOBODY, content, key_of, usable
from reportcard.llm.judge.contract import Judge, Question, Verdict
from reportcard.llm.judge.live import LiveJudge

ABSENT = Verdict(reason="its verdict is not kept here", again=True)


@dataclass(frozen=True)
class Exchange:
    """A question, its verdict, and the answers that it was read from (none of a recording)."""

    question: Question
    verdict: Verdict
    answers: tuple[Json, ...] = ()


class Witness:
    """In the place of a run's judge (harness/score.py, open_metrics)."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._cache: VerdictCache | None = None
        self._resolved: str | None = None
        self.heard: list[Exchange] = []

    @property
    def identity(self) -> str:
        return self._judge.identity

    @property
    def caveat(self) -> str | None:
        return self._judge.caveat

    def missing(self) -> str | None:
        """What is kept needs no key and no server."""
        return None if isinstance(self._judge, LiveJudge) else self._judge.missing()

    def admit(self, custody: Custody) -> None:
        if not isinstance(self._judge, LiveJudge):
            self._judge.admit(custody)
            return
        self.close()
        path = custody.cache_dir / "judge.sqlite"
        if path.is_file():
            settings = self._judge.settings
            self._cache = VerdictCache(path)
            endpoint = str(settings.base_url).rstrip("/")
            self._resolved = self._cache.resolved(endpoint, str(settings.model))

    def ask(self, questions: Sequence[Question], label: str) -> list[Verdict]:
        if isinstance(self._judge, LiveJudge):
            found = [self._kept(question, self._judge.settings) for question in questions]
        else:
            verdicts = self._judge.ask(questions, label)
            found = [Exchange(q, v) for q, v in zip(questions, verdicts, strict=True)]
        self.heard += found
        return [exchange.verdict for exchange in found]

    def _kept(self, question: Question, settings: JudgeSettings) -> Exchange:
        digest = content(question, settings)
        for model in (self._resolved, NOBODY):
            if self._cache is None or model is None:
                continue
            key = key_of(digest, model)
            verdict = usable(self._cache.get([key]).get(key), question, settings.attempts)
            if verdict is not None:
                return Exchange(question, verdict, tuple(self._answers(key)))
        return Exchange(question, ABSENT)

    def _answers(self, key: bytes) -> list[Json]:
        assert self._cache is not None
        try:
            return self._cache.answers(key)
        except (ReportCardError, ValueError):  # the verdict stands without them
            return []

    def close(self) -> None:
        if self._cache:
            self._cache.close()
            self._cache = None
        if not isinstance(self._judge, LiveJudge):
            self._judge.close()
