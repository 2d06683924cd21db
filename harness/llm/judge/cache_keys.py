"""Where verdicts stand in the cache: the key of a question, and what is kept of an outcome.

A key holds everything that decides a verdict: the question, the endpoint, and the id of the model
that answered. Outcomes are put away under the id that gave them as they come.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from reportcard.api import Json
from reportcard.config.settings import JudgeSettings
from reportcard.core.files import canonical
from reportcard.llm.client.batch import QuestionOutcome
from reportcard.llm.judge.cache import VerdictCache
from reportcard.llm.judge.contract import Question, Verdict

NOBODY = ""  # in the place of a model's id: final before any model answered (a content filter)


class VerdictWriter:
    """Puts outcomes into the cache under the model that gave them, and gathers this run's."""

    def __init__(
        self,
        cache: VerdictCache,
        name: tuple[str, str],
        resolved: str | None,
        digests: Sequence[bytes],
    ) -> None:
        self.verdicts: dict[bytes, Verdict] = {}
        # Another model's: stored, and not used here.
        self.foreign: dict[bytes, QuestionOutcome] = {}
        self.resolved = self.first = resolved
        self._cache, self._name, self._digests = cache, name, digests

    def store(self, outcomes: Sequence[QuestionOutcome]) -> None:
        """One transaction; storing an outcome twice does no harm."""
        rows: list[tuple[bytes, Json, Sequence[Json]]] = []
        ids: list[str] = []
        for outcome in outcomes:
            digest, verdict = self._digests[outcome.index], outcome.verdict
            self.verdicts[digest] = verdict
            if outcome.model and self.first is None:
                self.first = self.resolved = outcome.model
                ids.append(outcome.model)
            if outcome.model and outcome.model != self.first:
                self.foreign[digest], self.resolved = outcome, outcome.model
                ids.append(outcome.model)
            if not verdict.again:
                key = key_of(digest, outcome.model or NOBODY)
                rows.append((key, entry_of(outcome), outcome.answers))
        if rows or ids:
            self._cache.put(rows, [(*self._name, each) for each in ids])


def content(question: Question, settings: JudgeSettings) -> bytes:
    """Digest of everything that decides a verdict, but for the id behind the model's name.

    The endpoint's address is part of it: two servers may call two models by one name.
    """
    parts = [
        str(settings.base_url).rstrip("/"),
        settings.model,
        settings.api_version,
        settings.structured,
        dict(question.sampling),
        question.max_tokens,
        question.prompt,
        question.kind,
        dict(question.texts),
        question.repeat,
    ]
    return hashlib.sha256(canonical(parts).encode("utf-8", "surrogatepass")).digest()


def key_of(digest: bytes, resolved: str) -> bytes:
    """The cache's key: the question's digest under the id that answered."""
    return hashlib.sha256(digest + resolved.encode("utf-8", "surrogatepass")).digest()


def usable(row: Any, question: Question, attempts: int) -> Verdict | None:
    """A row of the cache; None where it is damaged, or unread after fewer answers than may now be
    asked for: then it is not final any more, and the question is asked again."""
    if not isinstance(row, dict):
        return None
    if isinstance(row.get("value"), dict):
        try:
            return Verdict(question.check(row["value"]))
        except Exception:  # a check meets whatever the row holds
            return None
    reason, answers = row.get("reason"), row.get("answers", attempts)
    if isinstance(reason, str) and type(answers) is int and answers >= attempts:
        return Verdict(reason=reason)
    return None


def entry_of(outcome: QuestionOutcome) -> Json:
    verdict = outcome.verdict
    if verdict.value is not None:
        return {"value": verdict.value}
    return {"reason": verdict.reason} | ({"answers": outcome.unread} if outcome.unread else {})
