"""MAIRA-1: RAD-DINO, a four-layer projector, Vicuna-7B. For whoever holds weights: none are public.

Hyland et al. 2023, "MAIRA-1: A specialised large multimodal model for radiology report generation"
(arXiv 2311.13668). The architecture is the paper's. **The layout is ours**: that of MAIRA-2's
published checkpoint, with one image and Vicuna's vocabulary,

    config.json         text_config: a Llama's
    *.safetensors       vision_tower.* (Hugging Face's Dinov2), multi_modal_projector.layers.
                        {0,2,4,6}.*, language_model.{model.*,lm_head.weight}
    tokenizer.model     Vicuna-7B-v1.5's

[unverified], for want of a release: the prompt (taken from LLaVA-Rad, whose instruction is close to
the paper's), the pixels (RAD-DINO's public image processor), greedy decoding of up to 150 tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from reportcard.api import ModelCard, ReportCardError, Request
from reportcard.model_adapters import _one_frontal as one_frontal
from reportcard.model_adapters._checkpoint import (
    identity_of,
    packages_problem,
    pieces_of,
    revision_of,
)
from reportcard.model_adapters._llava import ids_with_images
from reportcard.model_adapters._pixels import centre_crop, shortest_edge, standardise
from reportcard.model_adapters._preflight import problem
from reportcard.model_adapters._sentencepiece import Pieces
from reportcard.models.checkpoints import fetch
from reportcard.models.staged import Completion, Prepared, Prompt, StagedAdapter, decoding_of
from reportcard.models.views import frontal_of

if TYPE_CHECKING:
    from reportcard.model_adapters._spliced import SplicedLlama

NEEDS = ("config.json", "tokenizer.model", "*.safetensors")
MEAN, STD = (0.5307,) * 3, (0.2583,) * 3  # microsoft/rad-dino's preprocessor_config.json
TEXT_TOKENS = 256


class Maira1(StagedAdapter):
    """weights: a folder in the layout above."""

    paper_dtype = "bfloat16"
    tokens_per_image = 1369

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._pieces: Pieces | None = None
        self._network: SplicedLlama | None = None

    @property
    def card(self) -> ModelCard:
        return ModelCard(
            "MAIRA-1's architecture: RAD-DINO, four-layer projector, Vicuna-7B; prompt unverified",
            inputs=("frontal", "indication"),
            weights=identity_of(self.weights),
            revision=revision_of(self.weights),
            licence="none: no weights are released",
            trained_on=("MIMIC-CXR (the paper's)",),
            url="https://arxiv.org/abs/2311.13668",
            needs_pixels=True,
            draws=self.sampling.draws if self.sampling else 1,
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        return {
            "weights": identity_of(self.weights),
            "prompt": 1,
            "pixels": 1,
            **decoding_of(self),
        }

    def missing(self) -> str | None:
        if self._network:
            return None
        if not self.weights:
            return (
                "MAIRA-1's weights are not released. If you hold some, give model.weights=FOLDER in"
                " the layout of docs/models/maira1.md"
            )
        longest = self.tokens_per_image + TEXT_TOKENS + (self.max_new_tokens or 150)
        return problem(self, NEEDS, "text_config", longest)

    def prompt(self, request: Request) -> Prompt:
        one_frontal.check_task(request, "MAIRA-1")
        image = frontal_of(request)
        text = one_frontal.findings_prompt(request.indication)
        if self._pieces is None:
            self._pieces = pieces_of((self.weights, "model.weights"))
        return Prompt(
            text,
            (image,),
            self.max_new_tokens or 150,
            ids_with_images(self._pieces, text, images=1) if self._pieces else None,
            one_frontal.used(request),
            one_frontal.left_out(request, image, "MAIRA-1"),
        )

    def pixels(self, grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """RAD-DINO's image processor, HF's crop; three equal channels are scaled as one."""
        image = shortest_edge(PIL.Image.fromarray(grey), 518, PIL.Image.Resampling.BICUBIC)
        return standardise(centre_crop(image, 518, "floor"), MEAN, STD)

    def load(self) -> None:
        if self._network:
            return
        if absent := packages_problem():
            raise ReportCardError(absent)
        found = fetch(self.weights or "", NEEDS)
        if wrong := self.missing():
            raise ReportCardError(wrong)
        from reportcard.model_adapters._maira1 import load

        self._network = load(self, found)

    def complete(self, batch: Sequence[Prepared]) -> list[Completion]:
        assert self._network is not None
        return self._network.complete(batch)

    def close(self) -> None:
        if self._network:
            self._network = None
            self.free()
