"""A MAIRA-1 of random weights in the layout of docs/models/maira1.md: tiny widths, 1369 patches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests.model_adapters.ports.checkpoints.dinov2 import WIDTH, timm_state
from tests.model_adapters.ports.checkpoints.llama import tiny_llama
from tests.model_adapters.ports.checkpoints.tokenizer import tiny_sentencepiece

if TYPE_CHECKING:
    from torch import Tensor

NAMES = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}


def write_maira1(folder: Path) -> Path:
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    lm, noise = tiny_llama(3), torch.Generator().manual_seed(4)
    state = {f"vision_tower.{k}": v.contiguous() for k, v in hf_names(timm_state(5)).items()}
    state["vision_tower.embeddings.mask_token"] = torch.zeros(1, WIDTH)
    for n, inner in ((0, WIDTH), (2, 64), (4, 64), (6, 64)):
        weight = 1.6 * torch.randn(64, inner, generator=noise) / inner**0.5
        state[f"multi_modal_projector.layers.{n}.weight"] = weight
        state[f"multi_modal_projector.layers.{n}.bias"] = torch.randn(64, generator=noise)
    state |= {f"language_model.{k}": v.contiguous() for k, v in lm.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "llava", "torch_dtype": "float32", "projector_n_layers": 4}
    config["text_config"] = lm.config.to_dict()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tiny_sentencepiece(folder)
    return folder


def hf_names(timm: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers 4's spelling, in which MAIRA-2 was saved."""
    state = {}
    for name, tensor in timm.items():
        stem, _, kind = name.rpartition(".")
        if not name.startswith("blocks."):
            state[NAMES.get(name) or f"{NAMES[stem]}.{kind}"] = tensor
            continue
        _, n, inside = name.split(".", 2)
        layer = f"encoder.layer.{n}"
        if inside.startswith("attn.qkv"):
            width = tensor.shape[0] // 3
            for m, part in enumerate(("query", "key", "value")):
                key = f"{layer}.attention.attention.{part}.{kind}"
                state[key] = tensor[m * width : (m + 1) * width].clone()
        else:
            inside = inside.replace("attn.proj", "attention.output.dense")
            inside = inside.replace("ls1.gamma", "layer_scale1.lambda1")
            state[f"{layer}.{inside.replace('ls2.gamma', 'layer_scale2.lambda1')}"] = tensor
    return state
