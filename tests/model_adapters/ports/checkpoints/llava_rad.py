"""LLaVA-Rad and its base model as published, at tiny widths and with random weights.

Layout: our reading of microsoft/LLaVA-Rad and of lmsys/vicuna-7b-v1.5 (docs/models/llava_rad.md).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests.model_adapters.ports.checkpoints.dinov2 import WIDTH, timm_state
from tests.model_adapters.ports.checkpoints.llama import tiny_llama
from tests.model_adapters.ports.checkpoints.tokenizer import tiny_sentencepiece

if TYPE_CHECKING:
    from torch import Tensor

RANK, ALPHA = 8, 16
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def write_base(folder: Path, seed: int = 0, **changes: int) -> Path:
    """Two pytorch_model shards with RoPE's buffers in them, sampling in the generation config."""
    import torch

    lm = tiny_llama(seed, **changes)
    state = {k: v.clone() for k, v in lm.state_dict().items()}
    layers = lm.config.num_hidden_layers
    head = lm.config.hidden_size // lm.config.num_attention_heads
    inv_freq = 1 / 10_000 ** (torch.arange(0, head, 2).float() / head)
    for n in range(layers):
        state[f"model.layers.{n}.self_attn.rotary_emb.inv_freq"] = inv_freq.half()
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(state)
    shards = {"pytorch_model-00001-of-00002.bin": names[::2]}
    shards["pytorch_model-00002-of-00002.bin"] = names[1::2]
    for file, kept in shards.items():
        torch.save({name: state[name] for name in kept}, folder / file)
    weight_map = {name: file for file, kept in shards.items() for name in kept}
    write(folder / "pytorch_model.bin.index.json", {"metadata": {}, "weight_map": weight_map})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "float32",
        "rms_norm_eps": 1e-5,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        **_sizes(lm.config),
    }
    write(folder / "config.json", config)
    sampling = {"max_length": 64, "do_sample": True, "temperature": 0.9, "top_p": 0.6}
    write(folder / "generation_config.json", sampling)
    tiny_sentencepiece(folder)
    return folder


def write_llava_rad(folder: Path, seed: int = 2) -> Path:
    import torch

    lm = tiny_llama(0)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": "llava",
        "mm_vision_tower": "biomedclip_cxr_518",
        "mm_vision_tower_config": "/training/machine/biomedclipcxr_518.json",
        "mm_vision_tower_checkpoint": "/training/machine/biomedclipcxr_518_checkpoint.pt",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_projector_type": "mlp2x_gelu",
        "mm_hidden_size": WIDTH,
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "rms_norm_eps": 1e-5,
        **_sizes(lm.config),
    }
    write(folder / "config.json", config)
    vision = {"image_size": 518, "timm_model_name": "vit_base_patch14_dinov2"}
    text = {"hf_model_name": "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract"}
    write(
        folder / "biomedclipcxr_518.json",
        {"embed_dim": 512, "vision_cfg": vision, "text_cfg": text},
    )
    trunk = {f"module.visual.trunk.{k}": v for k, v in timm_state().items()}
    unused = {
        "module.visual.head.proj.weight": torch.zeros(8, WIDTH),
        "module.text.transformer.embeddings.word_embeddings.weight": torch.zeros(4, 8),
        "module.logit_scale": torch.tensor(1.0),
    }
    optimizer = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4}]}
    torch.save(
        {"epoch": 3, "name": "run", "state_dict": trunk | unused, "optimizer": optimizer},
        folder / "biomedclipcxr_518_checkpoint.pt",
    )
    noise = torch.Generator().manual_seed(seed)
    torch.save(_projector(lm.config.hidden_size, noise), folder / "non_lora_trainables.bin")
    torch.save(lora_state(lm.state_dict(), noise), folder / "adapter_model.bin")
    lora = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none"}
    lora |= {"target_modules": list(TARGETS), "fan_in_fan_out": False, "modules_to_save": None}
    write(folder / "adapter_config.json", lora)
    return folder


def lora_state(base: dict[str, Tensor], noise: object) -> dict[str, Tensor]:
    import torch

    state = {}
    for name, weight in base.items():
        if name.split(".")[-2] in TARGETS:
            key = f"base_model.model.{name.removesuffix('.weight')}"
            down = 0.1 * torch.randn(RANK, weight.shape[1], generator=noise)  # type: ignore[call-overload]
            up = 0.1 * torch.randn(weight.shape[0], RANK, generator=noise)  # type: ignore[call-overload]
            state |= {f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up}
    return state


def _projector(width: int, noise: object) -> dict[str, Tensor]:
    import torch

    state = {}
    for n, inner in ((0, WIDTH), (2, width)):
        weight = torch.randn(width, inner, generator=noise) / inner**0.5  # type: ignore[call-overload]
        bias = 0.1 * torch.randn(width, generator=noise)  # type: ignore[call-overload]
        # Upstream trains them in bfloat16.
        key = f"base_model.model.model.mm_projector.{n}"
        state |= {f"{key}.weight": weight.bfloat16(), f"{key}.bias": bias.bfloat16()}
    return state


def _sizes(config: object) -> dict[str, int]:
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    names += ("num_key_value_heads", "vocab_size", "max_position_embeddings")
    return {name: getattr(config, name) for name in names}


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
