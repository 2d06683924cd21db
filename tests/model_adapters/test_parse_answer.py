"""Reading what chat models answer: each way, and text that means harm."""

from __future__ import annotations

import time

import pytest

from reportcard.api import Box
from reportcard.model_adapters._shared.parse_answer import (
    FORMATS,
    find_boxes,
    parse_answer,
)

CLEAR = "The lungs are clear."


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (CLEAR, CLEAR),
        (f"<think>Is it an effusion?</think>\n {CLEAR}", CLEAR),
        (f"<think>a</think><answer>{CLEAR}</answer> bye", CLEAR),
        (f"no opening mark</think>{CLEAR}", CLEAR),
        (f"<think>a</think>Both lungs.<think>b</think> {CLEAR}", f"Both lungs. {CLEAR}"),
        (f"[THINK]Is it?[/THINK]{CLEAR}", CLEAR),
        (f"<unused94>thought\nIs it?<unused95>{CLEAR}", CLEAR),
        (
            f"<|channel|>analysis<|message|>Is it?<|end|><|start|>assistant<|channel|>final"
            f"<|message|>{CLEAR}",
            CLEAR,
        ),
        ("◁think▷an effusion, or perhaps", ""),
        (f"<answer>{CLEAR}", CLEAR),
        ("<think>an effusion, or perhaps", ""),  # cut off while reasoning: nothing was answered
        ("", ""),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "reasoned", "boxed", "findings_impression"])
def test_reasoning_is_no_part_of_the_report(kind: str, text: str, answer: str) -> None:
    assert parse_answer(kind, text).findings == answer


@pytest.mark.parametrize("closing", ["</think>", "[/THINK]", "<channel|>"])
def test_a_box_of_the_thoughts_is_no_box(closing: str) -> None:
    text = f"At [0.1, 0.1, 0.2, 0.2]? No.{closing} [0.3, 0.3, 0.4, 0.4]"
    (phrase,) = parse_answer("boxes_0_1", text, "small effusion").phrases
    assert phrase.boxes == (Box(0.3, 0.3, 0.4, 0.4),)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (rf"First \boxed{{wrong}}, then \boxed{{{CLEAR}}}. Done.", CLEAR),
        (rf"\boxed{{{{{CLEAR}}}}}", CLEAR),  # CheXOne's README doubles the braces
        (rf"\boxed{{\text{{{CLEAR}}}}}", CLEAR),
        (r"\boxed{a {nested {pair}} of braces}", "a {nested {pair}} of braces"),
        (rf"\boxed{{{CLEAR}", CLEAR),  # the limit came before the brace
        (rf"\boxed {{ {CLEAR} }}", CLEAR),
        (rf"<think>\boxed{{thought}}</think>\boxed{{{CLEAR}}}", CLEAR),
        (CLEAR, CLEAR),
        (r"\boxed{}", ""),
    ],
)
def test_the_last_box_is_the_answer(text: str, answer: str) -> None:
    assert parse_answer("boxed", text).findings == answer


@pytest.mark.parametrize(
    ("text", "findings", "impression"),
    [
        ("Findings: Clear. Impression: Normal.", "Clear.", "Normal."),
        ("**FINDINGS:** Clear.\n\n**IMPRESSION:**\nNormal.", "Clear.", "Normal."),
        ("## Findings:\nClear.\n## Impression:\nNormal.", "Clear.", "Normal."),
        ("Sure! Here it is.\nFINDINGS: Clear.", "Sure! Here it is. Clear.", None),
        ("Clear lungs.\nIMPRESSION: Normal.", "Clear lungs.", "Normal."),
        ("Clear lungs. Impression: Normal.", "Clear lungs.", "Normal."),
        ("**Findings**\nClear.\n\n**Impression**\nNormal.", "Clear.", "Normal."),
        ("**Findings**  \r\nClear.\r\n## Impression\r\nNormal.", "Clear.", "Normal."),
        ("## Findings\nClear.\n### **Impression**\nNormal.", "Clear.", "Normal."),
        ("There are no other\nfindings\nhere.", "There are no other\nfindings\nhere.", None),
        ("Clear.\nImpression", "Clear.\nImpression", None),
        ("Impression: Normal.", None, "Normal."),
        ("The findings: none. Impression: Normal.", "The findings: none.", "Normal."),
        ("FINDINGS: Clear.\nIMPRESSION:", "Clear.", ""),
        ("Findings: A. Impression: B. Findings: C.", "A. C.", "B."),
        ("Clear lungs, no other findings.", "Clear lungs, no other findings.", None),
        ("<think>Findings: x</think>Findings: Clear.", "Clear.", None),
        ("", "", None),
    ],
)
def test_sections_are_cut_at_their_headings(
    text: str, findings: str | None, impression: str | None
) -> None:
    report = parse_answer("findings_impression", text)
    assert (report.findings, report.impression) == (findings, impression)


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("It is at [0.1, 0.2, 0.5, 0.6].", [(0.1, 0.2, 0.5, 0.6)]),
        ("[0.1,0.2,.5,1] and [0, 0, 1.0, 0.5]", [(0.1, 0.2, 0.5, 1), (0, 0, 1, 0.5)]),
        ("[0.1, 0.2, 0.5, 0.6], [0.1, 0.2, 0.5, 0.6]", [(0.1, 0.2, 0.5, 0.6)]),
        ("[10, 20, 300, 400]", []),  # pixels
        ("[0.5, 0.2, 0.1, 0.6] [0.1, 0.1, 0.1, 0.2]", []),  # swapped, flat
        ("[0.1, 0.2, 0.5] [nan, 0, 1, 1] [-0.1, 0, 1, 1] [1e-3, 0, 1, 1]", []),
        ("nothing to see", []),
    ],
)
def test_boxes_are_fractions_in_order(text: str, boxes: list[tuple[float, ...]]) -> None:
    assert find_boxes(text) == tuple(Box(*corners) for corners in boxes)
    (phrase,) = parse_answer("boxes_0_1", text, "small effusion").phrases
    assert (phrase.text, phrase.boxes) == ("small effusion", find_boxes(text))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "piece",
    [
        *("{", "}", r"\boxed{", "<think>", "</think>", "<answer>", "Findings:", "\nImpression:*"),
        *("\n**Findings**", "\n# Impression\n", "Findings ", "Findings\n"),
        *("[", "[0.1, ", "[0.1,0.2,0.3,0.4]", " ", "\n", "*", "# ", "9", "\x00", "🫁", "\\"),
    ],
)
def test_hostile_text_is_read_quickly_and_without_an_error(kind: str, piece: str) -> None:
    text = piece * (50_000 // len(piece))
    began = time.perf_counter()
    report = parse_answer(kind, text, "a phrase")
    assert time.perf_counter() - began < 2
    assert all(isinstance(part, str | None) for part in (report.findings, report.impression))
