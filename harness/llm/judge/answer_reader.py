"""Reads a verdict out of the words of a judge, and mends only what has one possible meaning.

    answer ──thoughts dropped──▶ text ──json_reader, yaml_reader──▶ AnswerReading ──check──▶ verdict

Of several complete verdicts in one answer the last is meant: a model that corrects itself does so
below. The earlier ones are its drafts. What is mended, each under the name that is counted:

    TRAILING_COMMA   {"a": 1,}
    TEXT_COUNT       "1" where a count belongs
    NESTING          {"rating": {…}}, {"result": {…}}: one level, and one object that fits
    FENCE            ```YAML, or a fence with the line ends of Windows
    COLON            phrase: Lines: a picc. (in YAML a text with a colon belongs in quotes)

Every step is linear in the length of the answer, at each of at most MAX_PLACES places.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

TRAILING_COMMA, TEXT_COUNT, NESTING = "a trailing comma", "a count as text", "nesting"
FENCE, COLON = "a fence", "a colon"
REPAIRS = (TRAILING_COMMA, TEXT_COUNT, NESTING, FENCE, COLON)

MAX_PLACES = 100  # places where an object may begin and none is read; 100,000 would take seconds
MAX_MENDS = 10  # of these, how many are mended
MAX_YAML = 20_000  # characters; an answer of 1,024 tokens has some 4,000
MAX_DEPTH = 10

_STRING = r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)'  # one without an end runs to the end of the text
_OPENING = re.compile(r'\{(?=\s*["}])')
_BRACKET = re.compile(rf"{_STRING}|[{{}}\[\]]", re.DOTALL)
_COMMA = re.compile(rf"{_STRING}|(?<=[\w\"}}\]])(\s*),(?=\s*[}}\]])", re.DOTALL)
_FENCED = re.compile(
    r"(?P<opening>```[ \t]*(?:ya?ml|json)?[ \t]*\r?\n)(?P<body>.*?)(?P<end>```|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_USUAL_FENCE = re.compile(r"```(?:ya?ml)?[ \t]*\n")


class BadAnswerError(ValueError):
    """An answer is no verdict. The message says what is wrong and quotes none of the answer."""


@dataclass(frozen=True, slots=True)
class AnswerReading:
    """What was read out of an answer.

    value    the last complete object of the answer
    repairs  what was mended in it, each once
    drafts   the values before it
    """

    value: Any
    repairs: tuple[str, ...] = ()
    drafts: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundObject:
    """One complete JSON object of an answer, and where it begins and ends."""

    begin: int
    end: int
    value: Any
    repairs: tuple[str, ...] = ()


def loose_json(answer: str) -> Any:
    """Return the last complete JSON object in an answer, ignoring prose or fences around it.

    Raises BadAnswerError where there is no object.

    >>> loose_json('Sure! {"a": 1} No, wait: {"a": 2,}')
    {'a': 2}
    """
    return json_reader()(answer).value


def json_reader(*keys: str) -> Callable[[str], AnswerReading]:
    """Return a parser of answers that hold one JSON object with at least one of these keys.

    Without keys any object is one. An object that has none of them is prose, unless no object has
    one: then it is read, so that the check can say what is missing.
    """

    def read(answer: str) -> AnswerReading:
        every = list(objects_in(answer, keys))
        if not every:
            raise BadAnswerError("no JSON object in the answer")
        return as_reading([f for f in every if has_keys(f.value, keys)] or every[-1:])

    return read


def as_reading(found: Sequence[FoundObject]) -> AnswerReading:
    """Return the last of some objects as the reading, and the others as its drafts."""
    return AnswerReading(
        found[-1].value, found[-1].repairs, tuple(each.value for each in found[:-1])
    )


def has_keys(value: Any, keys: Sequence[str]) -> bool:
    """Return whether a value is an object with at least one of the keys; True without keys."""
    return isinstance(value, Mapping) and (not keys or any(key in value for key in keys))


def objects_in(answer: str, keys: Sequence[str] = ()) -> Iterator[FoundObject]:
    """Yield the complete JSON objects of an answer in their order, none within another.

    keys: of the object that is looked for; one that holds it one level down gives way to it.
    """
    decoder, begin, failed = json.JSONDecoder(), 0, 0
    while (opening := _OPENING.search(answer, begin)) is not None:
        begin = opening.start()
        repairs: tuple[str, ...] = ()
        try:
            value, end = decoder.raw_decode(answer, begin)
        except (ValueError, RecursionError):  # ValueError also for an integer of 5,000 digits
            mended = _mended(answer, begin) if failed < MAX_MENDS else None
            if mended is None:
                failed, begin = failed + 1, begin + 1
                if failed >= MAX_PLACES:
                    raise BadAnswerError("too many broken JSON objects in the answer") from None
                continue
            (value, end), repairs = mended, (TRAILING_COMMA,)
        inner = without_nesting(value, keys)
        nested = () if inner is value else (NESTING,)
        yield FoundObject(begin, end, inner, (*repairs, *nested))
        begin = end


def _mended(answer: str, begin: int) -> tuple[Any, int] | None:
    """Return the object that begins there when its trailing commas are left out, and its end."""
    depth = 0
    for bracket in _BRACKET.finditer(answer, begin):
        if bracket[0] not in "{}[]":
            continue
        depth += 1 if bracket[0] in "{[" else -1
        if depth == 0:
            text = answer[begin : bracket.end()]
            mended = _COMMA.sub(lambda m: m[0] if m[1] is None else m[1], text)
            try:
                return None if mended == text else (json.loads(mended), bracket.end())
            except (ValueError, RecursionError):
                return None
    return None


def without_nesting(value: Any, keys: Sequence[str]) -> Any:
    """Return the one object with the keys that lies one level down, where the value has none.

    Where two objects fit, which of them is meant is a guess, so the value stays as it is.

    >>> without_nesting({"rating": {"a": 1}, "why": "…"}, ["a"])
    {'a': 1}
    """
    if not keys or has_keys(value, keys):
        return value
    inside = list(value.values()) if isinstance(value, Mapping) else value
    if not isinstance(inside, list) or len(inside) > 100:
        return value
    fitting = [each for each in inside if has_keys(each, keys)]
    return fitting[0] if len(fitting) == 1 else value


def with_numbers(value: Any) -> Any:
    """Return a value in which each text that is a whole number became that number.

    >>> with_numbers({"A": "1", "B": "one"})
    {'A': 1, 'B': 'one'}
    """
    if isinstance(value, Mapping):
        return {key: with_numbers(each) for key, each in value.items()}
    if isinstance(value, str) and re.fullmatch(r"\s{0,9}[0-9]{1,9}\s{0,9}", value, re.ASCII):
        return int(value)
    return value


def yaml_reader(*keys: str) -> Callable[[str], AnswerReading]:
    """Return a parser of answers in YAML, fenced or not, in which every scalar is a text.

    The loader knows no tags, numbers or booleans (a finding may read "No"); size and depth are
    bounded, and anchors are refused, so a small answer cannot become a large value. Its values are
    texts, and lists of texts, under the keys.
    """

    def read(answer: str) -> AnswerReading:
        fences = list(_FENCED.finditer(answer))
        complete = [fence for fence in fences if fence["end"]] or fences
        texts = [(f["body"], bool(_USUAL_FENCE.fullmatch(f["opening"]))) for f in complete]
        found: list[FoundObject] = []
        problem: BadAnswerError | None = None
        for text, usual in texts or [(answer, True)]:
            try:
                value, repairs = _yaml_value(text.replace("\r\n", "\n"), keys)
            except BadAnswerError as error:
                problem = error
            else:
                found.append(FoundObject(0, 0, value, repairs if usual else (FENCE, *repairs)))
        fitting = [each for each in found if has_keys(each.value, keys)] or found[-1:]
        if not fitting:
            raise problem or BadAnswerError("no YAML in the answer")
        return as_reading(fitting)

    return read


def _yaml_value(text: str, keys: Sequence[str]) -> tuple[Any, tuple[str, ...]]:
    """Return the value of a YAML text and what was mended in it."""
    repairs: tuple[str, ...] = ()
    try:
        value, problem = _load_yaml(text), None
    except BadAnswerError as error:
        value, problem = None, error
    if problem or _holds_objects(without_nesting(value, keys), keys):
        quoted = _with_quotes(text, keys)
        if quoted == text and problem:
            raise problem
        if quoted != text:
            value, repairs = _load_yaml(quoted), (COLON,)
    inner = without_nesting(value, keys)
    return inner, repairs if inner is value else (*repairs, NESTING)


def _holds_objects(value: Any, keys: Sequence[str]) -> bool:
    """Return whether an object stands where a text belongs: `- Lines: a picc` reads as one."""
    values = [value[key] for key in keys if key in value] if isinstance(value, Mapping) else []
    return any(
        isinstance(each, Mapping)
        for one in values
        for each in (one if isinstance(one, list) else [one])
    )


def _load_yaml(text: str) -> Any:
    if len(text) > MAX_YAML:
        raise BadAnswerError(f"more than {MAX_YAML} characters of YAML")
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            if getattr(event, "anchor", None):
                raise BadAnswerError("YAML with anchors")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise BadAnswerError("YAML that is nested too deep")
        return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 (constructs texts only)
    except (yaml.YAMLError, RecursionError) as error:
        # `from None`: the parser's message quotes the answer
        raise BadAnswerError(f"no YAML ({type(error).__name__})") from None


def _with_quotes(text: str, keys: Sequence[str]) -> str:
    """Return a YAML text with quotes around each plain text that has a colon in it.

    A text may run over several lines, indented more than the line that it begins on. After a dash
    only the known keys are keys: what else stands before a colon there is part of the text.
    """
    known = "|".join(map(re.escape, keys)) or r"(?!)"
    line_of_text = re.compile(
        rf"(?P<indent>\s*(?:-\s+(?=(?:{known}):\s))?)(?:-\s+|\w{{1,40}}:\s+)(?=(?P<text>\S.*))"
    )
    heads: list[tuple[str, str]] = []  # what stands before each text, and the text
    indent = -1  # of the line on which the last text began; -1: that was no plain text
    for line in text.split("\n"):
        match = line_of_text.match(line)
        if indent >= 0 and line.strip() and len(line) - len(line.lstrip()) > indent:
            head, scalar = heads.pop()
            heads.append((head, f"{scalar.rstrip()} {line.strip()}"))
        elif match and match["text"][0] not in "\"'[{|>&*!":
            heads.append((match[0], match["text"]))
            indent = len(match["indent"])
        else:
            heads.append((line, ""))
            indent = -1
    return "\n".join(
        f"{head}'{scalar.rstrip().replace(chr(39), chr(39) * 2)}'"
        if re.search(r":(?:\s|\Z)", scalar)
        else head + scalar
        for head, scalar in heads
    )
