"""Reads MAIRA-2's weights (RAD-DINO, linear layers, Vicuna), named as in transformers 4.51.

What upstream reads from config.json is read from it here too: the heads, the activation and the
norm of the vision tower (AutoBackbone.from_config), the number of the projector's layers
(Maira2MultiModalProjector) and the whole language model. A value that is not implemented is
refused. Source: microsoft/maira-2, modeling_maira2.py and configuration_maira2.py (public copies).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from reportcard.api import ReportCardError
from reportcard.core.files import read_json
from reportcard.model_adapters._shared.dinov2_encoder import VisionEncoder, build_tower
from reportcard.model_adapters._shared.image_tokens import build_projector
from reportcard.model_adapters._shared.llama_tokenizer import LlamaTokenizer
from reportcard.model_adapters._shared.preflight import llama_config
from reportcard.model_adapters._shared.torch_runtime import device_of, dtype_of, read_shards
from reportcard.model_adapters._shared.vision_llama import VisionLlama, build_llama, split_by_prefix
from reportcard.models.staged import StagedAdapter

PREFIXES = ("vision_tower.", "multi_modal_projector.layers.", "language_model.")
PROJECTOR_LAYERS = 4  # Maira2Config's default
EXPECTED = {  # fields of config.json, each with the only value that this port implements
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "default",
    "projector_hidden_act": "gelu",
}
EXPECTED_VISION = {"use_swiglu_ffn": False}


def network(
    adapter: StagedAdapter, folder: Path, tokens: LlamaTokenizer, image: str
) -> VisionLlama:
    """Read the network. Raises ReportCardError unless config and tensors are MAIRA-2's."""
    what = str(folder)
    config = read_json(folder / "config.json")
    text = llama_config(config, "text_config", what)
    vision = config.get("vision_config") or {}
    placeholder = tokens.added[image]
    image_id = config.get("image_token_index", config.get("image_token_id", placeholder))
    _check_values(config, EXPECTED, what)
    _check_values(vision, EXPECTED_VISION, what)
    _check_values({"image_token_index": image_id}, {"image_token_index": placeholder}, what)

    parts = split_by_prefix(read_shards(folder, ["*.safetensors"]), PREFIXES, what)
    vision_state, layers, llama_state = parts
    dtype = dtype_of(adapter)
    tower = build_tower(vision_state, dtype, what, vision_config=vision)
    _check_values(vision, {"out_features": tower.config.out_features}, what)
    number = config.get("projector_n_layers", PROJECTOR_LAYERS)
    mlp = build_projector(layers, _widths(layers, number, what), dtype, what)
    encoder = VisionEncoder(tower, mlp).to(device_of(adapter))
    return VisionLlama(
        adapter, build_llama(text, llama_state, adapter, what), encoder, tokens, placeholder
    )


def _widths(layers: Mapping[str, Tensor], number: int, what: str) -> list[int]:
    """Return the widths before, between and after the `number` linear layers 0, 2, 4, …"""
    matrices = [layers.get(f"{2 * n}.weight") for n in range(number)]
    if not matrices or any(matrix is None or matrix.ndim != 2 for matrix in matrices):
        raise ReportCardError(
            f"{what}: the projector does not have the {number} layers of config.json's"
            " projector_n_layers."
        )
    shapes = [tuple(matrix.shape) for matrix in matrices if matrix is not None]
    return [shapes[0][1], *(out for out, _ in shapes)]


def _check_values(config: Mapping[str, Any], expected: Mapping[str, Any], what: str) -> None:
    for field, value in expected.items():
        if config.get(field, value) != value:
            raise ReportCardError(
                f"{what}: config.json has {field} {config[field]!r}; this port of MAIRA-2 has"
                f" {value!r}."
            )
