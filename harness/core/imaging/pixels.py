"""Grey pixels: how large, and how colour becomes grey."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reportcard.core.errors import ImageError

Pixels = npt.NDArray[np.uint8]


MAX_PIXELS = 100_000_000


MIN_SIDE = 2


def check_size(width: int, height: int) -> None:
    """What a header says, before anything is decoded. Raises ImageError (bomb, empty_frame)."""
    if width * height > MAX_PIXELS:
        raise ImageError("bomb", f"{width} × {height} pixels, over {MAX_PIXELS:,}")
    if min(width, height) < MIN_SIDE:
        raise ImageError("empty_frame", f"{width} × {height} pixels are no radiograph")


def luma(colour: npt.NDArray[np.uint8]) -> Pixels:
    """(height, width, 3) RGB → grey by ITU-R 601, in Pillow's own arithmetic."""
    import PIL.Image

    return np.array(PIL.Image.fromarray(colour, "RGB").convert("L"))
