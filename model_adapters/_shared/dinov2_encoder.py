"""Builds a DINOv2 ViT/14 at 518 pixels, like RAD-DINO: it gives 37 × 37 = 1369 patch features.

The tensors have the names of Hugging Face's Dinov2. Names of older versions work too, because
transformers renames them on loading.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import Dinov2Backbone, Dinov2Config

from reportcard.api import ReportCardError
from reportcard.model_adapters._shared.torch_runtime import build_model

SIDE, PATCH, TOKENS = 518, 14, 1369
LAYER = re.compile(r"encoder\.layer\.(\d+)\.")
HEAD_WIDTH = 64  # of every DINOv2 that Meta released, and so of timm's, which LLaVA-Rad uses
# Fields of a vision_config that decide the arithmetic and that no tensor's shape shows. An absent
# one has the default of transformers' Dinov2Config, as upstream.
ARITHMETIC = ("num_attention_heads", "hidden_act", "layer_norm_eps", "qkv_bias", "apply_layernorm")


def build_tower(
    state: Mapping[str, Tensor],
    dtype: torch.dtype,
    what: str,
    after: int = 0,
    layernorm: bool = True,
    vision_config: Mapping[str, Any] | None = None,
) -> Any:
    """Build the vision tower from exactly these tensors; width and depth are read from them.

    Args:
        state: the tensors.
        dtype: of the parameters.
        what: the name of the checkpoint in messages.
        after: how many layers follow the one whose output is the feature. MAIRA takes the last
            layer (0), LLaVA-Rad the last but one (1).
        layernorm: whether the final norm is applied; MAIRA does, LLaVA-Rad does not.
        vision_config: the checkpoint's own Dinov2Config, whose fields of ARITHMETIC count. None:
            it has none, and its heads have the width of every released DINOv2.

    Raises ReportCardError for a tensor that is missing, unexpected or of another shape, and for
    heads that do not divide the width.
    """
    width, depth, hidden = _tower_shape(state, what)
    own: dict[str, Any] = {"apply_layernorm": layernorm}
    if vision_config is None:
        own["num_attention_heads"] = width // HEAD_WIDTH
    else:
        own |= {name: vision_config[name] for name in ARITHMETIC if name in vision_config}
    heads = own.get("num_attention_heads", Dinov2Config().num_attention_heads)
    if not isinstance(heads, int) or heads < 1 or width % heads:
        raise ReportCardError(f"{what}: {heads!r} heads do not divide a width of {width}.")
    config = Dinov2Config(
        hidden_size=width,
        num_hidden_layers=depth,
        mlp_ratio=hidden // width,
        image_size=SIDE,
        patch_size=PATCH,
        use_mask_token="embeddings.mask_token" in state,
        out_features=[f"stage{depth - after}"],
        reshape_hidden_states=False,
        **own,
    )
    return build_model(Dinov2Backbone, config, state, dtype, what)


def _tower_shape(state: Mapping[str, Tensor], what: str) -> tuple[int, int, int]:
    """Return (width, number of layers, width inside the MLP) of the tensors."""
    layers = {int(found[1]) for name in state if (found := LAYER.match(name))}
    cls = state.get("embeddings.cls_token")
    inner = state.get("encoder.layer.0.mlp.fc1.weight")
    if not layers or cls is None or inner is None:
        raise ReportCardError(
            f"{what}: not the tensors of a DINOv2 ViT:"
            f" {len(state)} of them, {', '.join(sorted(state)[:3]) or 'none'} first."
        )
    return int(cls.shape[-1]), len(layers), int(inner.shape[0])


class VisionEncoder(torch.nn.Module):
    """VisionEncoder is a vision tower and a projector.

    It maps pixels (n, 3, 518, 518) to features (n, 1369, width of the language model).
    """

    def __init__(self, tower: Any, projector: torch.nn.Module) -> None:
        super().__init__()
        self.tower, self.projector = tower, projector

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.projector(patch_features(self.tower, pixels))
        return features


def patch_features(backbone: Any, pixels: Tensor) -> Tensor:
    """Map pixels (n, 3, 518, 518) to features (n, 1369, width), without the CLS token."""
    features: Tensor = backbone(pixels).feature_maps[-1]
    return features[:, 1:]
