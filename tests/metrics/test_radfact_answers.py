"""Answers of a model are hostile until read: what is taken, what is refused, what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from reportcard.api import Json
from reportcard.llm.judge.contract import BadAnswerError
from reportcard.metrics.annotators._radfact_answers import (
    check_entailment,
    check_phrases,
    parse_yaml,
)

PREMISES = ("No effusion.", "Well-expanded lungs", "no effusion")


@pytest.mark.parametrize(
    ("answer", "evidence"),
    [
        ({"status": "entailment", "evidence": ["No effusion."]}, ["No effusion."]),
        ({"status": "Entailment", "evidence": [" NO  effusion "]}, ["No effusion.", "no effusion"]),
        (
            {"status": "entailment", "evidence": ["well–expanded lungs."], "phrase": "rewritten"},
            ["Well-expanded lungs"],
        ),
    ],
)
def test_evidence_is_given_back_in_the_words_of_the_premises(
    answer: Json, evidence: list[str]
) -> None:
    assert check_entailment(PREMISES, answer) == {"status": "entailment", "evidence": evidence}


@pytest.mark.parametrize("status", ["contradiction", "neutral", "not entailment", "NOT_ENTAILMENT"])
def test_all_that_is_no_entailment_is_one_status(status: str) -> None:
    found = check_entailment(PREMISES, {"status": status, "evidence": None})
    assert found == {"status": "not_entailment", "evidence": []}


SECRET = "canary sentence"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [SECRET],
        {},
        {"status": SECRET, "evidence": []},
        {"status": ["entailment"], "evidence": ["No effusion."]},
        {"status": "entailment", "evidence": []},
        {"status": "entailment", "evidence": "No effusion."},
        {"status": "entailment", "evidence": [1]},
        {"status": "entailment", "evidence": ["no  effusion"] * 1_000},
        {"status": "entailment", "evidence": [["No effusion."]]},
        {"status": "entailment", "evidence": ["No effusion.", SECRET]},
        {"status": "not_entailment", "evidence": [SECRET]},
        {"status": "entailment", "evidence": {"No effusion.": 1}},
    ],
)
def test_hostile_verdicts_are_refused_without_a_word_of_them(answer: Any) -> None:
    with pytest.raises(BadAnswerError) as caught:
        check_entailment(PREMISES, answer)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        [SECRET],
        {},
        {"phrases": SECRET},
        {"phrases": [SECRET, ""]},
        {"phrases": ["  "]},
        {"phrases": [{"text": SECRET}]},
        {"phrases": [SECRET] * 201},
        {"phrases": [SECRET * 1000]},
        {"sentence_list": SECRET},
        {"sentence_list": [SECRET]},
        {"sentence_list": [{"orig": SECRET}]},
        {"sentence_list": [{"orig": SECRET, "new": [None]}]},
    ],
)
def test_hostile_phrases_are_refused_without_a_word_of_them(answer: Any) -> None:
    with pytest.raises(BadAnswerError) as caught:
        check_phrases(answer)
    assert SECRET not in str(caught.value)


def test_phrases_are_read_in_our_form_and_in_radfacts() -> None:
    assert check_phrases({"phrases": [" a", "b"]}) == {"phrases": ["a", "b"]}
    assert check_phrases({"phrases": []}) == {"phrases": []}
    theirs = {"id": 1, "sentence_list": [{"orig": "a, b", "new": ["a", "", "b"]}]}
    assert check_phrases(theirs) == {"phrases": ["a", "b"]}


def test_yaml_is_read_fenced_or_not_and_as_texts() -> None:
    bare = "phrase: No\nevidence:\n- No\n- 1:30\nstatus: neutral\n"
    read = {"phrase": "No", "evidence": ["No", "1:30"], "status": "neutral"}
    assert parse_yaml(bare).value == read
    assert parse_yaml(f"Here it is:\n```yaml\n{bare}```\nDone.").value == read
    assert parse_yaml(f"```\n{bare}").value == read


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    "answer",
    [
        BOMB,
        "[" * 5_000,
        "[" * 50 + "]" * 50,
        "status: 'unclosed",
        "a: b: c",
        f"{SECRET}: ]",
        "x" * 30_000,
        "status: \x00",
    ],
)
def test_hostile_yaml_is_refused_without_a_word_of_it(answer: str) -> None:
    with pytest.raises(BadAnswerError) as caught:
        check_entailment(PREMISES, parse_yaml(answer).value)
    assert SECRET not in str(caught.value)


def test_no_yaml_makes_an_object_of_its_own_choice() -> None:
    assert parse_yaml("status: !!python/object/apply:os.getcwd []").value == {"status": []}
