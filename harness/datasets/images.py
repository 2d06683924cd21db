"""Radiograph files → grey uint8 arrays. Tool shared by the datasets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.api import Image, ReportCardError


def read_grey(image: Image) -> npt.NDArray[np.uint8]:
    """Decode a PNG or JPEG to uint8 grey, shape (height, width).

    16-bit PNG is scaled by round(x / 257): Pillow's own convert("L") clips it at 255.
    Raises ReportCardError naming the image and file.
    """
    import PIL.Image

    if image.read is not None:
        return image.read()
    if image.path is None:
        raise ReportCardError(f"Image {image.image_id} is not on this machine; set dataset.root=…")
    try:
        with PIL.Image.open(image.path) as file:
            if file.mode.startswith("I"):
                wide = np.asarray(file).astype(np.float64)
                return np.rint(wide / 257).clip(0, 255).astype(np.uint8)
            return np.asarray(file.convert("L"))
    except (OSError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise ReportCardError(
            f"Image {image.image_id} ({image.path}) cannot be read: {error}"
        ) from error
