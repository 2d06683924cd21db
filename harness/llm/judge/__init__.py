"""Opens the judge that conf/judge names; judged metrics ask it questions about report text.

answer_reader reads a verdict out of an answer, and mends what has one possible meaning
contract      the questions and verdicts that pass between a judged metric and a judge
live          a language model behind an endpoint
cache         the verdicts of a live judge in SQLite, and their keys
recorded      verdicts in a JSONL file: written by one run, answered from in another
local_server  a llama.cpp server on this machine: `reportcard judge`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reportcard.api import Custody, ReportCardError
from reportcard.config.endpoint_settings import JudgeSettings
from reportcard.llm.judge.contract import Judge, Question, Verdict


def open_judge(options: Mapping[str, Any]) -> Judge:
    """Build a judge from the options of a file of conf/judge. Nothing is contacted yet."""
    settings = JudgeSettings.from_options(options)
    if settings.kind == "recorded":
        from reportcard.llm.judge.recorded import RecordedJudge

        return RecordedJudge(settings)
    if settings.kind == "none":
        return NoJudge()
    from reportcard.llm.judge.live import LiveJudge

    return LiveJudge(settings)


class NoJudge:
    """The judge when none was chosen: judged metrics do not run, and say how to choose one."""

    identity = "none"
    caveat = None

    def missing(self) -> str | None:
        """Return how to choose a judge."""
        return (
            "no judge chosen: start one with `make judge` and add judge=local, or give"
            " judge=openai judge.model=NAME, or judge=recorded judge.verdicts=FILE"
        )

    def admit(self, custody: Custody) -> None:
        """Raise ReportCardError: there is nobody to send text to."""
        raise ReportCardError(str(self.missing()))

    def ask(self, questions: Sequence[Question], label: str) -> list[Verdict]:
        """Raise ReportCardError: there is nobody to ask."""
        raise ReportCardError(str(self.missing()))

    def close(self) -> None:
        """Do nothing: there is nothing to close."""
