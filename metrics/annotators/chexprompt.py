"""Asks a language model CheXprompt's question: how many errors of each type are in the candidate?

    note = {"significant": {"A": n, …, "F": n}, "insignificant": {"A": n, …, "F": n}}
         | {"unscored": reason, "again": bool}

There is one chat call per different pair. metrics/_rating.py has the types and the parser,
_chexprompt_wording.py the prompts. The judge caches the verdicts (harness/llm/judge/cache.py), so
nothing is cached here. Upstream has no rule for an empty text and would send it; here such a pair
is unscored and counted as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from reportcard.api import Custody, Json, ReportCardError
from reportcard.llm.judge.contract import Judge, Question, Verdict
from reportcard.metrics._rating import check_rating, parse_rating
from reportcard.metrics.annotators._chexprompt_wording import (
    Wording,
    official_wording,
    reportcard_wording,
)

VERSION = "2"
PROMPTS = {"reportcard": "chexprompt", "official": "chexprompt_official"}  # → annotator id


class ChexpromptAnnotator:
    """Counts the errors of pairs.

    Args:
        judge: who answers.
        prompts: reportcard: our own words; official: those of a checkout of microsoft/chexprompt.
        official_root: the folder of the checkout.
        official_commit: the commit of the checkout that is read.
        temperature: of the answer. Upstream's ReportEvaluator has 0.0, its command line 0.4.
        top_p: of the answer. Upstream's ReportEvaluator has 0.9, its command line 0.95.
        max_tokens: of the answer. Upstream has 128; JSON takes more than its two lines.
    """

    scope: Literal["pair"] = "pair"
    weights = None

    def __init__(
        self,
        judge: Judge,
        prompts: str = "reportcard",
        official_root: str | None = None,
        official_commit: str | None = None,
        temperature: float = 0.0,
        top_p: float = 0.9,
        max_tokens: int = 256,
    ) -> None:
        if prompts not in PROMPTS:
            raise ReportCardError(f"CheXprompt has no prompts '{prompts}'; {', '.join(PROMPTS)}.")
        self.id = PROMPTS[prompts]
        self._judge = judge
        self._root = official_root
        self._commit = official_commit
        self._sampling = {"temperature": float(temperature), "top_p": float(top_p)}
        self._max_tokens = max_tokens

    @property
    def version(self) -> str:
        sampling = (f"{name}:{value:g}" for name, value in self._sampling.items())
        parts = [VERSION, f"prompt:{self._wording.id}", f"judge:{self._judge.identity}", *sampling]
        return "|".join([*parts, f"max_tokens:{self._max_tokens}"])

    @property
    def caveat(self) -> str | None:
        return self._judge.caveat

    @cached_property
    def _wording(self) -> Wording:
        if self.id == PROMPTS["reportcard"]:
            return reportcard_wording()
        option = f"annotator.{self.id}.official"
        if not self._root:
            raise ReportCardError(
                "official prompts missing, run: git clone https://github.com/microsoft/chexprompt"
                f" and give {option}_root=/path/to/chexprompt"
            )
        if not self._commit:
            raise ReportCardError(f"official prompts: which commit? Give {option}_commit=…")
        return official_wording(Path(self._root).expanduser(), str(self._commit))

    def missing(self) -> str | None:
        try:
            self._wording  # noqa: B018 (read for what it raises)
        except ReportCardError as error:
            return "; ".join(filter(None, (self._judge.missing(), str(error))))
        return self._judge.missing()

    def admit(self, custody: Custody) -> None:
        self._judge.admit(custody)

    def annotate(self, items: Sequence[tuple[str, str]]) -> list[Json | None]:
        notes: list[Json | None] = [
            _refusal(candidate, reference) for candidate, reference in items
        ]
        asked = [i for i, note in enumerate(notes) if note is None]
        questions = [self._question(*items[i]) for i in asked]
        verdicts = self._judge.ask(questions, self.id) if questions else []
        for i, verdict in zip(asked, verdicts, strict=True):
            notes[i] = _note(verdict)
        return notes

    def _question(self, candidate: str, reference: str) -> Question:
        return Question(
            kind="chexprompt",
            texts={"reference": reference, "candidate": candidate},
            messages=self._wording.messages(reference, candidate),
            prompt=self._wording.id,
            check=check_rating,
            parse=parse_rating,
            schema=self._wording.schema,
            sampling=self._sampling,
            max_tokens=self._max_tokens,
        )

    def close(self) -> None:
        self._judge.close()


def _refusal(candidate: str, reference: str) -> Json | None:
    """The note of a pair that the judge is not asked about, or None."""
    for side, text in (("candidate", candidate), ("reference", reference)):
        if not text.strip():
            return {"unscored": f"empty {side}: CheXprompt has no rule for it"}
    return None


def _note(verdict: Verdict) -> Json:
    if verdict.value is not None:
        return verdict.value
    return {"unscored": verdict.reason or "no verdict", "again": verdict.again}
