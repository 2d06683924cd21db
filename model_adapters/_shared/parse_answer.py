"""Turns a chat model's answer into a report. There are five formats:

    plain                the whole text is the findings
    reasoned             the same: its name says that the model thinks before it answers
    boxed                the last \\boxed{…}
    findings_impression  "Findings: … Impression: …" in its two sections
    boxes_0_1            the phrase of the request with every box [x1, y1, x2, y2] in fractions

In all of them the thoughts of a reasoning model are dropped first (harness/core/model_answer.py).
No other text is dropped because a mark is missing: without \\boxed or a heading, the whole text
counts. Thoughts that have no end are no answer. The time is linear in the length of the text,
whatever the text holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from reportcard.api import Box, Phrase, Report
from reportcard.core.model_answer import answer_in

# "Findings:", or the word alone on its line where Markdown marks it: "**Findings**", "## Findings".
HEADING = re.compile(
    r"\b(findings|impression)\b(?:[*_ ]{0,4}:[*_]{0,3}|(?P<end>[*_ \t]{0,6})(?=\r?\n|\Z))",
    re.IGNORECASE,
)
MARKED = re.compile(r"(?:^|\n)[ \t>-]{0,8}(?:#{1,6}[ \t]{0,4}[*_]{0,3}|[*_]{1,3})\Z")
OPENS = re.compile(r"(?:^|[\n.!?:;])[\s*_#>-]{0,12}$")
NUMBER = r"\s{0,8}([0-9]{1,4}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})\s{0,8}"
CORNERS = re.compile(rf"\[{NUMBER},{NUMBER},{NUMBER},{NUMBER}\]")
BOXED = re.compile(r"\\boxed\s{0,4}\{")


def parse_answer(kind: str, text: str, phrase: str | None = None) -> Report:
    """Parse an answer in one of FORMATS; `phrase` is the phrase to locate, for boxes_0_1."""
    answer = answer_in(text).strip()
    if kind == "boxes_0_1":
        return Report(phrases=(Phrase(phrase or answer, find_boxes(answer)),))
    return PARSERS[kind](answer)


def last_boxed(answer: str) -> str:
    """Return the inside of the last \\boxed{…}; one that is not closed runs to the end."""
    starts = [match.end() for match in BOXED.finditer(answer)]
    if not starts:
        return answer
    depth, begin = 1, starts[-1]
    for at in range(begin, len(answer)):
        depth += {"{": 1, "}": -1}.get(answer[at], 0)
        if not depth:
            return _without_wrappers(answer[begin:at])
    return _without_wrappers(answer[begin:])


def split_sections(text: str) -> Report:
    """Split findings and impression at their headings; text before the first one is findings."""
    found: dict[str, list[str]] = {"findings": [], "impression": []}
    name, begin, headed = "findings", 0, False
    for match in HEADING.finditer(text):
        before = text[max(0, match.start() - 16) : match.start()]
        if (OPENS if match["end"] is None else MARKED).search(before):
            part = text[begin : match.start()]
            if headed or _without_markdown(part):
                found[name].append(part)
            name, begin, headed = match[1].lower(), match.end(), True
    if not headed:
        return Report(findings=text.strip())
    found[name].append(text[begin:])
    parts = {key: " ".join(map(_without_markdown, texts)) for key, texts in found.items() if texts}
    return Report(parts.get("findings"), parts.get("impression"))


def find_boxes(text: str) -> tuple[Box, ...]:
    """Return every box in fractions of the image; skip pixel values and swapped corners."""
    boxes = []
    for match in CORNERS.finditer(text):
        try:
            boxes.append(Box(*(float(number) for number in match.groups())))
        except ValueError:
            continue
    return tuple(dict.fromkeys(boxes))


def _without_wrappers(inside: str) -> str:
    """Remove the wrappers of `\\boxed{\\text{…}}` and `\\boxed{{…}}`."""
    inside = inside.strip()
    for opening in ("\\text{", "{"):
        if inside.startswith(opening) and inside.endswith("}"):
            inside = inside[len(opening) : -1].strip()
    return inside


def _without_markdown(text: str) -> str:
    """Remove the marks of a Markdown heading at both ends."""
    return text.strip(" \t\r\n*_#")


PARSERS: Mapping[str, Callable[[str], Report]] = {
    "plain": lambda answer: Report(findings=answer),
    "reasoned": lambda answer: Report(findings=answer),
    "boxed": lambda answer: Report(findings=last_boxed(answer)),
    "findings_impression": split_sections,
}
FORMATS = (*PARSERS, "boxes_0_1")
