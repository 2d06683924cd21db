"""What is mended in a judge's answer, which of several verdicts counts, and what stays a guess."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from reportcard.llm.judge.answer_reader import (
    COLON,
    FENCE,
    NESTING,
    TEXT_COUNT,
    TRAILING_COMMA,
    AnswerReading,
    BadAnswerError,
    json_reader,
    yaml_reader,
)
from reportcard.llm.judge.contract import ONLY_THOUGHTS, Question, Verdict, reading_summary
from reportcard.metrics._rating import check_rating, parse_rating

read_a = json_reader("a")
read_entailment = yaml_reader("status", "evidence", "phrase")


@pytest.mark.parametrize(
    ("answer", "value", "repairs"),
    [
        ('{"a": 1}', {"a": 1}, ()),
        ('{"a": 1,}', {"a": 1}, (TRAILING_COMMA,)),
        ('{"a": [1, 2,\n ],\n}', {"a": [1, 2]}, (TRAILING_COMMA,)),
        ('{"a": "x,}", "b": {"c": true,},}', {"a": "x,}", "b": {"c": True}}, (TRAILING_COMMA,)),
        (r'{"a": "\",]",}', {"a": '",]'}, (TRAILING_COMMA,)),
        ('He said "so, } {"a": 1,}', {"a": 1}, (TRAILING_COMMA,)),
        ('{"rating": {"a": 1}}', {"a": 1}, (NESTING,)),
        ('{"why": "x", "result": {"a": 1,}}', {"a": 1}, (TRAILING_COMMA, NESTING)),
        ('```JSON\r\n{"a": 1}\r\n```', {"a": 1}, ()),
        ('{"why": 3} {"a": 1} {"more": 2}', {"a": 1}, ()),
        ('{"b": 1}', {"b": 1}, ()),
        ('{"x": {"y": {"a": 1}}}', {"x": {"y": {"a": 1}}}, ()),  # two levels
        ('{"x": {"a": 1}, "y": {"a": 2}}', {"x": {"a": 1}, "y": {"a": 2}}, ()),  # which one?
    ],
)
def test_json_is_mended_where_it_has_one_meaning(
    answer: str, value: Any, repairs: tuple[str, ...]
) -> None:
    assert read_a(answer) == AnswerReading(value, repairs)


@pytest.mark.parametrize(
    "answer",
    ['{"a": ,}', '{"a": 1,,}', '{,"a": 1}', '{"a": [,]}', '{"a" 1,}', '{"a": 1,', "{'a': 1}"],
)
def test_json_whose_meaning_is_a_guess_is_not_mended(answer: str) -> None:
    with pytest.raises(BadAnswerError):
        read_a(answer)


def test_the_last_complete_object_counts_and_the_others_are_drafts() -> None:
    assert read_a('{"a": 3} No: {"a": 2,} Or {"a": 1} and {"a": 9') == AnswerReading(
        {"a": 1}, (), ({"a": 3}, {"a": 2})
    )


def answered(phrase: str, *evidence: str) -> str:
    cited = "".join(f"\n- {text}" for text in evidence) or " []"
    return f"phrase: {phrase}\nevidence:{cited}\nstatus: entailment\n"


def meant(phrase: str, *evidence: str) -> dict[str, Any]:
    return {"phrase": phrase, "evidence": list(evidence), "status": "entailment"}


@pytest.mark.parametrize(
    ("answer", "value", "repairs"),
    [
        (answered("No mass.", "No mass."), meant("No mass.", "No mass."), ()),
        (answered("Lines: a picc."), meant("Lines: a picc."), (COLON,)),
        (answered("x", "Lines: a picc's tip."), meant("x", "Lines: a picc's tip."), (COLON,)),
        (answered("Lines:"), meant("Lines:"), (COLON,)),
        (answered("Lungs: clear\n  and heart: normal"), meant("Lungs: clear and heart: normal"),
         (COLON,)),
        (answered("x", "a\n  wide mass: there", "b"), meant("x", "a wide mass: there", "b"),
         (COLON,)),
        (answered('"Lines: a picc."'), meant("Lines: a picc."), ()),
        (answered("At 1:30 o'clock"), meant("At 1:30 o'clock"), ()),
        (f"```YAML\n{answered('x')}```".replace("\n", "\r\n"), meant("x"), (FENCE,)),
        (f"```Yml\n{answered('x')}```", meant("x"), (FENCE,)),
        (f"```json\n{json.dumps(meant('x'))}\n```", meant("x"), (FENCE,)),
        (f"```yaml\n{answered('x')}```\n```text\nBye: bye: bye\n```", meant("x"), ()),
        ("answer:\n  status: neutral\n  evidence: []", {"status": "neutral", "evidence": []},
         (NESTING,)),
        ("- phrase: Lines: a picc\n  status: neutral", {"phrase": "Lines: a picc",
         "status": "neutral"}, (COLON, NESTING)),
    ],
)  # fmt: skip
def test_yaml_is_mended_where_it_has_one_meaning(
    answer: str, value: Any, repairs: tuple[str, ...]
) -> None:
    assert read_entailment(answer) == AnswerReading(value, repairs)


def test_of_several_fences_the_last_complete_one_counts() -> None:
    fences = [f"```yaml\n{answered(text)}```" for text in ("first", "second")]
    reading = read_entailment("\nNo, wait:\n".join(fences) + "\n```yaml\nphrase: th")
    assert reading == AnswerReading(meant("second"), (), (meant("first"),))


@pytest.mark.parametrize(
    "piece", ['{"a": 1,', '{"', '{"a":[1,],', ",]", '"\\', "```yaml\n", "- a: b\n", "a: ", "  - "]
)
def test_hostile_answers_are_read_in_bounded_time(piece: str) -> None:
    answer = piece * (100_000 // len(piece))
    for read in (read_a, read_entailment):
        with contextlib.suppress(BadAnswerError):
            read(answer)


# Ratings -----------------------------------------------------------------------------------------


def rating(first: int | str, rest: int = 0) -> dict[str, Any]:
    counts = dict.fromkeys("ABCDEF", rest)
    return {"significant": {**counts, "A": first}, "insignificant": dict(counts)}


def in_words(first: int) -> str:
    lists = (
        f"Number of clinically {part} errors by type: "
        + str([(k, n) for k, n in counts.items()]).replace("'", "")
        for part, counts in rating(first).items()
    )
    return "\n".join(lists)


CHEXPROMPT = Question("chexprompt", {}, (), "p", check_rating, parse_rating)
JSON_3, JSON_1 = json.dumps(rating(3)), json.dumps(rating(1))


@pytest.mark.parametrize(
    ("answer", "repairs", "drafts"),
    [
        (JSON_1, (), ()),
        (in_words(1), (), ()),
        (json.dumps(rating("1")), (TEXT_COUNT,), ()),
        (in_words(1).replace("(A, 1)", "('A', '1')"), (TEXT_COUNT,), ()),
        (in_words(1).replace("(B, 0)", '("B", 0)'), (TEXT_COUNT,), ()),
        (json.dumps({"result": rating(" 1 ")}), (NESTING, TEXT_COUNT), ()),
        (JSON_1.replace("}", ",}"), (TRAILING_COMMA,), ()),
        (f"{JSON_3} Wait, one of them is there. {JSON_1}", (), (rating(3),)),
        (f"{JSON_1} As I said: {JSON_1}", (), ()),
        (f"{in_words(3)}\nCorrection:\n{in_words(1)}", (), (rating(3),)),
        (f"{in_words(3)}\nAs JSON: {JSON_1}", (), (rating(3),)),
        (f"{JSON_3}\nNo. {in_words(1)}", (), (rating(3),)),
        (f"{JSON_1}\n{in_words(1).splitlines()[0]}", (), ()),
        (f"<think>{JSON_3}</think>{in_words(1)}", (), ()),
        (f"[THINK]{in_words(3)}[/THINK]{in_words(1)}", (), ()),
        (f"{in_words(3)}<|END_THINKING|>{JSON_1}", (), ()),
        (json.dumps({**rating(1), "why": "</think> is no mark within JSON"}), (), ()),
    ],
)
def test_one_rating_is_meant(
    answer: str, repairs: tuple[str, ...], drafts: tuple[Any, ...]
) -> None:
    assert CHEXPROMPT.read(answer) == Verdict(rating(1), repairs=repairs, drafts=drafts)


@pytest.mark.parametrize(
    "answer",
    [
        f"{JSON_3} No, wait: {json.dumps(rating(-1))}",  # the correction is no rating
        f"{in_words(3)}\n{in_words(1).splitlines()[0]}",
        f"{in_words(3).splitlines()[0]}\n{in_words(1)}",
        f"<think>{JSON_3}</think>I cannot rate this.",
        json.dumps({"draft": rating(3), "final": rating(1)}),
    ],
)
def test_a_rating_that_is_a_guess_is_none(answer: str) -> None:
    with pytest.raises(BadAnswerError):
        CHEXPROMPT.read(answer)


@pytest.mark.parametrize(
    "answer",
    [
        f"<think>{JSON_3}",
        f"<think>{JSON_3}</think> \n",
        f"<|channel|>analysis<|message|>{JSON_3}<|end|>",
        f"<unused94>thought\n{in_words(3)}",
    ],
)
def test_thoughts_alone_are_no_rating(answer: str) -> None:
    with pytest.raises(BadAnswerError, match=ONLY_THOUGHTS):
        CHEXPROMPT.read(answer)


def test_a_parser_of_a_plugin_may_give_a_bare_value() -> None:
    question = Question("own", {}, (), "p", lambda value: {"n": value}, len)
    assert question.read("<think>…</think>four") == Verdict({"n": 4})


def test_the_summary_counts_what_was_mended() -> None:
    verdicts = [
        Verdict({}, repairs=(NESTING, COLON)),
        Verdict({}, repairs=(NESTING,), drafts=({"a": 1},)),
        Verdict(reason="down"),
    ]
    assert reading_summary(verdicts) == (
        "; 2 mended (2 × nesting, 1 × a colon); 1 with drafts, of which the last counts"
    )
    assert reading_summary(verdicts[2:]) == ""
