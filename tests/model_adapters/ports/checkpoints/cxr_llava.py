"""A tiny random CXR-LLaVA v2 in the published layout: bfloat16 shards, scalar mean and std."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.model_adapters.ports.checkpoints.llama import (
    chain,
    tiny_llama,
    tiny_llama_config,
    write_shards,
    write_tokenizer,
)

WIDTH, DEPTH, EMBEDDING = 128, 2, 32
MEAN, STD = 0.5518136078431373, 0.3821719215686275


def cxr_llava_state(seed: int = 0) -> dict[str, Any]:
    """In float32; two heads, two layers, 512 pixels in patches of 16, one channel."""
    import torch

    rng = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Any:
        return torch.randn(*shape, generator=rng) * 0.2

    state = {
        "class_embedding": random(WIDTH),
        "positional_embedding": random(32 * 32 + 1, WIDTH),
        "proj": random(WIDTH, EMBEDDING),
        "conv1.weight": random(WIDTH, 1, 16, 16) * 0.2,
    }
    for name in ("ln_pre", "ln_post"):
        state[f"{name}.weight"], state[f"{name}.bias"] = 1 + random(WIDTH), random(WIDTH)
    for layer in range(DEPTH):
        block = f"transformer.resblocks.{layer}."
        for n in (1, 2):
            state[f"{block}ln_{n}.weight"] = 1 + random(WIDTH)
            state[f"{block}ln_{n}.bias"] = random(WIDTH)
        state[f"{block}attn.in_proj_weight"] = random(3 * WIDTH, WIDTH)
        state[f"{block}attn.in_proj_bias"] = random(3 * WIDTH)
        for name, rows, columns in (
            ("attn.out_proj", WIDTH, WIDTH),
            ("mlp.c_fc", 4 * WIDTH, WIDTH),
            ("mlp.c_proj", WIDTH, 4 * WIDTH),
        ):
            state[f"{block}{name}.weight"] = random(rows, columns)
            state[f"{block}{name}.bias"] = random(rows)
    state = {f"vision_tower.{name}": tensor for name, tensor in state.items()}
    state |= {"mm_projector.weight": random(64, WIDTH), "mm_projector.bias": random(64)}
    for name, tensor in tiny_llama(seed).state_dict().items():
        state[name.replace("model.", "llama.", 1)] = tensor
    return state


def write_cxr_llava(
    folder: Path,
    says: Sequence[str] = (),
    shards: int = 3,
    legacy: bool | None = False,
    drop: str | None = None,
    add: str | None = None,
    half: bool = True,
    vision: dict[str, Any] | None = None,
    **config: Any,
) -> Path:
    """says: words that every answer consists of, "</s>" last. half: bfloat16, as published."""
    import torch

    from reportcard.model_adapters._shared.llama_tokenizer import SentencePieceTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, fast=False, legacy=legacy)
    (folder / "added_tokens.json").unlink()
    state = cxr_llava_state()
    if says:
        tokens = SentencePieceTokenizer(folder)
        ids = [tokens.eos if word == "</s>" else tokens.encode(word)[-1] for word in says]
        chain(state, "llama.", [tokens.encode(" [/INST]")[-1], *ids])
    if half:
        state = {name: tensor.to(torch.bfloat16) for name, tensor in state.items()}
    if drop:
        del state[drop]
    if add:
        state[add] = state["mm_projector.bias"].clone()
    write_shards(folder, state, shards)
    llama = tiny_llama_config().to_dict()
    llama = {k: v for k, v in llama.items() if k not in ("rope_parameters", "dtype")}
    whole = {
        "architectures": ["CXRLLAVAModel"],
        "auto_map": {"AutoModel": "CXR_LLAVA_HF.CXRLLAVAModel"},
        "model_type": "CXR-LLAVA",
        "clip_embed_dim": EMBEDDING,
        "clip_vision_cfg": {
            "image_size": 512,
            "layers": DEPTH,
            "patch_size": 16,
            "width": WIDTH,
            **(vision or {}),
        },
        "clip_vision_tower_dtype": "bf16",
        "image_preprocess_cfg": {"mean": MEAN, "std": STD},
        "mm_projector_dim": WIDTH,
        "llama": llama | {"rope_scaling": None, "torch_dtype": "bfloat16"},
        **config,
    }
    (folder / "config.json").write_text(json.dumps(whole))
    # As published: without an end of text, so that a port has to pass it.
    (folder / "generation_config.json").write_text(json.dumps({"max_length": 4096}))
    return folder
