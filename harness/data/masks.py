"""Set of marks: a user's segmentation masks shown to any model that sees pixels.

    folder/<image id>/<structure>.png     a mask of the image's size; what is not 0 is inside

overlay   numbered outlines on the image (Yang et al., "Set-of-Mark prompting", arXiv:2310.11441)
append    a picture of the masks, one grey per structure, as one more image after the image it is of

MAIRA-Seg (Sharma et al., PMLR 259) gives masks to a model that was trained with them; this shows
them to one that was not. Which number is which structure is told in Request.marks. An image without
masks stays as it is, and is counted. Off by default; what is shown is in the model's fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reportcard.api import MASKS_VIEW, Image, ImageError, Json, ReportCardError, Request, Study
from reportcard.config.settings import Marks
from reportcard.core.files import digest, file_digest
from reportcard.core.imaging.pixels import Pixels
from reportcard.core.imaging.read import read_file, resolve_under

VERSION = "1"  # goes up whenever a marked picture would change
VIEW = MASKS_VIEW  # no radiograph: a model that picks views leaves it alone
NAME_LENGTH = 60
Mask = npt.NDArray[np.bool_]
# Our own figures, three cells wide and five high: a font file would differ between machines.
FIGURES = (
    *("xxxx.xx.xx.xxxx", ".x.xx..x..x.xxx", "xxx..xxxxx..xxx", "xxx..xxxx..xxxx"),
    *("x.xx.xxxx..x..x", "xxxx..xxx..xxxx", "xxxx..xxxx.xxxx", "xxx..x.x..x..x."),
    *("xxxx.xxxxx.xxxx", "xxxx.xxxx..xxxx"),
)


@dataclass(frozen=True)
class MaskFile:
    structure: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Marking:
    """The masks of some requests' images. `images`: how many different images were looked up."""

    settings: Marks
    masks: Mapping[str, tuple[MaskFile, ...]]
    images: int

    @classmethod
    def of(cls, settings: Marks, requests: Iterable[Request]) -> Marking:
        """Look up the masks of every image, present and prior.

        Raises ReportCardError when the folder is absent, or a name or link leads out of it.
        """
        if not settings.folder.is_dir():
            raise ReportCardError(f"marks.folder={settings.folder} is not a folder.")
        ids = dict.fromkeys(image.image_id for r in requests for image in _images(r))
        found = {image_id: tuple(_files(settings.folder, image_id)) for image_id in ids}
        return cls(settings, {k: files for k, files in found.items() if files}, len(ids))

    @property
    def identity(self) -> Json:
        """What decides the marked pictures: for the model's fingerprint and its run card."""
        return {
            **self._options,
            "images": self.images,
            "marked": len(self.masks),
            "masks": digest({k: [_named(f) for f in files] for k, files in self.masks.items()}),
        }

    @property
    def _options(self) -> Json:
        s = self.settings
        return {"version": VERSION, "mode": s.mode, "outline": s.outline, "numbers": s.numbers}

    @property
    def note(self) -> str:
        """'marks: 12 of 150 images have masks (left lung, right lung)'"""
        names = sorted({f.structure for files in self.masks.values() for f in files})
        return f"marks: {len(self.masks):,} of {self.images:,} images have masks" + (
            f" ({', '.join(names)})" if names else ""
        )

    def missing(self) -> str | None:
        """Why there is nothing to mark, or None."""
        if self.masks:
            return None
        return (
            f"no mask of any of its {self.images:,} images in {self.settings.folder};"
            " expected <image id>/<structure>.png"
        )

    def request(self, request: Request) -> Request:
        """The request with marked images, and `marks` that say which number is what."""
        images = [image for image in _images(request) if image.available]
        names = sorted({f.structure for i in images for f in self.masks.get(i.image_id, ())})
        if not names:
            return request
        number = {name: n for n, name in enumerate(names, start=1)}
        prior = request.prior
        return replace(
            request,
            images=self._marked(request.images, number),
            prior=prior and replace(prior, images=self._marked(prior.images, number)),
            marks=tuple(f"{n} {name}" for name, n in number.items()),
        )

    def studies(self, studies: Sequence[Study]) -> tuple[Study, ...]:
        """A train part as a model is fitted on it."""
        return tuple(replace(study, request=self.request(study.request)) for study in studies)

    def _marked(self, images: Sequence[Image], number: Mapping[str, int]) -> tuple[Image, ...]:
        marked: list[Image] = []
        for image in images:
            files = self.masks.get(image.image_id, ()) if image.available else ()
            if not files:
                marked.append(image)
                continue
            numbered = tuple((number[f.structure], f.path) for f in files)
            about = [self._options, dict(number), [_named(f) for f in files]]
            name = f"{image.image_id}+{self.settings.mode}-{digest(about)[:8]}"
            if self.settings.mode == "append":
                picture = MaskPicture(image, numbered, len(number), self.settings)
                marked += [image, Image(name, VIEW, read=picture)]
            else:  # without the path, so that nobody reads the plain file by mistake
                overlay = Overlay(image, numbered, self.settings)
                marked.append(Image(name, image.view, read=overlay))
        return tuple(marked)


@dataclass(frozen=True)
class Overlay:
    """Draws the outlines when it is called; it can be pickled."""

    image: Image
    masks: tuple[tuple[int, Path], ...]
    settings: Marks

    def __call__(self) -> Pixels:
        pixels = self.image.pixels().copy()
        width = max(1, round(self.settings.outline * min(pixels.shape)))
        found = [(n, _read(path, self.image, pixels.shape)) for n, path in self.masks]
        for _, mask in found:
            pixels[mask & ~_eroded(mask, width)] = 255
        if self.settings.numbers:  # last, so that no outline crosses one
            for n, mask in found:
                _write(pixels, mask, n, ink=255, paper=0)
        return pixels


@dataclass(frozen=True)
class MaskPicture:
    """The masks of an image alone, on black; of two that overlap the later one is seen."""

    image: Image
    masks: tuple[tuple[int, Path], ...]
    structures: int
    settings: Marks

    def __call__(self) -> Pixels:
        shape = self.image.pixels().shape
        picture = np.zeros(shape, np.uint8)
        found = [(n, _read(path, self.image, shape)) for n, path in self.masks]
        for n, mask in found:
            picture[mask] = 255 - (n - 1) * 160 // max(1, self.structures - 1)
        if self.settings.numbers:
            for n, mask in found:
                _write(picture, mask, n, ink=255, paper=0)
        return picture


def _images(request: Request) -> Iterator[Image]:
    yield from request.images
    yield from request.prior.images if request.prior else ()


def _named(file: MaskFile) -> list[str]:
    return [file.structure, file.sha256]


def _files(folder: Path, image_id: str) -> Iterator[MaskFile]:
    """The masks of one image, by name. Its id is from a data set and may be anything."""
    try:
        place = resolve_under(folder, image_id)
        names = sorted(path.name for path in place.glob("*.png")) if place.is_dir() else []
        paths = [resolve_under(folder, f"{image_id}/{name}") for name in names]
    except ImageError as error:
        raise ReportCardError(f"marks: {error}") from None
    for name, path in zip(names, paths, strict=True):
        structure = " ".join(name.removesuffix(".png").replace("_", " ").split())
        if not structure or not structure.isprintable() or len(structure) > NAME_LENGTH:
            raise ReportCardError(
                f"{path}: a mask is named after its structure, in 1 to {NAME_LENGTH} printable"
                " characters: left_lung.png"
            )
        yield MaskFile(structure, path, file_digest(path))


def _read(path: Path, image: Image, shape: tuple[int, ...]) -> Mask:
    """Raises ImageError naming the mask's file; it costs the study, as an unreadable image does."""
    try:
        mask: Mask = read_file(path).pixels != 0
    except ImageError as error:
        raise ImageError("mask", f"{path}: {error}") from None
    if mask.shape != shape:
        sizes = [f"{s[1]} × {s[0]}" for s in (mask.shape, shape)]
        raise ImageError(
            "mask", f"{path} is {sizes[0]} pixels and image {image.image_id} is {sizes[1]}"
        )
    return mask


def _eroded(mask: Mask, width: int) -> Mask:
    """What is left when `width` pixels are taken off its rim; outside the picture is rim."""
    for _ in range(width):
        framed = np.pad(mask, 1)
        mask = mask & framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return mask


def _write(pixels: Pixels, mask: Mask, number: int, ink: int, paper: int) -> None:
    """The number at the pixel of the mask that is nearest to its middle."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return
    away = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
    at = int(away.argmin())
    unit = max(1, round(min(pixels.shape) / 170))
    figures = [np.array([c == "x" for c in FIGURES[int(f)]]).reshape(5, 3) for f in str(number)]
    text = np.hstack([np.pad(figure, ((1, 1), (1, 0))) for figure in figures])
    text = np.kron(np.pad(text, ((0, 0), (0, 1))), np.ones((unit, unit), np.bool_))
    height, width = (min(a, b) for a, b in zip(text.shape, pixels.shape, strict=True))
    top = min(max(0, int(rows[at]) - height // 2), pixels.shape[0] - height)
    left = min(max(0, int(columns[at]) - width // 2), pixels.shape[1] - width)
    shown = np.where(text[:height, :width], ink, paper)
    pixels[top : top + height, left : left + width] = shown
