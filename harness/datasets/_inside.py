"""Image files named by a CSV or JSON: looked up below the data root, and nowhere else."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import NoReturn

from harness.api import Image, ImageError


class Inside:
    """Finds images below `root`; `refused` counts the paths that would leave it."""

    def __init__(self, root: Path) -> None:
        self._prefix = f"{root.resolve()}/"
        self.refused = 0

    def image(self, image_id: str, view: str, *candidates: str) -> Image:
        """The first candidate that is a file; without a path when there is none.

        A path that leaves the root (`..`, absolute, a link) makes an image that raises ImageError
        when it is read: it costs its own study and no other.
        """
        for candidate in candidates:
            # os.path, not pathlib: a table has hundreds of thousands of these.
            outside = candidate.startswith("/") or ".." in candidate.split("/") or "\0" in candidate
            path = f"{self._prefix}{candidate}"
            if not outside and os.path.isfile(path):
                if os.path.realpath(path).startswith(self._prefix):
                    return Image(image_id, view, Path(path))
                outside = True
            if outside:
                self.refused += 1
                return Image(image_id, view, read=partial(_refuse, image_id))
        return Image(image_id, view)

    def notes(self) -> tuple[str, ...]:
        if not self.refused:
            return ()
        return (f"{self.refused:,} images name a file outside dataset.root: refused",)


def is_refused(image: Image) -> bool:
    return isinstance(image.read, partial) and image.read.func is _refuse


def _refuse(image_id: str) -> NoReturn:
    raise ImageError("outside", f"Image {image_id}: its path leaves dataset.root; not read.")
