"""Renames the tensors of timm's DINOv2 ViT to Hugging Face's names; splits qkv into three.

Compared with timm 0.9.12's `vit_*_patch14_dinov2` on the same weights: the outputs are equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from reportcard.api import ReportCardError

OUTSIDE = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
INSIDE = {
    "attn.proj.weight": "attention.output.dense.weight",
    "attn.proj.bias": "attention.output.dense.bias",
    "ls1.gamma": "layer_scale1.lambda1",
    "ls2.gamma": "layer_scale2.lambda1",
    **{
        f"{name}.{kind}": f"{name}.{kind}"
        for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2")
        for kind in ("weight", "bias")
    },
}


def from_timm(state: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Return the same tensors under Hugging Face's names.

    Raises ReportCardError for a name that timm's DINOv2 does not have.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        block = BLOCK.fullmatch(name)
        if name in OUTSIDE:
            renamed[OUTSIDE[name]] = tensor
        elif block and block[2] in ("attn.qkv.weight", "attn.qkv.bias"):
            kind = block[2].rpartition(".")[2]
            for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                renamed[f"encoder.layer.{block[1]}.attention.attention.{part}.{kind}"] = third
        elif block and block[2] in INSIDE:
            renamed[f"encoder.layer.{block[1]}.{INSIDE[block[2]]}"] = tensor
        else:
            raise ReportCardError(f"{what}: no tensor of timm's DINOv2 is called {name}.")
    return renamed
