"""Requests with noise for pictures: enough to tell one image from another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reportcard.api import Image, Request


@dataclass(frozen=True, slots=True)
class Noise:
    """Reads as a grey image (height, width) with a gradient, so that it has an up and a left."""

    seed: int
    height: int
    width: int

    def __call__(self) -> npt.NDArray[np.uint8]:
        grain = np.random.default_rng(self.seed).integers(0, 120, (self.height, self.width))
        slope = np.linspace(0, 135, self.width)[None, :] * np.linspace(0.2, 1, self.height)[:, None]
        return (grain + slope).astype(np.uint8)


def noise(seed: int, height: int = 540, width: int = 600, view: str = "PA") -> Image:
    return Image(f"{view}-{seed}", view, read=Noise(seed, height, width))


def request(seed: int, **fields: Any) -> Request:
    return Request(f"study-{seed}", (noise(seed),), **fields)
