"""A DINOv2 ViT/14 at 518 pixels as 37 × 37 = 1369 patch features: RAD-DINO, and what it is like.

The names are those of Hugging Face's Dinov2, in the spelling of any version: `built` renames.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import Dinov2Backbone, Dinov2Config

from reportcard.api import ReportCardError
from reportcard.model_adapters._torch import built

SIDE, PATCH, TOKENS = 518, 14, 1369
LAYER = re.compile(r"encoder\.layer\.(\d+)\.")
HEAD_WIDTH = 64  # of every DINOv2


def tower(
    state: Mapping[str, Tensor],
    dtype: torch.dtype,
    what: str,
    after: int = 0,
    layernorm: bool = True,
) -> Any:
    """The tower with exactly these tensors; width and depth are read from them.

    after: which layer's output is the feature, counted back from the last; `layernorm`: whether
    the final norm is applied to it. MAIRA takes the last with the norm, LLaVA-Rad the last but one
    without. Raises ReportCardError for a missing, an unexpected or a misshapen tensor.
    """
    width, depth, hidden = shape(state, what)
    config = Dinov2Config(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=width // HEAD_WIDTH,
        mlp_ratio=hidden // width,
        image_size=SIDE,
        patch_size=PATCH,
        use_mask_token="embeddings.mask_token" in state,
        out_features=[f"stage{depth - after}"],
        apply_layernorm=layernorm,
        reshape_hidden_states=False,
    )
    return built(Dinov2Backbone, config, state, dtype, what)


def shape(state: Mapping[str, Tensor], what: str) -> tuple[int, int, int]:
    """(width, layers, width inside the MLP) of the tensors."""
    layers = {int(found[1]) for name in state if (found := LAYER.match(name))}
    cls = state.get("embeddings.cls_token")
    inner = state.get("encoder.layer.0.mlp.fc1.weight")
    if not layers or cls is None or inner is None or cls.shape[-1] % HEAD_WIDTH:
        raise ReportCardError(
            f"{what}: not the tensors of a DINOv2 ViT with heads of {HEAD_WIDTH}:"
            f" {len(state)} of them, {', '.join(sorted(state)[:3]) or 'none'} first."
        )
    return int(cls.shape[-1]), len(layers), int(inner.shape[0])


class Eyes(torch.nn.Module):
    """Tower and projector: pixels (n, 3, 518, 518) → (n, 1369, width of the language model)."""

    def __init__(self, tower: Any, projector: torch.nn.Module) -> None:
        super().__init__()
        self.tower, self.projector = tower, projector

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.projector(patches(self.tower, pixels))
        return features


def patches(backbone: Any, pixels: Tensor) -> Tensor:
    """(n, 3, 518, 518) → (n, 1369, width): the CLS token is dropped."""
    features: Tensor = backbone(pixels).feature_maps[-1]
    return features[:, 1:]
