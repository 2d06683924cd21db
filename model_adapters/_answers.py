"""What a chat model said, as a report: four ways of answering, each read with tolerance.

    plain                everything is the findings
    reasoned             what follows the reasoning: after </think>, inside <answer> if there is one
    boxed                `reasoned`, and of that the last \\boxed{…}
    findings_impression  "Findings: … Impression: …" in its two sections
    boxes_0_1            the phrase that was asked for, with every [x1, y1, x2, y2] in fractions

Text is never thrown away for want of a mark: without </think>, a box or a heading, all of it
counts. A reasoning that was begun and not ended is the exception: nothing was answered.
Everything here is linear in the length of the text, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from reportcard.api import Box, Phrase, Report

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


def read(kind: str, text: str, phrase: str | None = None) -> Report:
    """The report in an answer. `phrase`: what was to be located, for boxes_0_1."""
    if kind == "boxes_0_1":
        return Report(phrases=(Phrase(phrase or text.strip(), boxes_in(text)),))
    return READERS[kind](text)


def reasoned(text: str) -> str:
    """The answer without the reasoning before it."""
    _, closed, after = text.rpartition("</think>")
    if not closed:
        after = text.partition("<think>")[0]
    _, opened, answer = after.rpartition("<answer>")
    return (answer if opened else after).partition("</answer>")[0].strip()


def boxed(text: str) -> str:
    """The inside of the last \\boxed{…}, braces paired; one that is not closed runs to the end."""
    answer = reasoned(text)
    starts = [match.end() for match in BOXED.finditer(answer)]
    if not starts:
        return answer
    depth, begin = 1, starts[-1]
    for at in range(begin, len(answer)):
        depth += {"{": 1, "}": -1}.get(answer[at], 0)
        if not depth:
            return _untied(answer[begin:at])
    return _untied(answer[begin:])


def sections(text: str) -> Report:
    """Findings and impression by their headings. Text before the first heading is findings, where
    an impression follows as where findings do."""
    text = reasoned(text)
    found: dict[str, list[str]] = {"findings": [], "impression": []}
    name, begin, headed = "findings", 0, False
    for match in HEADING.finditer(text):
        before = text[max(0, match.start() - 16) : match.start()]
        if (OPENS if match["end"] is None else MARKED).search(before):
            part = text[begin : match.start()]
            if headed or _bare(part):
                found[name].append(part)
            name, begin, headed = match[1].lower(), match.end(), True
    if not headed:
        return Report(findings=text.strip())
    found[name].append(text[begin:])
    parts = {key: " ".join(map(_bare, texts)) for key, texts in found.items() if texts}
    return Report(parts.get("findings"), parts.get("impression"))


def boxes_in(text: str) -> tuple[Box, ...]:
    """Every box in fractions of the image; pixels and swapped corners are passed over."""
    boxes = []
    for match in CORNERS.finditer(text):
        try:
            boxes.append(Box(*(float(number) for number in match.groups())))
        except ValueError:
            continue
    return tuple(dict.fromkeys(boxes))


def _untied(inside: str) -> str:
    """`\\boxed{\\text{…}}` and `\\boxed{{…}}` hold the same text as `\\boxed{…}`."""
    inside = inside.strip()
    for opening in ("\\text{", "{"):
        if inside.startswith(opening) and inside.endswith("}"):
            inside = inside[len(opening) : -1].strip()
    return inside


def _bare(text: str) -> str:
    """Without the marks of a heading that Markdown leaves at either end."""
    return text.strip(" \t\r\n*_#")


READERS: Mapping[str, Callable[[str], Report]] = {
    "plain": lambda text: Report(findings=text.strip()),
    "reasoned": lambda text: Report(findings=reasoned(text)),
    "boxed": lambda text: Report(findings=boxed(text)),
    "findings_impression": sections,
}
KINDS = (*READERS, "boxes_0_1")
