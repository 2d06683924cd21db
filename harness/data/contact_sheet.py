"""Draws ten studies of a cohort on one picture, to show whether they are read correctly.

Each study is shown with counts and lengths of its inputs and reference, and with its images. Boxes
of the reference are drawn with the number of their phrase; boxes of a second reader are dashed
blue. Report text is never drawn. For data that is not open, ids are replaced by numbers and the
file has mode 0600. For an image that cannot be read, a tile names the kind of failure.
"""

from __future__ import annotations

import io
import os
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reportcard.api import Box, Image, ImageError, Phrase, ReportCardError, Study
from reportcard.core.files import write_atomic
from reportcard.data.cohort import Cohort

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw

STUDIES, TILES, TILE, LINE, TEXT = 10, 4, 240, 16, 250
INK, PAPER, FAINT = (30, 30, 30), (255, 255, 255), (110, 110, 110)
FIRST, SECOND, FAILED = (230, 120, 0), (40, 110, 230), (130, 20, 20)


def write_contact_sheet(cohort: Cohort, path: Path, seed: int = 0) -> Counter[str]:
    """Draw STUDIES randomly chosen studies, in cohort order, and write a PNG to `path`.

    Returns how many images were read ("read"), how many of them have a single grey value
    ("constant"), and how many could not be read, by kind of failure.
    """
    import PIL.Image
    import PIL.ImageDraw

    if path.suffix.lower() != ".png":
        raise ReportCardError(f"--contact-sheet writes a PNG, not {path.name}")
    chosen = sorted(
        random.Random(seed).sample(range(len(cohort.test)), min(STUDIES, len(cohort.test)))
    )
    head, row = 3 * LINE, TILE + 2 * LINE
    columns = min(TILES, max(1, *(len(_shown(cohort.test[index])) for index in chosen)))
    size = (TEXT + columns * (TILE + 8), head + row * len(chosen))
    sheet = PIL.Image.new("RGB", size, PAPER)
    draw = PIL.ImageDraw.Draw(sheet)
    _write(draw, (8, 6), _title(cohort, len(chosen), seed))
    seen: Counter[str] = Counter()
    for number, index in enumerate(chosen):
        study, top = cohort.test[index], head + number * row
        draw.line((0, top - 4, size[0], top - 4), fill=(210, 210, 210))
        name = study.study_id if cohort.card.data_class == "open" else f"study {index + 1}"
        _write(draw, (8, top), caption(name, study))
        for column, (label, image, phrases) in enumerate(_shown(study)[:TILES]):
            left = TEXT + column * (TILE + 8)
            tile, notes = _tile(image, phrases, seen)
            sheet.paste(tile, (left, top + LINE))
            _write(draw, (left, top - 2), [f"{label}{notes}"], FAINT)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    if cohort.card.data_class == "open":
        write_atomic(path, buffer.getvalue())
    else:
        _write_private(path, buffer.getvalue())
    return seen


def _write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read at any time, replacing an existing one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
        handle.write(data)


def _title(cohort: Cohort, shown: int, seed: int) -> list[str]:
    card = cohort.card
    closed = f"; images under {card.dua_id or 'a use agreement'}: not to be shared"
    return [
        f"{cohort.folder}: {card.title}; {card.data_class}"
        + ("" if card.data_class == "open" else closed),
        f"{shown} of {len(cohort.test):,} studies, seed {seed}",
    ]


def caption(name: str, study: Study) -> list[str]:
    """Return the lines about a study: counts and lengths."""
    request, reference = study.request, study.reference
    views = ", ".join(image.view or "view unknown" for image in request.images)
    boxes = [len(phrase.boxes) for phrase in reference.phrases]
    lines = [
        name,
        f"views: {views or 'none'}",
        f"findings: {_words(reference.findings)}",
        f"impression: {_words(reference.impression)}",
        f"indication: {_words(request.indication)}",
    ]
    if request.task != "findings":
        lines.append(f"task: {request.task}")
    if request.prior is not None:
        report = request.prior.report
        told = _words(report.text(("findings", "impression"))) if report else "no report"
        lines.append(f"prior: {len(request.prior.images)} images, {told}")
    if reference.phrases:
        lines.append(f"phrases: {len(boxes)}, {sum(boxes)} boxes")
        second = sum(len(phrase.second_reader) for phrase in reference.phrases)
        lines += [f"second reader: {second} boxes"] if second else []
    hidden = len(_shown(study)) - TILES
    return [*lines, *([f"and {hidden} more images"] if hidden > 0 else [])]


def _words(text: str | None) -> str:
    return "absent" if text is None else f"{len(text.split())} words"


def _shown(study: Study) -> list[tuple[str, Image, Sequence[Phrase]]]:
    """Return (label, image, phrases to draw): the study's own images, then those of its prior.

    Boxes are drawn on the first view that is not lateral, to which the datasets' boxes refer.
    """
    images = study.request.images
    prior = study.request.prior.images if study.request.prior else ()
    frontal = [i for i in images if not i.lateral]
    boxed = next(iter(frontal or images), None)
    phrases = study.reference.phrases
    return [
        *((i.view or "view unknown", i, phrases if i is boxed else ()) for i in images),
        *((f"prior {i.view}", i, ()) for i in prior),
    ]


def _tile(image: Image, phrases: Sequence[Phrase], seen: Counter[str]) -> tuple[Picture, str]:
    """Return a square picture of an image with its boxes, and a note on its size."""
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageOps

    from reportcard.core.imaging.read import decode

    square = PIL.Image.new("RGB", (TILE, TILE), (60, 60, 60))
    draw = PIL.ImageDraw.Draw(square)
    try:
        reading = decode(image)
    except Exception as error:  # a renderer may raise anything; the sheet shows that it failed
        kind = error.kind if isinstance(error, ImageError) else type(error).__name__
        seen[kind] += 1
        draw.rectangle((0, 0, TILE, TILE), fill=FAILED)
        _write(draw, (12, TILE // 2 - LINE), [kind], PAPER)
        return square, ""
    seen["read"] += 1
    seen["constant"] += "constant" in reading.rules
    height, width = reading.pixels.shape
    picture = PIL.ImageOps.contain(PIL.Image.fromarray(reading.pixels), (TILE, TILE))
    corner = ((TILE - picture.width) // 2, (TILE - picture.height) // 2)
    square.paste(picture, corner)
    for number, phrase in enumerate(phrases, 1):
        for box in phrase.second_reader:
            _dashed(draw, _corners(box, picture, corner))
        for box in phrase.boxes:
            place = _corners(box, picture, corner)
            draw.rectangle(place, outline=FIRST, width=2)
            _write(draw, (place[0] + 3, place[1] + 1), [str(number)], FIRST)
    constant = ", constant" if "constant" in reading.rules else ""
    return square, f"  {width} x {height}{constant}"


def _corners(box: Box, picture: Picture, corner: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a box in pixels of the tile, at least one pixel wide and high."""
    (left, top), (w, h) = corner, (picture.width - 1, picture.height - 1)
    x, y = left + round(box.x_min * w), top + round(box.y_min * h)
    return x, y, max(x + 1, left + round(box.x_max * w)), max(y + 1, top + round(box.y_max * h))


def _dashed(draw: ImageDraw, place: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = place
    for x in range(left, right, 8):
        for y in (top, bottom):
            draw.line((x, y, min(x + 4, right), y), fill=SECOND, width=2)
    for y in range(top, bottom, 8):
        for x in (left, right):
            draw.line((x, y, x, min(y + 4, bottom)), fill=SECOND, width=2)


def _write(
    draw: ImageDraw,
    place: tuple[int, int],
    lines: Iterable[str],
    ink: tuple[int, int, int] = INK,
) -> None:
    """Write lines of text below each other, in Pillow's built-in font.

    Args:
        draw: the picture.
        place: left and top of the first line, in pixels.
        lines: the text.
        ink: the colour.
    """
    import PIL.ImageFont

    font = PIL.ImageFont.load_default(12)
    for number, line in enumerate(lines):
        draw.text((place[0], place[1] + number * LINE), line, fill=ink, font=font)
