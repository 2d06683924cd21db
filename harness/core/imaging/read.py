"""Reads image files as grey arrays: (height, width) uint8, 0 black to 255 white.

PNG and JPEG are read here, DICOM in dicom.py. The bytes of a file decide its kind, not its name.
Every result comes with the rules that were applied. An image that cannot be read raises an
ImageError, which fails only its own study. Its `kind` is one of:

    missing      no such file, or only the reports are on this machine
    outside      its path leaves the data root
    empty        a file of zero bytes
    truncated    the file ends before the image does
    bomb         over 100 megapixels by its header; nothing was decoded
    empty_frame  a side under two pixels
    unreadable   everything else: unknown format, damaged data, a decoder that is not installed
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from reportcard.core.errors import ImageError
from reportcard.core.imaging.pixels import MAX_PIXELS, Pixels, check_size


class ImageSource(Protocol):
    """The part of reportcard.api.Image that this module needs."""

    @property
    def image_id(self) -> str: ...

    @property
    def path(self) -> Path | None: ...

    @property
    def read(self) -> Callable[[], Pixels] | None: ...


PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # the first bytes of a PNG and a JPEG
# Recorded in Request.provenance["reading"]. Change it when a change here changes what models see.
READING = "grey8;png16:round(x/257);colour:luma601;alpha:on_black;dicom:lut|window1|minmax"


@dataclass(frozen=True, slots=True)
class Reading:
    """A decoded image, and the rules that were applied: ("dicom", "window 1 of 2", "inverted")."""

    pixels: Pixels
    rules: tuple[str, ...]


def resolve_under(root: Path, relative: str) -> Path:
    """Return the real path of `relative`, a path from a CSV or JSON, under `root`.

    The file need not exist. Raises ImageError("outside") for an absolute path, for any `..`, and
    for a link that leaves root. The error quotes the path, which is needed to find its row.
    """
    # Strings are faster than pathlib, and a cohort calls this up to 370,000 times.
    if relative.startswith("/") or ".." in relative.split("/") or "\0" in relative:
        raise ImageError("outside", f"{relative!r} leaves the data root {root}")
    top = os.path.abspath(root)
    base, real = _real_folder(top), _real(os.path.normpath(os.path.join(top, relative)))
    if real != base and not real.startswith(base.rstrip(os.sep) + os.sep):
        raise ImageError("outside", f"{relative!r} is a link that leaves the data root {root}")
    return Path(real)


def _real(path: str) -> str:
    """Return os.path.realpath, with the results for folders cached."""
    folder, name = os.path.split(path)
    if not name:
        return path
    here = os.path.join(_real_folder(folder), name)
    return os.path.realpath(here) if os.path.islink(here) else here


@lru_cache(maxsize=65536)
def _real_folder(path: str) -> str:
    return _real(path)


def read_grey(image: ImageSource) -> Pixels:
    """Return the pixels of an image: prefetched ones if there are any, else decoded now.

    Raises ImageError naming the image and its file.
    """
    for lookup in tuple(LOOKUPS):
        found = lookup(image)
        if found is not None:
            return found
    return decode(image).pixels


# The prefetchers of this process (predict/engines/prefetch.py). They are kept here and not in an
# Image, which must stay picklable.
LOOKUPS: list[Callable[[Any], Pixels | None]] = []


def decode(image: ImageSource) -> Reading:
    """Read an image from its file or its renderer. Raises ImageError naming image and file."""
    if image.read is not None:
        return _checked(image.read(), ("rendered",))
    if image.path is None:
        raise ImageError(
            "missing", f"Image {image.image_id} is not on this machine; set dataset.root=…"
        )
    try:
        return read_file(image.path)
    except ImageError as error:
        raise ImageError(error.kind, f"Image {image.image_id} ({image.path}): {error}") from error


def read_file(path: Path) -> Reading:
    """Decode one file. Raises ImageError saying what is wrong with it."""
    try:
        with path.open("rb") as handle:
            head = handle.read(132)
    except FileNotFoundError:
        raise ImageError("missing", "no such file") from None
    except OSError as error:  # a directory, no permission, a disk that fails
        raise ImageError("unreadable", error.strerror or type(error).__name__) from error
    if not head:
        raise ImageError("empty", "the file has zero bytes")
    named = path.suffix.lower() in (".dcm", ".dicom") and not head.startswith(PICTURES)
    if head[128:] == b"DICM" or named:
        from reportcard.core.imaging.dicom import read_dicom

        pixels, rules = read_dicom(path)
    else:
        pixels, rules = _read_picture(path)
    return _checked(pixels, rules)


def _checked(pixels: Pixels, rules: tuple[str, ...]) -> Reading:
    """Check the size of the decoded array; add the rule "constant" if all pixels are equal."""
    check_size(*pixels.shape[::-1])
    first = pixels[0, 0]
    if (pixels[::16, ::16] == first).all() and (pixels == first).all():
        rules = (*rules, "constant")
    return Reading(pixels, rules)


def _read_picture(path: Path) -> tuple[Pixels, tuple[str, ...]]:
    """Decode a PNG or JPEG. PIL's `verify` is not used: it accepts a truncated JPEG."""
    import PIL.Image
    import PIL.ImageFile

    # Some model code sets this for the whole process; it fills missing parts with flat grey.
    PIL.ImageFile.LOAD_TRUNCATED_IMAGES = False
    bombs = (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning)
    try:
        with PIL.Image.open(path, formats=("PNG", "JPEG")) as file:
            check_size(*file.size)
            return _grey(file)
    except ImageError:
        raise
    except bombs:
        raise ImageError("bomb", f"over {MAX_PIXELS:,} pixels") from None
    except PIL.UnidentifiedImageError:
        raise ImageError("unreadable", "neither PNG, JPEG nor DICOM") from None
    except Exception as error:  # broken bytes make Pillow raise any exception
        short = "truncated" in str(error).lower() or isinstance(error, EOFError)
        said = str(error) or type(error).__name__
        raise ImageError("truncated" if short else "unreadable", said) from error


def _grey(file: object) -> tuple[Pixels, tuple[str, ...]]:
    """Convert an opened picture of any mode to grey; return the rule for its mode, too."""
    import PIL.Image

    assert isinstance(file, PIL.Image.Image)
    kind, mode = (file.format or "").lower(), file.mode
    if mode == "L" and "transparency" not in file.info:
        return np.array(file), (f"{kind}8",)
    if mode.startswith("I"):  # Pillow's own convert("L") clips these at 255
        wide = np.asarray(file).astype(np.uint32)
        return ((wide.clip(0, 65535) + 128) // 257).astype(np.uint8), (f"{kind}16:round(x/257)",)
    if mode in ("LA", "PA", "RGBA") or "transparency" in file.info:
        both = np.asarray(file.convert("RGBA").convert("LA")).astype(np.uint16)
        flat = (both[..., 0] * both[..., 1] + 127) // 255
        return flat.astype(np.uint8), (f"{kind}8", f"{mode} on black")
    return np.array(file.convert("RGB").convert("L")), (f"{kind}8", f"{mode} luma")
