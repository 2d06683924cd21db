"""What MAIRA-2 says, read: phrases and boxes out of its own markup, whatever shape that is in.

    <obj>PHRASE <box><xA><yB><xC><yD></box>…</obj>      a finding and its places
    <obj>PHRASE</obj>                                   a finding without a place

A box is four bins of 1/100 of the centre-cropped square, xmin ymin xmax ymax, and means the bins'
middles. Upstream's parser asserts and throws; this one never does. Words are kept wherever they
stand. A box is kept only if it is whole: none is completed, turned round or moved.
"""

from __future__ import annotations

import re

from reportcard.api import Box, Phrase

BINS = 100
TAG = re.compile(r"(</?obj>|</?box>|<[xy][0-9]+>)")
FOUR_BINS = re.compile(r"<x([0-9]{1,2})><y([0-9]{1,2})><x([0-9]{1,2})><y([0-9]{1,2})>")


def parse(text: str) -> tuple[Phrase, ...]:
    """The phrases in order; boxes are fractions of the cropped square. Text without markup is one
    phrase without boxes; so is each text outside <obj>."""
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
        self.box: str | None = None  # what stands in the box that is open

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
                self.box += part  # words inside: no longer four bins, so no box

    def end_box(self) -> None:
        """A box whose end was lost counts if its four bins are there."""
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
    """Four bins in order, in range, the first corner above and to the left of the second."""
    match = FOUR_BINS.fullmatch(bins)
    if match is None:
        return None
    x_min, y_min, x_max, y_max = ((int(number) + 0.5) / BINS for number in match.groups())
    return Box(x_min, y_min, x_max, y_max) if x_min < x_max and y_min < y_max else None


def on_original(box: Box, size: tuple[int, int]) -> Box:
    """A box of the centre-cropped square as fractions of the image; size: (height, width).

    The square has the shorter side and begins at half the rest, in whole pixels. What lies outside
    it cannot be boxed at all. Upstream then cuts coordinates to whole pixels, which is not done
    here: at most one pixel of difference.
    """
    height, width = size
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    x_min, x_max = ((x * side + left) / width for x in (box.x_min, box.x_max))
    y_min, y_max = ((y * side + top) / height for y in (box.y_min, box.y_max))
    return Box(x_min, y_min, x_max, y_max)


def placed(phrases: tuple[Phrase, ...], size: tuple[int, int]) -> tuple[Phrase, ...]:
    """The phrases with their boxes on the original image."""
    return tuple(Phrase(p.text, tuple(on_original(box, size) for box in p.boxes)) for p in phrases)
