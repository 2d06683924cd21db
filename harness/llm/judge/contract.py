"""Defines the questions and verdicts that pass between a judged metric and a judge.

    annotator ──Question──▶ judge ──Verdict──▶ annotator
                             │ live.py: the verdict cache, then the endpoint
                             │ recorded.py: a JSONL file, no model

An answer is not trusted until it has passed the question's own `check`. A question without a usable
answer gets a verdict with a reason, never a guessed value. Plugins may import this module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, Protocol

from reportcard.api import Custody, Json
from reportcard.core.files import digest

MAX_ANSWER = 100_000  # characters; a longer answer is no verdict
MAX_OBJECTS = 100  # places in an answer where parsing is tried; 100,000 would take seconds


class BadAnswerError(ValueError):
    """An answer is no verdict. The message says what is wrong and quotes none of the answer."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    images  functions that return the bytes of a PNG; they are called when the message is sent. The
            images come before the text.
    """

    role: Literal["system", "user", "assistant"]
    content: str
    images: tuple[Callable[[], bytes], ...] = ()


def loose_json(answer: str) -> Any:
    """Return the first complete JSON object in an answer, ignoring prose or fences around it.

    The thoughts of a reasoning model (<think>…</think>) are skipped. Raises BadAnswerError where
    there is no object.

    >>> loose_json('Sure! {"a": 1} Hope that helps.')
    {'a': 1}
    """
    answer = answer.rpartition("</think>")[2]
    decoder = json.JSONDecoder()
    for opening in islice(re.finditer(r'\{(?=\s*["}])', answer), MAX_OBJECTS):
        try:
            value, _ = decoder.raw_decode(answer, opening.start())
        except (ValueError, RecursionError):  # ValueError also for an integer of 5,000 digits
            continue
        return value
    raise BadAnswerError("no JSON object in the answer")


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
    parse       turns the raw answer into what `check` reads; raises BadAnswerError
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
    parse: Callable[[str], Any] = loose_json
    schema: Json | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)
    max_tokens: int = 512
    repeat: int = 0
    once: bool = False

    def value_of(self, answer: str | None, why_none: str | None = None) -> Json:
        """Parse and check an answer. Raises nothing but BadAnswerError, whatever it holds.

        why_none: the reason in that error when there is no answer.
        """
        if answer is None:
            raise BadAnswerError(why_none or "an empty answer")
        try:
            return self.check(self.parse(answer))
        except BadAnswerError:
            raise
        except Exception as error:  # deep nesting, numbers of 10⁵ digits: no answer may end a run
            name = type(error).__name__
            raise BadAnswerError(f"an answer that breaks the reader ({name})") from None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A value, or the reason why there is none.

    again  asking later may succeed (the endpoint was down, the budget was spent). Otherwise the
           reason is final and cached.
    """

    value: Json | None = None
    reason: str | None = None
    again: bool = False


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
