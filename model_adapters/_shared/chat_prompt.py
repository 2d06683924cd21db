"""Builds the user's turn for a chat model: lines filled in from the request, and images.

A line names inputs in braces: `Indication: {indication}`. A line whose input the request lacks is
left out, so that no model reads "Indication: None". Other braces stay as they are (\\boxed{{}}).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reportcard.api import Image, ReportCardError, Request
from reportcard.models.views import frontal_of, lateral_of, masks_of, prior_frontal_of

FIELDS = ("indication", "technique", "comparison", "prior_report", "age", "sex", "marks", "phrase")
ROLES = ("frontal", "lateral", "prior")
FIELD = re.compile("{(" + "|".join(FIELDS) + ")}")


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """ChatTurn is a user's turn: its text and its images in order.

    `used` names the inputs of the request that are in it; `left_out` the others, with the reason.
    """

    text: str
    images: tuple[Image, ...]
    used: tuple[str, ...]
    left_out: Mapping[str, str]


def build_turn(
    request: Request, instruction: str, context: Sequence[str], roles: Sequence[str]
) -> ChatTurn:
    """Fill in the lines and choose the images.

    Args:
        request: the study.
        instruction: the last lines of the turn.
        context: lines before the instruction.
        roles: the images to show, in order, of frontal, lateral and prior.

    Raises ReportCardError if no line is left, and ImageError without a frontal image.
    """
    values = text_inputs(request)
    lines, named = [], []
    for line in [*context, *instruction.split("\n")]:
        inside = FIELD.findall(line)
        if all(name in values for name in inside):
            lines.append(FIELD.sub(lambda match: values[match[1]], line))
            named += inside
    if not "".join(lines).strip():
        wanted = ", ".join(dict.fromkeys(FIELD.findall(instruction)))
        raise ReportCardError(f"Study {request.study_id} has no {wanted} to ask about.")
    there = {"frontal": frontal_of, "lateral": lateral_of, "prior": prior_frontal_of}
    images = {role: image for role in roles if (image := there[role](request)) is not None}
    shown = ["prior_image" if role == "prior" else role for role in images]
    used = (*shown, *(name for name in FIELDS if name in named))
    pictures = [p for image in images.values() for p in (image, *masks_of(request, image))]
    return ChatTurn("\n".join(lines), tuple(pictures), used, _left_out(request, values, used))


def text_inputs(request: Request) -> dict[str, str]:
    """Return the text inputs that the request has."""
    prior = request.prior.report if request.prior else None
    found = {
        "indication": request.indication,
        "technique": request.technique,
        "comparison": request.comparison,
        "prior_report": prior.text(("findings", "impression")) if prior else None,
        "age": None if request.age is None else f"{request.age:g}",
        "sex": request.sex,
        "marks": ", ".join(request.marks),
        "phrase": request.phrase,
    }
    return {name: value for name, value in found.items() if value and value.strip()}


def _left_out(request: Request, values: Mapping[str, str], used: Sequence[str]) -> dict[str, str]:
    has = [name for name in values if name != "phrase"]
    has += ["lateral"] if lateral_of(request) else []
    has += ["prior_image"] if prior_frontal_of(request) else []
    return {name: "this model's prompt does not ask for it" for name in has if name not in used}
