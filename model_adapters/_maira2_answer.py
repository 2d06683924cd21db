"""Parses MAIRA-2's answers: phrases and boxes from its own markup, also if it is malformed.

    <obj>PHRASE <box><xA><yB><xC><yD></box>…</obj>      a finding and its places
    <obj>PHRASE</obj>                                   a finding without a place

A box is four bins of 1/100 of the centre-cropped square: xmin ymin xmax ymax. It means the middles
of the bins. Upstream's parser raises an error for malformed text; this one never does. It keeps all
words. It keeps a box only if it is complete, and never completes, flips or moves one.
"""

from __future__ import annotations

import re

from reportcard.api import Box, Phrase

BINS = 100
TAG = re.compile(r"(</?obj>|</?box>|<[xy][0-9]+>)")
FOUR_BINS = re.compile(r"<x([0-9]{1,2})><y([0-9]{1,2})><x([0-9]{1,2})><y([0-9]{1,2})>")


def parse(text: str) -> tuple[Phrase, ...]:
    """Return the phrases in order, with boxes as fractions of the cropped square.

    Text without markup is one phrase without boxes, and so is each text outside <obj>.
    """
    reader = _Reader()
    for part in TAG.split(text):
        reader.take(part)
    reader.end_phrase()
    return tuple(reader.phrases)


class _Reader:
    def __init__(self) -> None:
        self.phrases: list[Phrase] = []
        self.words: list[str] = []
        self.boxes: list[Box] = []
        self.box: str | None = None  # the content of the open box

    def take(self, part: str) -> None:
        if part in ("<obj>", "</obj>"):
            self.end_phrase()
        elif part in ("<box>", "</box>"):
            self.end_box()
            self.box = "" if part == "<box>" else None
        elif TAG.fullmatch(part):
            if self.box is not None:
                self.box += part
        elif part.strip():
            self.words.append(part.strip())
            if self.box is not None:
                self.box += part  # with words inside it is not four bins, so not a box

    def end_box(self) -> None:
        """Close the open box; one without </box> counts if its four bins are there."""
        if self.box is not None:
            box = _box(self.box)
            if box is not None:
                self.boxes.append(box)
        self.box = None

    def end_phrase(self) -> None:
        self.end_box()
        if self.words or self.boxes:
            self.phrases.append(Phrase(" ".join(self.words), tuple(self.boxes)))
        self.words, self.boxes = [], []


def _box(bins: str) -> Box | None:
    """Return the box of four bins if its first corner is above and left of its second."""
    match = FOUR_BINS.fullmatch(bins)
    if match is None:
        return None
    x_min, y_min, x_max, y_max = ((int(number) + 0.5) / BINS for number in match.groups())
    return Box(x_min, y_min, x_max, y_max) if x_min < x_max and y_min < y_max else None


def on_original(box: Box, size: tuple[int, int]) -> Box:
    """Convert a box of the centre-cropped square to fractions of the image of (height, width).

    The side of the square is the image's shorter side, and it is centred, in whole pixels. The
    model cannot box anything outside of it. Upstream also rounds coordinates down to whole pixels,
    which is not done here; the difference is at most one pixel.
    """
    height, width = size
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    x_min, x_max = ((x * side + left) / width for x in (box.x_min, box.x_max))
    y_min, y_max = ((y * side + top) / height for y in (box.y_min, box.y_max))
    return Box(x_min, y_min, x_max, y_max)


def placed(phrases: tuple[Phrase, ...], size: tuple[int, int]) -> tuple[Phrase, ...]:
    """Return the phrases with their boxes on the original image."""
    return tuple(Phrase(p.text, tuple(on_original(box, size) for box in p.boxes)) for p in phrases)
