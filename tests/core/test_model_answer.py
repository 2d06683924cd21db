"""Thoughts of reasoning models, under every mark that open models use, are no answer."""

import time

import pytest

from reportcard.core.model_answer import without_thoughts

DRAFT, ANSWER = "Three errors? No, wait.", "One error."
PAIRS = [
    *[(f"<{tag}>", f"</{tag}>") for tag in (
        "think", "thinking", "thought", "reasoning", "reason", "reflection", "scratchpad",
        "analysis", "seed:think", "longcat_think", "mm:think", "THINK", "Thinking",
    )],
    ("<think time='3'>", "</think >"),
    ("[THINK]", "[/THINK]"),
    ("[unused16]", "[unused17]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("Here is my thought process:", "Here is my response:"),
    ("Here's my thought process:", "Here's my response:"),
    ("<|channel|>analysis<|message|>",
     "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("analysisThe user asks. ", "assistantfinal"),
]  # fmt: skip


@pytest.mark.parametrize(("opening", "closing"), PAIRS, ids=[opening for opening, _ in PAIRS])
def test_closed_thoughts_are_dropped_and_open_ones_leave_no_answer(opening, closing):
    assert without_thoughts(f"{opening}{DRAFT}{closing}{ANSWER}") == ANSWER
    assert without_thoughts(f"\n {opening}\n{DRAFT}\n{closing}\n\n{ANSWER}\n") == ANSWER
    assert without_thoughts(f"{opening}{DRAFT} {ANSWER}") is None


@pytest.mark.parametrize(("opening", "closing"), [p for p in PAIRS if "final" not in p[1]])
def test_the_opening_mark_may_stand_in_the_prompt(opening, closing):
    assert without_thoughts(f"{DRAFT}{closing}{ANSWER}") == ANSWER


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (ANSWER, ANSWER),
        ("", ""),
        ("a <think>b</think> c <think>d</think>", "a  c"),
        ("<think><think>b</think>c", "c"),
        ("<think>b</think>c</think>d", "d"),
        ("<think>b</thinking>c", None),
        ("a <think>b", None),
        ("<think>b</think><answer>c</answer> d", "c"),
        ("<think>b</think><response>c", "c"),
        ("<|begin_of_thought|>b<|end_of_thought|><|begin_of_solution|>c<|end_of_solution|>", "c"),
        ("<|START_THINKING|>b<|END_THINKING|><|START_RESPONSE|>c<|END_RESPONSE|>", "c"),
        ("b [BEGIN FINAL RESPONSE]c[END FINAL RESPONSE]", "c"),
        ("<|channel|>analysis<|message|>b<|end|><|start|>assistant<|channel|>commentary"
         "<|message|>c<|end|><|start|>assistant<|channel|>final<|message|>d<|return|>", "d"),
        ("<|start|>assistant<|channel|>final <|constrain|>json<|message|>{}<|return|>", "{}"),
        ("Analysis of the chest: no effusion.", "Analysis of the chest: no effusion."),
        ("analysis of the chest", "analysis of the chest"),
        ("Heart < 50 %, I think > 40 %.", "Heart < 50 %, I think > 40 %."),
    ],
)  # fmt: skip
def test_answers(text, want):
    assert without_thoughts(text) == want


def test_hostile_texts_take_linear_time():
    marks = ("<think>", "</think>", "<|channel|>", "<think ", "Here is my ", "<answer>", "[THINK]")
    start = time.perf_counter()
    for mark in marks:
        without_thoughts(mark * 20_000)
    assert time.perf_counter() - start < 20
