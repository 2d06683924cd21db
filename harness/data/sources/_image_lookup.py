"""Finds image files that a CSV or JSON names, below a data root only."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import NoReturn

from reportcard.api import Image, ImageError
from reportcard.core.imaging.read import resolve_under


def image_at(root: Path, image_id: str, view: str, *candidates: str) -> Image:
    """Return the image at the first candidate that is a file; without a path when there is none.

    Args:
        root: the data root.
        image_id: the id of the image.
        view: its view.
        candidates: paths below root.

    A path that leaves the root (`..`, absolute, or a link) gives an image that raises ImageError
    when it is read, so that only its own study fails.
    """
    for candidate in candidates:
        try:
            path = resolve_under(root, candidate)
        except ImageError as error:
            return Image(
                image_id, view, read=partial(_refuse, error.kind, f"Image {image_id}: {error}")
            )
        if os.path.isfile(path):
            return Image(image_id, view, path)
    return Image(image_id, view)


def is_refused(image: Image) -> bool:
    """Return whether the path of an image leaves the data root."""
    return isinstance(image.read, partial) and image.read.func is _refuse


class ImageLookup:
    """Calls `image_at` for one root. `refused` counts the paths that leave it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.refused = 0

    def image(self, image_id: str, view: str, *candidates: str) -> Image:
        image = image_at(self.root, image_id, view, *candidates)
        self.refused += is_refused(image)
        return image

    def notes(self) -> tuple[str, ...]:
        if not self.refused:
            return ()
        return (f"{self.refused:,} images name a file outside dataset.root: refused",)


def _refuse(kind: str, message: str) -> NoReturn:
    raise ImageError(kind, message)
