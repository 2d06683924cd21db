"""Limits the size of images, and converts colour to grey."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reportcard.core.errors import ImageError

Pixels = npt.NDArray[np.uint8]  # (height, width), 0 black to 255 white

MAX_PIXELS = 100_000_000
MIN_SIDE = 2


def check_size(width: int, height: int) -> None:
    """Check the size in a header before decoding. Raises ImageError (bomb, empty_frame)."""
    if width * height > MAX_PIXELS:
        raise ImageError("bomb", f"{width} × {height} pixels, over {MAX_PIXELS:,}")
    if min(width, height) < MIN_SIDE:
        raise ImageError("empty_frame", f"{width} × {height} pixels are no radiograph")


def luma(colour: npt.NDArray[np.uint8]) -> Pixels:
    """Convert RGB, shape (height, width, 3), to grey by ITU-R 601, as Pillow does."""
    import PIL.Image

    return np.array(PIL.Image.fromarray(colour, "RGB").convert("L"))
