"""ImageFeatureCache keeps the features of images that later requests of a run need again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from reportcard.api import Image
from reportcard.models.staged import Prepared, StagedAdapter

KEPT_BYTES = 2 * 2**30  # of vision features: 190 images of 1369 × 4096 in half precision


class ImageFeatureCache:
    """ImageFeatureCache encodes each image of a run once, and keeps its features while needed.

    When the features take more than `most` bytes, the oldest are dropped. Among them are those of
    images that a resumed run counted and does not request.
    """

    def __init__(self, adapter: StagedAdapter, most: int = KEPT_BYTES) -> None:
        self._adapter, self._most = adapter, most
        self._kept: dict[Image, Tensor] = {}

    @property
    def bytes(self) -> int:
        """The size of all features that are kept."""
        return sum(kept.nbytes for kept in self._kept.values())

    def of(
        self, batch: Sequence[Prepared], encode: Callable[[Tensor], Tensor], device: torch.device
    ) -> list[list[Tensor]]:
        """Return the features (tokens, width) of each image of each request.

        `encode` maps pixels (1, c, h, w) to features (1, tokens, width).
        """
        new = {
            image: pixels
            for prepared in batch
            for image, pixels in zip(prepared.prompt.images, prepared.pixels, strict=True)
            if image not in self._kept
        }
        found = dict(self._kept)
        for image, pixels in new.items():
            # One image per pass: which images are new depends on where a run was interrupted, and
            # in half precision the other images of a pass change the last bits.
            found[image] = encode(torch.from_numpy(pixels)[None].to(device))[0]
        uses = self._adapter.uses
        for image in (image for prepared in batch for image in prepared.prompt.images):
            uses[image] -= 1
            if uses[image] <= 0:
                self._kept.pop(image, None)
            else:
                self._kept.setdefault(image, found[image])
        held = self.bytes
        while held > self._most:
            held -= self._kept.pop(next(iter(self._kept))).nbytes
        return [[found[image] for image in prepared.prompt.images] for prepared in batch]
