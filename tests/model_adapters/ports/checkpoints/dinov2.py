"""A tiny random DINOv2 ViT/14 of true geometry: 518 pixels, 1369 patches, heads of 64."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

WIDTH, DEPTH = 128, 3


def timm_state(seed: int = 1, width: int = WIDTH, depth: int = DEPTH) -> dict[str, Tensor]:
    """The names of timm's `vit_base_patch14_dinov2`."""
    import torch

    noise = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return 0.3 * torch.randn(*shape, generator=noise)

    def linear(name: str, n_in: int, n_out: int) -> dict[str, Tensor]:
        weight = random(n_out, n_in) / (0.3 * n_in**0.5)
        return {f"{name}.weight": weight, f"{name}.bias": random(n_out)}

    def norm(name: str) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + random(width), f"{name}.bias": random(width)}

    state = {
        "cls_token": random(1, 1, width),
        "pos_embed": random(1, 1370, width),
        "patch_embed.proj.weight": random(width, 3, 14, 14) / 6,
        "patch_embed.proj.bias": random(width),
        **norm("norm"),
    }
    for n in range(depth):
        state |= norm(f"blocks.{n}.norm1") | norm(f"blocks.{n}.norm2")
        state |= linear(f"blocks.{n}.attn.qkv", width, 3 * width)
        state |= linear(f"blocks.{n}.attn.proj", width, width)
        state |= linear(f"blocks.{n}.mlp.fc1", width, 4 * width)
        state |= linear(f"blocks.{n}.mlp.fc2", 4 * width, width)
        state |= {f"blocks.{n}.ls{k}.gamma": 1 + random(width) for k in (1, 2)}
    return state
