"""Reads grounded reports of users: a list of {text, boxes}, as in RadFact's example format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reportcard.api import Box, Phrase, ReportCardError

CORNERS = ("x_min", "y_min", "x_max", "y_max")


def phrases_of(value: Any, where: str) -> tuple[Phrase, ...]:
    """Return the phrases of a grounded report. Boxes are fractions of the image, [0, 1].

    `boxes` is null for a finding that is not localised. An empty list is an error, as in RadFact.
    Raises ReportCardError naming the place.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ReportCardError(f"{where} must be a list of {{text, boxes}}, not {_name(value)}.")
    return tuple(_phrase(item, f"{where}[{i}]") for i, item in enumerate(value))


def _phrase(item: Any, where: str) -> Phrase:
    text = item.get("text") if isinstance(item, dict) else None
    if not isinstance(text, str):
        raise ReportCardError(f"{where} must be an object with a text.")
    if not text.strip():
        raise ReportCardError(f"{where} has an empty text; leave the phrase out.")
    boxes = item.get("boxes")
    if boxes is None:
        return Phrase(text)
    if not isinstance(boxes, Sequence) or isinstance(boxes, str) or not boxes:
        raise ReportCardError(f"{where}: boxes is null or a list of at least one box.")
    return Phrase(text, tuple(_box(box, f"{where}: box {i}") for i, box in enumerate(boxes)))


def _box(value: Any, where: str) -> Box:
    corners = [value.get(name) for name in CORNERS] if isinstance(value, dict) else []
    numbers = [c for c in corners if isinstance(c, int | float) and not isinstance(c, bool)]
    if len(numbers) != len(CORNERS):
        raise ReportCardError(f"{where} must have the numbers {', '.join(CORNERS)}.")
    try:
        return Box(*map(float, numbers))
    except (ValueError, OverflowError):
        raise ReportCardError(
            f"{where} must have 0 <= min < max <= 1: fractions of the image, not {numbers}."
        ) from None


def _name(value: Any) -> str:
    return type(value).__name__
