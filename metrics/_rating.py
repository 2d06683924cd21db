"""Reads a CheXprompt rating from a model's answer: errors by type, significant and insignificant.

    rating = {"significant": {"A": n, …, "F": n}, "insignificant": {"A": n, …, "F": n}}

Two forms are read: a JSON object anywhere in the answer, and upstream's two headings

    Number of clinically significant errors by type: [(A, 0), (B, 1), …, (F, 0)]
    Number of clinically insignificant errors by type: [(A, 0), …, (F, 0)]

in either order, on one line or several, in any case and with or without Markdown. Upstream's parser
(microsoft/chexprompt eval_utils.py) returns fewer types where a letter is missing, and fails where
a blank is missing. Here an answer without each of the six letters in both parts is not a rating.
Counts are whole numbers from 0 to 99; in JSON 2.0 counts as one, as in JSON Schema, in the text
form it does not.

Of several complete ratings the last counts, because a model corrects itself further down; the
earlier ones are its drafts. A list of the text form that is in no complete rating and differs from
the last rating is an error, because we cannot know what is meant. What is mended in JSON:
harness/llm/judge/answer_reader.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reportcard.api import Json
from reportcard.llm.judge.contract import (
    TEXT_COUNT,
    AnswerReading,
    BadAnswerError,
    FoundObject,
    as_reading,
    closed_object,
    has_keys,
    objects_in,
    with_numbers,
)

# upstream eval_utils.py ERROR_TYPE_MAP
TYPES = {
    "A": "false_positive_finding",
    "B": "omission_finding",
    "C": "incorrect_location",
    "D": "incorrect_severity",
    "E": "false_positive_comparison",
    "F": "omission_comparison",
}
PARTS = ("significant", "insignificant")
MAX_COUNT = 99
MAX_CHARACTERS = 100_000

# Every repetition is bounded or ends at a character that it cannot match, so matching takes linear
# time.
_TUPLE = r"\(\s{0,5}([^(),\s]{1,12})\s{0,5},\s{0,5}([^(),\s]{1,12})\s{0,5}\)"
_ONE = re.compile(_TUPLE)
_QUOTE = re.compile("[\"'`]")
_LIST = re.compile(
    r"\bclinically[\s_*-]{1,5}(in)?significant[\s_*]{1,5}errors?(?:\s{1,5}by\s{1,5}type)?"
    rf"[\s:=*_`-]{{0,20}}[\[({{]?\s{{0,5}}((?:{_TUPLE}[\s,;*]{{0,20}})+)",
    re.IGNORECASE,
)


def rating_schema() -> Json:
    """Return the JSON schema of a rating: every key, no other, whole numbers from 0 to 99."""
    count: Json = {"type": "integer", "minimum": 0, "maximum": MAX_COUNT}
    counts = closed_object(dict.fromkeys(TYPES, count))
    return closed_object(dict.fromkeys(PARTS, counts))


def parse_rating(answer: str) -> AnswerReading:
    """Return the last rating of an answer as it has it, not yet checked, and the drafts before it.

    Raises BadAnswerError where there is none.

    >>> parse_rating("**Clinically significant errors:** (A, 1)").value["significant"]
    {'A': 1}
    """
    if len(answer) > MAX_CHARACTERS:
        raise BadAnswerError(f"an answer of more than {MAX_CHARACTERS:,} characters")
    objects = [_in_numbers(f) for f in objects_in(answer, PARTS) if has_keys(f.value, PARTS)]
    if not objects:
        found = _ratings_in_headings(answer)
        if not found:
            raise BadAnswerError("neither a JSON object nor the two lists of errors")
        quoted = any(_QUOTE.search(match.group(2)) for match in _LIST.finditer(answer))
        return AnswerReading(found[-1], (TEXT_COUNT,) if quoted else (), tuple(found[:-1]))
    reading = as_reading(objects)
    before = _complete(answer[: objects[0].begin])
    after = _complete(answer[objects[-1].end :])
    if not after:
        return AnswerReading(reading.value, reading.repairs, (*before, *reading.drafts))
    return AnswerReading(after[-1], (), (*before, *reading.drafts, reading.value, *after[:-1]))


def _in_numbers(found: FoundObject) -> FoundObject:
    """Return a JSON rating in which counts that are texts ("1") are numbers."""
    value = {k: with_numbers(v) if k in PARTS else v for k, v in found.value.items()}
    if value == found.value:
        return found
    return FoundObject(found.begin, found.end, value, (*found.repairs, TEXT_COUNT))


def _complete(text: str) -> list[Json]:
    """Return the complete ratings in the text beside a JSON rating; none where it is a guess."""
    try:
        return [found for found in _ratings_in_headings(text) if len(found) == len(PARTS)]
    except BadAnswerError:
        return []


def _ratings_in_headings(answer: str) -> list[Json]:
    """Return the ratings in the text form: a part that comes again begins the next rating.

    Raises BadAnswerError where a list belongs to no complete rating and differs from the last one.
    """
    found: list[Json] = [{}]
    for match in _LIST.finditer(answer):
        part = PARTS[match.group(1) is not None]
        if part in found[-1]:
            found.append({})
        found[-1][part] = _counts(match.group(2))
    complete = [rating for rating in found if len(rating) == len(PARTS)]
    if not complete and len(found) == 1:
        return [rating for rating in found if rating]
    for rating in found:
        for part, counts in rating.items():
            if len(rating) < len(PARTS) and (not complete or complete[-1][part] != counts):
                raise BadAnswerError(f"two lists of {part} errors that differ")
    return complete


def _counts(tuples: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for letter, count in _ONE.findall(_QUOTE.sub("", tuples)):
        if not re.fullmatch(r"[0-9]{1,4}", count):
            raise BadAnswerError("a count that is no whole number")
        if found.setdefault(letter.upper(), int(count)) != int(count):
            raise BadAnswerError("an error type with two counts")
    return found


def check_rating(value: Any) -> Json:
    """Return a parsed or recorded rating with its 2 × 6 counts as int, without other keys.

    Raises BadAnswerError if a count is missing or wrong.
    """
    if not isinstance(value, Mapping):
        raise BadAnswerError("a rating must be an object")
    return {part: _checked(part, value.get(part)) for part in PARTS}


def _checked(part: str, counts: Any) -> dict[str, int]:
    if not isinstance(counts, Mapping):
        raise BadAnswerError(f"no counts of {part} errors")
    if set(counts) != set(TYPES):
        raise BadAnswerError(f"{part} errors must have the six types A to F and no other")
    return {letter: _count(part, counts[letter]) for letter in TYPES}


def _count(part: str, count: Any) -> int:
    whole = isinstance(count, int) or (isinstance(count, float) and count.is_integer())
    if isinstance(count, bool) or not whole or not 0 <= count <= MAX_COUNT:
        raise BadAnswerError(f"a count of {part} errors is no whole number from 0 to {MAX_COUNT}")
    return int(count)
