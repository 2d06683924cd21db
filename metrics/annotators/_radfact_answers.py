"""Parses and checks what a model answered to RadFact's two questions; nothing in it is trusted.

The messages of BadAnswerError quote neither the answer nor a report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from reportcard.api import Json
from reportcard.llm.judge.contract import BadAnswerError, json_reader, yaml_reader

MAX_PHRASES = 200
MAX_PHRASE = 2_000  # characters
parse_phrases = json_reader("phrases", "sentence_list")
parse_entailment = json_reader("status")
parse_yaml = yaml_reader("status", "evidence", "phrase")
FOREIGN = "evidence that is not among the premises"
STATUSES = {  # RadFact reduces three logical states to two (EVState.from_nli_state)
    "entailment": "entailment",
    "not_entailment": "not_entailment",
    "contradiction": "not_entailment",
    "neutral": "not_entailment",
}


def check_phrases(answer: Any) -> Json:
    """Return {"phrases": [...]} of an answer. Raises BadAnswerError.

    The answer is {"phrases": [...]} or RadFact's {"sentence_list": [{"orig", "new": [...]}]}, whose
    empty phrases are dropped, as RadFact does.
    """
    if not isinstance(answer, dict):
        raise BadAnswerError("not an object")
    phrases = list(_of_sentences(answer)) if "sentence_list" in answer else answer.get("phrases")
    if not isinstance(phrases, list):
        raise BadAnswerError("no list of phrases")
    if len(phrases) > MAX_PHRASES:
        raise BadAnswerError(f"more than {MAX_PHRASES} phrases")
    for phrase in phrases:
        if not isinstance(phrase, str) or not phrase.strip() or len(phrase) > MAX_PHRASE:
            raise BadAnswerError(f"a phrase is no text of 1 to {MAX_PHRASE} characters")
    return {"phrases": [phrase.strip() for phrase in phrases]}


def _of_sentences(answer: Json) -> Iterator[Any]:
    sentences = answer["sentence_list"]
    if not isinstance(sentences, list):
        raise BadAnswerError("sentence_list is no list")
    for sentence in sentences:
        new = sentence.get("new") if isinstance(sentence, dict) else None
        if not isinstance(new, list):
            raise BadAnswerError("a sentence without a list of new phrases")
        yield from (phrase for phrase in new if phrase != "")


def check_entailment(premises: Sequence[str], answer: Any) -> Json:
    """Return {"status", "evidence"} of an answer. Raises BadAnswerError.

    The status is one of two, and the evidence has the exact words of the premises. The phrase that
    an answer may repeat is not read.
    """
    if not isinstance(answer, dict):
        raise BadAnswerError("not an object")
    word = answer.get("status")
    word = re.sub(r"[\s_-]+", "_", word.strip().lower()) if isinstance(word, str) else ""
    if (status := STATUSES.get(word)) is None:
        raise BadAnswerError(f"the status is none of {', '.join(STATUSES)}")
    cited = answer.get("evidence") or []
    if not isinstance(cited, list) or not all(map(_text, cited)):
        raise BadAnswerError("evidence is no list of texts")
    if len(cited) > MAX_PHRASES:
        raise BadAnswerError(f"more than {MAX_PHRASES} pieces of evidence")
    found = [premise for text in cited for premise in _cited(text, premises)]
    if status == "entailment" and not found:
        raise BadAnswerError("entailment without evidence")
    return {"status": status, "evidence": sorted(set(found))}


def _cited(text: str, premises: Sequence[str]) -> list[str]:
    """The premise with exactly these words, else all with the same normal form."""
    if text in premises:
        return [text]
    alike = [premise for premise in premises if normal_form(premise) == normal_form(text)]
    if not alike:
        raise BadAnswerError(FOREIGN)
    return alike


def normal_form(text: str) -> str:
    """Return a text without case, dashes, repeated blanks and final punctuation.

    RadFact compares such texts (`src/radfact/llm_utils/text_utils.py`).

    >>> normal_form(" No  pleural-effusion. ")
    'no pleuraleffusion'
    """
    return re.sub(r"[-–—]", "", " ".join(text.lower().split())).rstrip(" .:!?")


def _text(value: Any) -> bool:
    return isinstance(value, str)
