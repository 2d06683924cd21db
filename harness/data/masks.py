"""Draws a user's segmentation masks on the images of a cohort (set-of-mark prompting).

    folder/<image id>/<structure>.png     a mask of the image's size; 0 is outside

overlay   numbered outlines on the image (Yang et al., "Set-of-Mark prompting", arXiv:2310.11441)
append    a picture of the masks, one grey value per structure, as an extra image after the image

MAIRA-Seg (Sharma et al., PMLR 259) gives masks to a model that was trained with them. This module
shows them to models that were not. Request.marks says which number is which structure. An image
without masks is not changed, and is counted. Marks are off by default, and the model's fingerprint
covers what is shown.
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

VERSION = "1"  # raised whenever a marked picture changes
VIEW = MASKS_VIEW  # not a radiograph, so models that choose by view ignore it
NAME_LENGTH = 60
Mask = npt.NDArray[np.bool_]
# Digits of three by five cells; a font would differ between machines.
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
    """The masks of the images of some requests. images: how many images were looked up."""

    settings: Marks
    masks: Mapping[str, tuple[MaskFile, ...]]
    images: int

    @classmethod
    def of(cls, settings: Marks, requests: Iterable[Request]) -> Marking:
        """Find the masks of every image of the requests, including those of priors.

        Raises ReportCardError when the folder is absent, or a name or link leads out of it.
        """
        if not settings.folder.is_dir():
            raise ReportCardError(f"marks.folder={settings.folder} is not a folder.")
        ids = dict.fromkeys(image.image_id for r in requests for image in _images(r))
        found = {image_id: tuple(_files(settings.folder, image_id)) for image_id in ids}
        return cls(settings, {k: files for k, files in found.items() if files}, len(ids))

    @property
    def identity(self) -> Json:
        """What determines the marked pictures, for the model's fingerprint and the run card."""
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
        """A note such as 'marks: 12 of 150 images have masks (left lung, right lung)'."""
        names = sorted({f.structure for files in self.masks.values() for f in files})
        return f"marks: {len(self.masks):,} of {self.images:,} images have masks" + (
            f" ({', '.join(names)})" if names else ""
        )

    def missing(self) -> str | None:
        """Return why nothing can be marked, or None."""
        if self.masks:
            return None
        return (
            f"no mask of any of its {self.images:,} images in {self.settings.folder};"
            " expected <image id>/<structure>.png"
        )

    def request(self, request: Request) -> Request:
        """Return the request with marked images and with `marks`, which name the numbers."""
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
        """Return studies whose requests have marked images."""
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
            else:  # without the path, so that nobody reads the unmarked file by mistake
                overlay = Overlay(image, numbered, self.settings)
                marked.append(Image(name, image.view, read=overlay))
        return tuple(marked)


@dataclass(frozen=True)
class Overlay:
    """Draws the outlines on an image when it is called. It can be pickled."""

    image: Image
    masks: tuple[tuple[int, Path], ...]
    settings: Marks

    def __call__(self) -> Pixels:
        pixels = self.image.pixels().copy()
        width = max(1, round(self.settings.outline * min(pixels.shape)))
        found = [(n, _read(path, self.image, pixels.shape)) for n, path in self.masks]
        for _, mask in found:
            pixels[mask & ~_eroded(mask, width)] = 255
        if self.settings.numbers:  # last, so that no outline crosses a number
            for n, mask in found:
                _write(pixels, mask, n, ink=255, paper=0)
        return pixels


@dataclass(frozen=True)
class MaskPicture:
    """Draws the masks of an image on black when it is called. Later masks cover earlier ones."""

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
    """Yield the masks of one image, by name. Its id comes from a dataset and may be anything."""
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
    """Read a mask. Raises ImageError naming its file, which fails its study."""
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
    """Return the mask without its outer `width` pixels; the edge of the picture counts as outer."""
    for _ in range(width):
        framed = np.pad(mask, 1)
        mask = mask & framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return mask


def _write(pixels: Pixels, mask: Mask, number: int, ink: int, paper: int) -> None:
    """Write the number at the pixel of the mask that is nearest to its centre.

    Args:
        pixels: the picture, changed in place.
        mask: the structure.
        number: what to write.
        ink: grey value of the digits.
        paper: grey value of the background.
    """
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
