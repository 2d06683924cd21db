"""Builds MAIRA-2's exact prompts: the template and the texts of its three tasks.

Source: microsoft/maira-2, chat_template.json and processing_maira2.py, in public copies. One word
is unverified: the copy that we read says "structured description", three independent quotations say
"description", which is used here. The double blanks are part of the template.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

IMAGE = "<image>"
# Strings that its tokenizer does not treat as text, wherever they stand.
CONTROL = re.compile(r"<(?:image|prev_im|lat_image|/?obj|/?box|[xy]\d{1,2}|unk|/?s)>")
SYSTEM = "You are an expert radiology assistant tasked with interpreting a chest X-ray study."
MISSING = "N/A"  # upstream's text for a section that is absent or empty
LIMITS = {  # new tokens; the model card's examples
    "findings": 300,
    "findings+impression": 300,  # it never writes an impression
    "grounded_findings": 450,
    "phrase_grounding": 150,
}
DESCRIBE = (
    " Provide a description of the findings in the radiology study in comparison to the prior"
    " frontal image."
)
LOCATE = (
    " Each finding should be described as a self-contained plain-text sentence. If the finding is"
    " groundable, locate the finding in the current frontal chest X-ray image, with bounding boxes"
    " indicating all locations where it can be seen in the current frontal image. Otherwise,"
    " generate just the ungrounded finding without bounding boxes."
)
REPEAT = (
    " Repeat the following finding as a grounded phrase with bounding boxes indicating all"
    " locations where it can be seen in the given chest X-ray image. Finding: "
)


def in_template(content: str) -> str:
    """Return the prompt of one user turn; the tokenizer puts <s> before it."""
    return f"{SYSTEM}  USER:  {content}  ASSISTANT: "


def reporting(
    grounded: bool,
    lateral: bool,
    prior_image: bool,
    prior_report: str,
    sections: Sequence[str],
) -> str:
    """Return the question for a report.

    As upstream, it asks for a comparison with the prior frontal image even if there is none.

    Args:
        grounded: whether to ask for boxes.
        lateral: whether a lateral image is shown.
        prior_image: whether a prior frontal image is shown.
        prior_report: the text of the prior report, or "".
        sections: indication, technique and comparison, each "" if absent.
    """
    parts = [f"Given the current frontal image{IMAGE}"]
    if not lateral and not prior_image:
        parts = [f"Given the current frontal image only{IMAGE}"]
    if lateral:
        parts.append(f"{'' if prior_image else ' and'} the current lateral image{IMAGE}")
    if prior_image:
        parts.append(f" and the prior frontal image{IMAGE}")
        parts.append(f" PRIOR_REPORT: {prior_report or MISSING}")
    indication, technique, comparison = (section or MISSING for section in sections)
    parts.append(DESCRIBE + (LOCATE if grounded else ""))
    parts.append(f" INDICATION: {indication} TECHNIQUE: {technique} COMPARISON: {comparison}")
    return "".join(parts)


def phrase_grounding(phrase: str) -> str:
    """Return the question for the boxes of one finding."""
    return f"Given the current frontal image{IMAGE}{REPEAT}{phrase}"
