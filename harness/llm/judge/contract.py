"""Defines the questions and verdicts that pass between a judged metric and a judge.

    annotator ──Question──▶ judge ──Verdict──▶ annotator
                             │ live.py: the verdict cache, then the endpoint
                             │ recorded.py: a JSONL file, no model

An answer is not trusted until it has passed the question's own `check`. A question without a usable
answer gets a verdict with a reason, never a guessed value. Plugins may import this module, which
also has the readers of answers (answer_reader.py).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from reportcard.api import Custody, Json
from reportcard.core.files import digest
from reportcard.core.model_answer import answer_in
from reportcard.llm.judge.answer_reader import TEXT_COUNT as TEXT_COUNT
from reportcard.llm.judge.answer_reader import AnswerReading as AnswerReading
from reportcard.llm.judge.answer_reader import BadAnswerError as BadAnswerError
from reportcard.llm.judge.answer_reader import FoundObject as FoundObject
from reportcard.llm.judge.answer_reader import as_reading as as_reading
from reportcard.llm.judge.answer_reader import has_keys as has_keys
from reportcard.llm.judge.answer_reader import json_reader as json_reader
from reportcard.llm.judge.answer_reader import loose_json as loose_json
from reportcard.llm.judge.answer_reader import objects_in as objects_in
from reportcard.llm.judge.answer_reader import with_numbers as with_numbers
from reportcard.llm.judge.answer_reader import yaml_reader as yaml_reader

MAX_ANSWER = 100_000  # characters; a longer answer is no verdict
EMPTY, ONLY_THOUGHTS = "an empty answer", "only thoughts, and no answer"
READ_JSON = json_reader()


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    images  functions that return the bytes of a PNG; they are called when the message is sent. The
            images come before the text.
    """

    role: Literal["system", "user", "assistant"]
    content: str
    images: tuple[Callable[[], bytes], ...] = ()


@dataclass(frozen=True)
class Question:
    """One question. Its verdict is cached under (model, sampling, prompt, kind, texts).

    kind        what is asked: "chexprompt", "radfact.phrases", "radfact.entailment"
    texts       what the verdict is about, by field of the recorded line; a list stands for a set,
                sorted and without repeats
    messages    the whole conversation; static instructions come first, so that the endpoint can
                cache them
    prompt      name and digest of the static part: `reportcard@1a2b3c4d`
    check       turns a parsed answer into the verdict's value; raises BadAnswerError
    parse       turns an answer, without the thoughts in it, into what `check` reads, or into a
                AnswerReading of it; raises BadAnswerError
    schema      JSON schema of the answer, for servers that constrain decoding; None: free text
    sampling    temperature, top_p, …, as the endpoint names them
    max_tokens  limit of the answer
    repeat      0, or the number of a repetition, which is cached separately (test–retest)
    once        accept the first answer, whatever it holds: `parse` and `check` are not called
    """

    kind: str
    texts: Mapping[str, str | list[str]]
    messages: tuple[Message, ...]
    prompt: str
    check: Callable[[Any], Json]
    parse: Callable[[str], Any] = READ_JSON
    schema: Json | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)
    max_tokens: int = 512
    repeat: int = 0
    once: bool = False

    def read(self, answer: str | None, why_none: str | None = None) -> Verdict:
        """Return the verdict in an answer. Raises nothing but BadAnswerError, whatever it holds.

        Thoughts are dropped first; but an answer that is one JSON object, as a schema makes it, is
        read as it stands: no thoughts can be outside of it.

        why_none: the reason in that error when there is no answer.
        """
        if answer is None:
            raise BadAnswerError(why_none or EMPTY)
        try:
            text = answer if _is_object(answer) else answer_in(answer)
            if not text.strip():
                raise BadAnswerError(ONLY_THOUGHTS if answer.strip() else EMPTY)
            found = self.parse(text)
            reading = found if isinstance(found, AnswerReading) else AnswerReading(found)
            value = self.check(reading.value)
        except BadAnswerError:
            raise
        except Exception as error:  # deep nesting, numbers of 10⁵ digits: no answer may end a run
            name = type(error).__name__
            raise BadAnswerError(f"an answer that breaks the reader ({name})") from None
        drafts = [self._draft(each) for each in reading.drafts]
        kept = tuple(each for each in drafts if each not in (None, value))
        return Verdict(value, repairs=tuple(dict.fromkeys(reading.repairs)), drafts=kept)

    def _draft(self, value: Any) -> Json | None:
        """Return an earlier value of an answer in the form of a verdict, if it has that form."""
        try:
            return self.check(value)
        except Exception:  # it is no verdict and decides nothing
            return None


def _is_object(answer: str) -> bool:
    """Return whether an answer is one JSON object and nothing else."""
    if not answer.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(answer), dict)
    except (ValueError, RecursionError):
        return False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A value, or the reason why there is none.

    again    asking later may succeed (the endpoint was down, the budget was spent). Otherwise the
             reason is final and cached.
    repairs  what was mended in the answer (answer_reader.py)
    drafts   other values that stood before this one in the answer
    """

    value: Json | None = None
    reason: str | None = None
    again: bool = False
    repairs: tuple[str, ...] = ()
    drafts: tuple[Json, ...] = ()


def read_with(verdict: Verdict) -> Json:
    """Return what is kept beside a verdict of how it was read; {} where nothing was mended."""
    found = {"repairs": list(verdict.repairs), "drafts": list(verdict.drafts)}
    return {name: values for name, values in found.items() if values}


def reading_summary(verdicts: Sequence[Verdict]) -> str:
    """Return `; 3 mended (2 × nesting, 1 × a colon); 1 with drafts`, or nothing."""
    mended = Counter(repair for verdict in verdicts for repair in verdict.repairs)
    corrected = sum(bool(verdict.drafts) for verdict in verdicts)
    text = ""
    if mended:
        which = ", ".join(f"{n:,} × {name}" for name, n in mended.most_common())
        text += f"; {sum(bool(v.repairs) for v in verdicts):,} mended ({which})"
    return text + (f"; {corrected:,} with drafts, of which the last counts" if corrected else "")


def closed_object(properties: Mapping[str, Json]) -> Json:
    """Return the JSON schema of an object with exactly these keys, all of them required."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def prompt_id(name: str, static: Any) -> str:
    """Return `reportcard@1a2b3c4d`: whose wording, and the digest of its static part."""
    return f"{name}@{digest(static)[:8]}"


class Judge(Protocol):
    """Answers questions about report text. `open_judge` builds the one that conf/judge names."""

    @property
    def identity(self) -> str:
        """The name in signatures: the model and the id that the endpoint resolves it to, or the
        digest of a recording."""
        ...

    @property
    def caveat(self) -> str | None:
        """A warning that is shown beside every score."""
        ...

    def missing(self) -> str | None:
        """Return None when it can be asked; else what is missing and what to do.

        Needs no network.
        """
        ...

    def admit(self, custody: Custody) -> None:
        """Say whose text the next questions are about. Nothing is sent before.

        Raises ReportCardError when that text may not go to this judge.
        """
        ...

    def ask(self, questions: Sequence[Question], label: str) -> list[Verdict]:
        """Return one verdict per question, in order; equal questions are asked once.

        `label` names the questions in messages.
        """
        ...

    def close(self) -> None:
        """Close connections and files; a later `ask` opens them again."""
        ...
