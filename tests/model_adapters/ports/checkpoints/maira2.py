"""A tiny random MAIRA-2 in the published layout: shards, 4.51-era names, its own added tokens."""

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
from tests.model_adapters.ports.checkpoints.tokenizer import PIECES

# The order inside <x*>, <y*> is unverified upstream, so the port must read the ids.
ADDED = (
    "<obj>",
    "</obj>",
    *(f"<{axis}{n}>" for n in range(100) for axis in "xy"),
    "<box>",
    "</box>",
    "<image>",
    "<prev_im>",
    "<lat_image>",
)
IDS = {name: PIECES + n for n, name in enumerate(ADDED)}
VOCABULARY = PIECES + len(ADDED)
WIDTH, DEPTH = 128, 2


def vision_state(seed: int = 0) -> dict[str, Any]:
    """RAD-DINO's tensors: two heads, two layers, 518 pixels in patches of 14."""
    import torch

    rng = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Any:
        return torch.randn(*shape, generator=rng) * 0.2

    state = {
        "embeddings.cls_token": random(1, 1, WIDTH),
        "embeddings.mask_token": random(1, WIDTH),
        "embeddings.position_embeddings": random(1, 37 * 37 + 1, WIDTH),
        "embeddings.patch_embeddings.projection.weight": random(WIDTH, 3, 14, 14) * 0.2,
        "embeddings.patch_embeddings.projection.bias": random(WIDTH),
        "layernorm.weight": 1 + random(WIDTH),
        "layernorm.bias": random(WIDTH),
    }
    linear = {
        "attention.attention.query": (WIDTH, WIDTH),
        "attention.attention.key": (WIDTH, WIDTH),
        "attention.attention.value": (WIDTH, WIDTH),
        "attention.output.dense": (WIDTH, WIDTH),
        "mlp.fc1": (4 * WIDTH, WIDTH),
        "mlp.fc2": (WIDTH, 4 * WIDTH),
    }
    for layer in range(DEPTH):
        block = f"encoder.layer.{layer}."
        for name, (rows, columns) in linear.items():
            state[f"{block}{name}.weight"] = random(rows, columns)
            state[f"{block}{name}.bias"] = random(rows)
        for n in (1, 2):
            state[f"{block}norm{n}.weight"] = 1 + random(WIDTH)
            state[f"{block}norm{n}.bias"] = random(WIDTH)
            state[f"{block}layer_scale{n}.lambda1"] = random(WIDTH)
    return state


def maira2_state(seed: int = 0, projector: int = 4) -> dict[str, Any]:
    import torch

    model = tiny_llama(seed, VOCABULARY, rope_scaling={"type": "linear", "factor": 1.5})
    state = {f"vision_tower.{k}": v for k, v in vision_state(seed).items()}
    state |= {f"language_model.{k}": v for k, v in model.state_dict().items()}
    rng = torch.Generator().manual_seed(seed + 1)
    for n, (rows, columns) in enumerate([(64, WIDTH), *[(64, 64)] * (projector - 1)]):
        name = f"multi_modal_projector.layers.{2 * n}"
        state[f"{name}.weight"] = torch.randn(rows, columns, generator=rng) * 0.15
        state[f"{name}.bias"] = torch.randn(rows, generator=rng) * 0.15
    return state


def write_maira2(
    folder: Path,
    says: Sequence[str] = (),
    shards: int = 6,
    fast: bool = True,
    legacy: bool | None = None,
    drop: str | None = None,
    add: str | None = None,
    seed: int = 0,
    vision: dict[str, Any] | None = None,
    projector: int = 4,
    **config: Any,
) -> Path:
    """says: names of tokens that every answer consists of, "</s>" last; nothing: at random.
    drop, add: a tensor too few or too many. projector: its number of layers.
    vision, config: fields of vision_config and of config.json changed; a field None is left out.
    """
    from reportcard.model_adapters._shared.llama_tokenizer import open_llama_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, ADDED, fast, legacy)
    state = maira2_state(seed, projector)
    if says:
        tokens = open_llama_tokenizer(folder)
        last = tokens.encode("  ASSISTANT: ")[-1]
        chain(state, "language_model.model.", [last, *(_id(tokens, name) for name in says)])
    if drop:
        del state[drop]
    if add:
        state[add] = state["vision_tower.layernorm.bias"].clone()
    write_shards(folder, state, shards)
    text = tiny_llama_config(VOCABULARY).to_diff_dict()  # as nested configs are saved
    text = {k: v for k, v in text.items() if k not in ("rope_parameters", "dtype")}
    text |= {"rope_scaling": {"type": "linear", "factor": 1.5}, "torch_dtype": "float32"}
    tower = {
        "model_type": "dinov2",
        "hidden_size": WIDTH,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": WIDTH // 64,
        "image_size": 518,
        "patch_size": 14,
        "out_features": [f"stage{DEPTH}"],
        "apply_layernorm": True,
        "reshape_hidden_states": False,
        **(vision or {}),
    }
    tower = {name: value for name, value in tower.items() if value is not None}
    auto = {
        "AutoConfig": "configuration_maira2.Maira2Config",
        "AutoModelForCausalLM": "modeling_maira2.Maira2ForConditionalGeneration",
    }
    whole = {
        "architectures": ["Maira2ForConditionalGeneration"],
        "auto_map": auto,
        "model_type": "maira2",
        "hidden_size": 64,
        "ignore_index": -100,
        "image_seq_length": 1369,
        "image_token_index": IDS["<image>"],
        "pad_token_id": 0,
        "projector_hidden_act": "gelu",
        "projector_n_layers": projector,
        "text_config": text,
        "torch_dtype": "float32",
        "vision_config": tower,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        **config,
    }
    (folder / "config.json").write_text(json.dumps(whole))
    processor = {"patch_size": 14, "num_additional_image_tokens": 1, "num_box_coord_bins": 100}
    (folder / "processor_config.json").write_text(json.dumps(processor))
    preprocessor = {"image_mean": [0.5307] * 3, "image_std": [0.2583] * 3, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def _id(tokens: Any, name: str) -> int:
    """Of an added token, a control token or a word's last piece."""
    known = {**tokens.added, "</s>": tokens.eos}
    return known[name] if name in known else tokens.encode(name)[-1]
