"""Asks a judge which findings of two reports the other report supports, as RadFact does.

    report ──radfact.phrases──▶ phrases ──radfact.entailment──▶ status and evidence per phrase

1. A narrative report is split into phrases, with one question per different text. A grounded report
   has phrases already, and an empty one has none: the judge is not asked.
2. Each phrase of one report is verified given all phrases of the other, with one question per
   different (set of premises, hypothesis). Without premises nothing is entailed: the judge is not
   asked.

The note of a pair has the phrases in the order of the report:

    {"candidate": [{"text", "status", "evidence": [texts of the other report's phrases]}, …] | null,
     "reference": the same}

A phrase without a verdict has status null and a "reason"; both reports are null where one could not
be split. The note then also has "unscored", the first reason; "again", where asking later may
succeed; and "invalid", where RadFact itself drops the study: a report could not be split, or
evidence is not in the other report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, Literal

from reportcard.api import Custody, Json, ReportCardError
from reportcard.llm.judge.contract import Judge, Message, Question, Verdict
from reportcard.metrics.annotators._radfact_answers import FOREIGN, check_entailment, check_phrases
from reportcard.metrics.annotators._radfact_prompts import (
    MAX_TOKENS,
    Prompt,
    Prompts,
    official_prompts,
    reportcard_prompts,
)

PROMPTS = ("reportcard", "official")
SAMPLING = {"temperature": 0.0, "top_p": 1.0}  # configs/default.yaml of RadFact
VERSION = "2"
COMMIT = "72463ac34442647886f13fad7d04958ab6c7c294"

Side = str | tuple[str, ...]  # a narrative report, or the phrases of a grounded one
Phrases = tuple[str, ...] | None  # of a report; None: it could not be split
Asked = tuple[tuple[str, ...], str]  # premises (sorted, once each) and hypothesis
NOT_ENTAILED = Verdict({"status": "not_entailment", "evidence": []})


class RadfactAnnotator:
    """Asks a judge for RadFact's phrases and entailments.

    Args:
        judge: who answers.
        prompts: reportcard: our own words; official: those of a checkout of microsoft/RadFact.
        official_root: the folder of the checkout.
        official_commit: the commit of the checkout that is read.
    """

    scope: Literal["reports"] = "reports"
    weights = None

    def __init__(
        self,
        judge: Judge,
        prompts: str = "reportcard",
        official_root: str | None = None,
        official_commit: str = COMMIT,
    ) -> None:
        if prompts not in PROMPTS:
            raise ReportCardError(f"RadFact has no prompts '{prompts}'; {', '.join(PROMPTS)}.")
        self.id = "radfact" if prompts == "reportcard" else f"radfact_{prompts}"
        self._judge = judge
        self._official = (official_root, str(official_commit)) if prompts == "official" else None
        self._custody: Custody | None = None

    @cached_property
    def _prompts(self) -> Prompts:
        return official_prompts(*self._official) if self._official else reportcard_prompts()

    @property
    def version(self) -> str:
        prompts = f"{self._prompts.phrases.id},{self._prompts.entailment.id}"
        sampling = "|".join(f"{name}:{value:g}" for name, value in SAMPLING.items())
        return f"{VERSION}|prompts:{prompts}|judge:{self._judge.identity}|{sampling}"

    @property
    def caveat(self) -> str | None:
        return self._judge.caveat

    def missing(self) -> str | None:
        if (reason := self._judge.missing()) is not None:
            return reason
        try:
            _ = self._prompts
        except ReportCardError as error:
            return str(error)
        return None

    def admit(self, custody: Custody) -> None:
        self._judge.admit(custody)
        self._custody = custody

    def annotate(self, items: Sequence[tuple[Side, Side]]) -> list[Json | None]:
        reports = (side for pair in items for side in pair if isinstance(side, str))
        split = self._split([report for report in reports if report.strip()])
        pairs = [(_phrases_of(one, split), _phrases_of(other, split)) for one, other in items]
        verdicts = self._verify([asked for pair in pairs for asked in questions_of(*pair)])
        notes: list[Json | None] = []
        for item, (candidate, reference) in zip(items, pairs, strict=True):
            found = (split.get(side) for side in item if isinstance(side, str))
            unsplit = [verdict for verdict in found if verdict and verdict.value is None]
            notes.append(_note(candidate, reference, unsplit, verdicts))
        return notes

    def close(self) -> None:
        self._judge.close()

    def _split(self, reports: Sequence[str]) -> dict[str, Verdict]:
        prompt, different = self._prompts.phrases, list(dict.fromkeys(reports))
        questions = [
            _question("radfact.phrases", prompt, {"report": report}, check_phrases)
            for report in different
        ]
        verdicts = self._ask(questions, len(reports), "reports to split")
        return dict(zip(different, verdicts, strict=True))

    def _verify(self, wanted: Sequence[Asked]) -> dict[Asked, Verdict]:
        prompt, different = self._prompts.entailment, list(dict.fromkeys(wanted))
        questions = [
            _question(
                "radfact.entailment",
                prompt,
                {"premises": list(premises), "hypothesis": hypothesis},
                partial(check_entailment, premises),
            )
            for premises, hypothesis in different
        ]
        verdicts = self._ask(questions, len(wanted), "phrases to verify")
        return dict(zip(different, verdicts, strict=True))

    def _ask(self, questions: Sequence[Question], wanted: int, what: str) -> list[Verdict]:
        if not questions:
            return []
        if self._custody and wanted > len(questions):
            saved = wanted - len(questions)
            self._custody.say(
                f"{self.id}: {wanted} {what}, {len(questions)} questions:"
                f" {saved} ({saved / wanted:.0%}) repeat another"
            )
        return self._judge.ask(questions, f"{self.id}: {what}")


def _question(
    kind: str, prompt: Prompt, texts: dict[str, Any], check: Callable[[Any], Json]
) -> Question:
    return Question(
        kind=kind,
        texts=texts,
        messages=(*prompt.static, Message("user", prompt.write(texts))),
        prompt=prompt.id,
        check=check,
        parse=prompt.parse,
        schema=prompt.schema and prompt.schema(texts),
        sampling=SAMPLING,
        max_tokens=MAX_TOKENS,
    )


def questions_of(candidate: Phrases, reference: Phrases) -> Iterator[Asked]:
    """Yield the questions about two reports in phrases: each phrase given the other report.

    Repeated questions are included. There are none where a report could not be split, or where
    there are no premises.
    """
    if candidate is None or reference is None:
        return
    for side, other in ((candidate, reference), (reference, candidate)):
        premises = tuple(sorted(set(other)))
        if premises:
            yield from ((premises, phrase) for phrase in side)


def _phrases_of(side: Side, split: dict[str, Verdict]) -> Phrases:
    """The phrases of a report, or None if it could not be split."""
    if not isinstance(side, str):
        return side
    if not side.strip():
        return ()
    value = split[side].value
    return None if value is None else tuple(value["phrases"])


def _note(
    candidate: Phrases,
    reference: Phrases,
    unsplit: Sequence[Verdict],
    verdicts: dict[Asked, Verdict],
) -> Json:
    """The note of a pair. unsplit: verdicts of its reports that could not be split."""
    if candidate is None or reference is None:
        return {"candidate": None, "reference": None, **_gaps(unsplit), "invalid": True}
    note: Json = {"candidate": [], "reference": []}
    failed = []
    for name, side, other in (
        ("candidate", candidate, reference),
        ("reference", reference, candidate),
    ):
        premises = tuple(sorted(set(other)))
        for phrase in side:
            verdict = verdicts[premises, phrase] if premises else NOT_ENTAILED
            note[name].append(_entry(phrase, verdict))
            if verdict.value is None:
                failed.append(verdict)
    if failed:
        note |= _gaps(failed)
        if any(FOREIGN in (verdict.reason or "") for verdict in failed):
            note["invalid"] = True
    return note


def _entry(phrase: str, verdict: Verdict) -> Json:
    if verdict.value is None:
        return {"text": phrase, "status": None, "evidence": [], "reason": verdict.reason}
    return {"text": phrase, **verdict.value}


def _gaps(failed: Sequence[Verdict]) -> Json:
    """Why a pair has no score: the first reason, and whether asking again may help."""
    reason = failed[0].reason or "no verdict"
    return {"unscored": reason} | ({"again": True} if any(v.again for v in failed) else {})
