"""Resize, crop and scale as the models' own image processors do, in PIL and NumPy, to the last bit.

Not with their packages: HF's CLIPImageProcessor crops one pixel differently from torchvision where
the margin is odd, and its torchvision backend differs from PIL (shared finding 6 of our reading of
upstream; docs/models/pixels.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import PIL.Image

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def shortest_edge(image: PIL.Image.Image, size: int, resample: int) -> PIL.Image.Image:
    """Scaled so that the shorter side is `size`; the longer is cut to whole pixels, as torchvision
    (`_compute_resized_output_size`) and HF (`get_resize_output_image_size`) do."""
    width, height = image.size
    short, long = sorted((width, height))
    if short == size:
        return image
    scaled = int(size * long / short)
    return image.resize((size, scaled) if width <= height else (scaled, size), resample)


def centre_crop(
    image: PIL.Image.Image, size: int, margin: Literal["round", "floor"]
) -> PIL.Image.Image:
    """The size × size middle. margin: half the rest, rounded half to even (torchvision), or
    rounded down (HF's NumPy path)."""
    width, height = image.size
    halves = ((width - size) / 2, (height - size) / 2)
    left, top = (round(h) if margin == "round" else int(h // 1) for h in halves)
    return image.crop((left, top, left + size, top + size))


def standardise(image: PIL.Image.Image, mean: Sequence[float], std: Sequence[float]) -> Floats:
    """float32 (channels, height, width): grey values in [0, 1], less the mean, by the std."""
    values: Floats = np.asarray(image, np.float32)
    if values.ndim == 2:
        values = values[..., None]
    unit = values / np.float32(255)
    scaled = (unit - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1), np.float32)
