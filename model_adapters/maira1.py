"""MAIRA-1 (RAD-DINO, four-layer projector, Vicuna-7B), for whoever has weights; none are public.

Hyland et al. 2023, "MAIRA-1: A specialised large multimodal model for radiology report generation"
(arXiv 2311.13668). The architecture is the paper's. **The layout is ours**: that of MAIRA-2's
published checkpoint, with one image and Vicuna's vocabulary,

    config.json         text_config: a Llama's
    *.safetensors       vision_tower.* (Hugging Face's Dinov2), multi_modal_projector.layers.
                        {0,2,4,6}.*, language_model.{model.*,lm_head.weight}
    tokenizer.model     Vicuna-7B-v1.5's

[unverified], because nothing was released: the prompt (LLaVA-Rad's, whose instruction is close to
the paper's), the pixels (RAD-DINO's public image processor), greedy decoding of up to 150 tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reportcard.api import ModelCard, ReportCardError
from reportcard.model_adapters._shared.frontal_findings import FrontalFindings
from reportcard.model_adapters._shared.local_weights import missing_packages
from reportcard.model_adapters._shared.preflight import preflight_problem
from reportcard.models.checkpoints import fetch, weights_identity
from reportcard.models.staged import decoding_of

if TYPE_CHECKING:
    from reportcard.model_adapters._shared.vision_llama import VisionLlama

NEEDS = ("config.json", "tokenizer.model", "*.safetensors")


class Maira1(FrontalFindings):
    """Maira1 reads weights from a folder in the layout above."""

    paper_dtype = "bfloat16"
    name = "MAIRA-1"
    new_tokens = 150
    mean, std = (0.5307,) * 3, (0.2583,) * 3  # microsoft/rad-dino's preprocessor_config.json
    crop = "floor"  # Hugging Face's image processor
    base_card = ModelCard(
        "MAIRA-1's architecture: RAD-DINO, four-layer projector, Vicuna-7B; prompt unverified",
        inputs=("frontal", "indication"),
        licence="none: no weights are released",
        trained_on=("MIMIC-CXR (the paper's)",),
        url="https://arxiv.org/abs/2311.13668",
        needs_pixels=True,
    )

    @property
    def identity(self) -> Mapping[str, Any]:
        return {
            "weights": weights_identity(self.weights),
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
        return preflight_problem(self, NEEDS, "text_config", self.longest_request)

    def load_network(self) -> VisionLlama:
        if problem := missing_packages():
            raise ReportCardError(problem)
        found = fetch(self.weights or "", NEEDS)
        if problem := self.missing():
            raise ReportCardError(problem)
        from reportcard.model_adapters._maira1 import load

        return load(self, found)
