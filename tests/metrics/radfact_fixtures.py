"""A judge that answers what a test tells it to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from reportcard.api import Custody
from reportcard.llm.judge.contract import BadAnswerError, Question, Verdict

NO = json.dumps({"status": "not_entailment", "evidence": []})


class FakeJudge:
    """Answers by what is asked: a report's text, or (premises, hypothesis). Anything else: NO."""

    identity = "fake@1"
    caveat = "worthless"

    def __init__(self, answers: dict[Any, str | Verdict] | None = None) -> None:
        self.answers = answers or {}
        self.asked: list[Question] = []

    def missing(self) -> str | None:
        return None

    def admit(self, custody: Custody) -> None: ...

    def close(self) -> None: ...

    def ask(self, questions: Sequence[Question], label: str) -> list[Verdict]:
        self.asked += questions
        return [self._verdict(question) for question in questions]

    def _verdict(self, question: Question) -> Verdict:
        texts = question.texts
        key = texts.get("report") or (tuple(texts["premises"]), texts["hypothesis"])
        answer = self.answers.get(key, NO)
        if isinstance(answer, Verdict):
            return answer
        try:
            return question.read(answer)
        except BadAnswerError as error:
            return Verdict(reason=f"no usable answer: {error}")


def split(*phrases: str) -> str:
    return json.dumps({"phrases": phrases})


def yes(*evidence: str) -> str:
    return json.dumps({"status": "entailment", "evidence": evidence})
