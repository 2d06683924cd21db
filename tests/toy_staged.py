"""A model in stages without torch: letters are its tokens, and what it says depends on the pixels,
the indication and, when asked to tell, on who shared its batch. A plugin file: plugin=…"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reportcard.api import Image, ImageError, ModelCard, ReportCardError, Request
from reportcard.models.checkpoints import locate
from reportcard.models.staged import Completion, Prepared, Prompt, StagedAdapter, decoding_of

LIMITS = {"findings": 60, "grounded_findings": 60, "phrase_grounding": 20}


class _OutOfMemoryError(RuntimeError):
    """Known by its name, as torch.OutOfMemoryError is."""


_OutOfMemoryError.__name__ = "OutOfMemoryError"


class ToyStaged(StagedAdapter):
    """`fits`: requests that the device has memory for. `bad`, `bad_prepare`, `bad_prompt`: studies
    that raise. `mates`: tell the batch. `seconds`: per batch. `greeting`: begins the prompt."""

    tokens_per_image = 4

    def __init__(
        self,
        weights: str | None = None,
        max_new_tokens: int | None = None,
        dtype: str = "auto",
        device: str = "cpu",
        batch_size: int = 4,
        sampling: Mapping[str, Any] | None = None,
        fits: int = 1000,
        bad: str = "",
        bad_prepare: str = "",
        bad_prompt: str = "",
        mates: bool = False,
        seconds: float = 0.0,
        greeting: str = "Describe",
    ) -> None:
        super().__init__(weights, max_new_tokens, dtype, device, batch_size, sampling)
        self.fits, self.bad, self.bad_prepare = fits, bad, bad_prepare
        self.bad_prompt, self.mates = bad_prompt, mates
        self.seconds, self.greeting = seconds, greeting
        self.batches: list[list[str]] = []  # every forward pass that was tried
        self.prepares: list[str] = []
        self.threads: set[str] = set()
        self.encoded: Counter[str] = Counter()
        self.loads = self.closed = 0
        self._features: dict[Image, float] = {}
        self._bias = 0

    @property
    def card(self) -> ModelCard:
        return ModelCard("A toy in stages", inputs=("frontal", "indication"), needs_pixels=True)

    @property
    def identity(self) -> Mapping[str, Any]:
        weights = locate(self.weights, ("letters.txt",)).identity if self.weights else None
        prompt = [self.greeting, self.mates]
        return {"weights": weights, "prompt": prompt, **decoding_of(self)}

    def missing(self) -> str | None:
        try:
            if self.weights:
                locate(self.weights, ("letters.txt", "config.json"))
        except ReportCardError as error:
            return str(error)
        return None

    def prompt(self, request: Request) -> Prompt:
        if request.study_id == self.bad_prompt:
            raise TypeError("not a ReportCardError: a slip of the adapter")
        text = f"{'<image>' * len(request.images)}{self.greeting}: {request.indication or 'N/A'}"
        left_out = {"age": "it was not trained with it"} if request.age is not None else {}
        return Prompt(
            text,
            request.images,
            self.max_new_tokens or LIMITS[request.task],
            tuple(map(ord, text)),
            used=("frontal", "indication") if request.indication else ("frontal",),
            left_out=left_out,
        )

    def pixels(self, grey: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        return grey.mean(axis=0, dtype=np.float32)

    def prepare(self, request: Request) -> Prepared:
        self.prepares.append(request.study_id)
        self.threads.add(threading.current_thread().name)
        if request.study_id == self.bad_prepare:
            raise ImageError("truncated", f"{request.study_id} ends early")
        return super().prepare(request)

    def load(self) -> None:
        if not self.loads and self.weights:
            self._bias = len((Path(self.weights) / "letters.txt").read_text("utf-8"))
        self.loads += 1

    def complete(self, batch: Sequence[Prepared]) -> list[Completion]:
        names = [prepared.request.study_id for prepared in batch]
        self.batches.append(names)
        if len(batch) > self.fits:
            raise _OutOfMemoryError("CUDA out of memory")
        if self.bad in names:
            raise RuntimeError("a bad study")
        time.sleep(self.seconds)
        return [self._completion(prepared, names) for prepared in batch]

    def close(self) -> None:
        self.closed += 1

    def _completion(self, prepared: Prepared, names: list[str]) -> Completion:
        seen = "/".join(
            f"{self._feature(image, pixels) + self._bias:.2f}"
            for image, pixels in zip(prepared.prompt.images, prepared.pixels, strict=True)
        )
        said = f"Grey {seen}. {prepared.request.indication or ''}"
        text = f"With {','.join(names)}." if self.mates else said
        if prepared.request.indication == "silence":
            text = ""
        kept = text[: prepared.prompt.max_new_tokens]
        ids = prepared.prompt.ids or ()
        return Completion(kept, tuple(map(ord, kept)), kept == text, len(ids))

    def _feature(self, image: Image, pixels: npt.NDArray[Any]) -> float:
        """Computed once per image, and kept while the counter says it is asked for again."""
        if image not in self._features:
            self.encoded[image.image_id] += 1
            self._features[image] = float(pixels.mean())
        self.uses[image] -= 1
        return self._features[image] if self.uses[image] > 0 else self._features.pop(image)
