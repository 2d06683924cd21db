"""Who answers: the judge that conf/judge names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from reportcard.api import Custody, ReportCardError
from reportcard.config.settings import JudgeSettings
from reportcard.llm.judge.contract import Judge, Question, Verdict


def settings_of(options: Mapping[str, Any]) -> JudgeSettings:
    """The options of conf/judge, checked. `prices` may be YAML text: Hydra's grammar has no key
    such as `llama3.1:8b`. Raises ReportCardError."""
    given = dict(options)
    for name in ("verdicts", "record"):
        if isinstance(given.get(name), str):
            given[name] = Path(given[name]) if given[name] else None
    if isinstance(given.get("prices"), str):
        import yaml

        with suppress(yaml.YAMLError, RecursionError):  # what stays text is refused below
            given["prices"] = yaml.safe_load(given["prices"])
    try:
        return JudgeSettings(**given)
    except TypeError as error:
        raise ReportCardError(f"judge: {error}") from None


def open_judge(options: Mapping[str, Any]) -> Judge:
    """A judge from the options of conf/judge; nothing is contacted yet."""
    settings = settings_of(options)
    if settings.kind == "recorded":
        from reportcard.llm.judge.recorded import RecordedJudge

        return RecordedJudge(settings)
    if settings.kind == "none":
        return NoJudge()
    from reportcard.llm.judge.live import LiveJudge

    return LiveJudge(settings)


class NoJudge:
    """Nobody was chosen: judged metrics are not run, and say how to choose."""

    identity = "none"
    caveat = None

    def missing(self) -> str | None:
        return (
            "no judge chosen: start one with `make judge` and add judge=local, or give"
            " judge=openai judge.model=NAME, or judge=recorded judge.verdicts=FILE"
        )

    def admit(self, custody: Custody) -> None:
        raise ReportCardError(str(self.missing()))

    def ask(self, questions: Sequence[Question], label: str) -> list[Verdict]:
        raise ReportCardError(str(self.missing()))

    def close(self) -> None:
        """Nothing is open."""
