"""Questions to a language model, and verdicts: what a judged metric and a judge say to each other.

    annotator ──Question──▶ judge ──Verdict──▶ annotator
                             │ live (harness/llm.py): verdict cache, then the endpoint
                             │ recorded (harness/recorded.py): a JSONL file, no model

An answer is hostile until it has passed the question's own `check`. A question without a usable
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
from reportcard.config.settings import KINDS as KINDS
from reportcard.config.settings import JudgeSettings as JudgeSettings
from reportcard.core.files import digest

MAX_ANSWER = 100_000  # characters; a longer answer is no verdict
MAX_OBJECTS = 100  # places where an object may begin; 100,000 nested ones would take seconds


class BadAnswerError(ValueError):
    """An answer that is no verdict. The message says what is wrong and quotes none of it."""


@dataclass(frozen=True, slots=True)
class Message:
    """`images`: each makes the bytes of a PNG, when the message is sent and not before; they stand
    in front of the text."""

    role: Literal["system", "user", "assistant"]
    content: str
    images: tuple[Callable[[], bytes], ...] = ()


def loose_json(answer: str) -> Any:
    """The first whole JSON object in an answer, whatever prose or fence stands around it.

    What a reasoning model thinks aloud (<think>…</think>) is passed over. Raises BadAnswerError
    where there is none.

    >>> loose_json('Sure! {"a": 1} Hope that helps.')
    {'a': 1}
    """
    answer = answer.rpartition("</think>")[2]
    decoder = json.JSONDecoder()
    for opening in islice(re.finditer(r'\{(?=\s*["}])', answer), MAX_OBJECTS):
        try:
            value, _ = decoder.raw_decode(answer, opening.start())
        except (ValueError, RecursionError):  # ValueError: an integer of 5,000 digits, too
            continue
        return value
    raise BadAnswerError("no JSON object in the answer")


@dataclass(frozen=True)
class Question:
    """One question. Its verdict is cached under (model, sampling, prompt, kind, texts).

    kind      what is asked: "chexprompt", "radfact.phrases", "radfact.entailment"
    texts     what the verdict is about, by field of the recorded line; a list stands for a set,
              sorted and without repeats
    messages  the whole conversation; static instructions first, so that prefix caches work
    prompt    name and digest of the static part: `reportcard@1a2b3c4d`
    check     a parsed answer → the verdict's value; raises BadAnswerError
    parse     the raw answer → what `check` reads; raises BadAnswerError
    schema    JSON schema of the answer, for servers that constrain decoding; None: free text
    sampling  temperature, top_p, …, as the endpoint names them
    repeat    0, or a number that asks the same question anew (test–retest)
    once      the first answer stands, whatever it holds: `parse` and `check` are not called
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """A value, or the reason why there is none. `again`: asking another time may succeed
    (the endpoint was down, the budget was spent); else the reason is final and cached."""

    value: Json | None = None
    reason: str | None = None
    again: bool = False


def closed_object(properties: Mapping[str, Json]) -> Json:
    """The JSON schema of an object with these keys, all required and no other."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def prompt_id(name: str, static: Any) -> str:
    """`reportcard@1a2b3c4d`: whose wording, and the digest of everything static in it."""
    return f"{name}@{digest(static)[:8]}"


class Judge(Protocol):
    """Who answers. `identity` goes into signatures: model and the id that the endpoint resolves it
    to, or the digest of a recording. `caveat` is shown beside every score."""

    @property
    def identity(self) -> str: ...

    @property
    def caveat(self) -> str | None: ...

    def missing(self) -> str | None:
        """None when it can be asked; else what is missing and what to do. Needs no network."""
        ...

    def admit(self, custody: Custody) -> None:
        """Whose text comes next. Raises ReportCardError when it may not go to this judge; until
        it is called, nothing is sent."""
        ...

    def ask(self, questions: Sequence[Question], label: str) -> list[Verdict]:
        """One verdict per question, in order; equal questions are asked once."""
        ...

    def close(self) -> None:
        """Let go of connections and files; a later `ask` opens them again."""
        ...
