"""Builds CXR-LLaVA's vision tower: a CLIP ViT for one grey channel, with OpenAI's tensor names.

open_clip uses the same names. The activation is the exact GELU and not OpenAI's QuickGELU:
ECOFRI/CXR_LLaVA, CXR_LLAVA_HF/CXR_LLAVA_HF.py, builds the tower with `act_layer = torch.nn.GELU`.
The features are the last layer's after `ln_post`, without the class token. The checkpoint also has
`proj`, which is not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from reportcard.api import ReportCardError

# open_clip's defaults (CLIPVisionCfg). As upstream, the config may change them:
# vision_heads = vision_cfg.width // vision_cfg.head_width.
HEAD_WIDTH, MLP_RATIO = 64, 4.0
ONLY = {  # options of open_clip of which this tower implements the default only
    "ls_init_value": None,
    "attentional_pool": False,
    "no_ln_pre": False,
    "final_ln_after_pool": False,
    "pool_type": "tok",
    "act_kwargs": None,
    "norm_kwargs": None,
    "timm_model_name": None,
}


class Attention(nn.Module):
    """Attention computes the queries, keys and values of all heads with one matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        projected = nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in projected.chunk(3, dim=-1)
        )
        mixed = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.out_proj(mixed)


class Block(nn.Module):
    """Block is one layer: attention and MLP, each after a LayerNorm."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, hidden))
        self.mlp.add_module("gelu", nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(hidden, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class ClipViT(nn.Module):
    """ClipViT maps pixels (n, 1, side, side) to features (n, (side / patch)², width).

    Args:
        side: of the image, in pixels.
        patch: side of a patch, in pixels.
        width: of the features.
        layers: the number of blocks.
        heads: of each attention.
        hidden: the width inside the MLP.
        embedding: the width of `proj`, which is not used.
    """

    def __init__(
        self,
        side: int,
        patch: int,
        width: int,
        layers: int,
        heads: int,
        hidden: int,
        embedding: int,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty((side // patch) ** 2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.Sequential(
            *(Block(width, heads, hidden) for _ in range(layers))
        )
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, embedding))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(x), 1, -1)
        x = torch.cat([first, x], dim=1) + self.positional_embedding
        x = self.transformer.resblocks(self.ln_pre(x))
        features: torch.Tensor = self.ln_post(x)[:, 1:]
        return features


def clip_vit(config: Mapping[str, Any], embedding: int, what: str) -> ClipViT:
    """Build the tower that `clip_vision_cfg` describes, without its weights.

    Raises ReportCardError for an option of open_clip that is not implemented.
    """
    for field, value in ONLY.items():
        if config.get(field, value) != value:
            raise ReportCardError(
                f"{what}: clip_vision_cfg has {field} {config[field]!r}; this port has {value!r}."
            )
    try:
        side, patch, width, layers = (
            int(config[name]) for name in ("image_size", "patch_size", "width", "layers")
        )
    except (KeyError, TypeError, ValueError):
        raise ReportCardError(
            f"{what}: clip_vision_cfg needs image_size, patch_size, width and layers."
        ) from None
    head, ratio = config.get("head_width", HEAD_WIDTH), config.get("mlp_ratio", MLP_RATIO)
    if not isinstance(head, int) or head < 1 or width % head or not isinstance(ratio, int | float):
        raise ReportCardError(
            f"{what}: clip_vision_cfg has width {width}, head_width {head!r}, mlp_ratio {ratio!r}."
        )
    return ClipViT(side, patch, width, layers, width // head, int(width * ratio), embedding)
