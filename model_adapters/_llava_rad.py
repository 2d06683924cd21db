"""Reads LLaVA-Rad's checkpoint in its published layout (upstream: llava/model/builder.py).

    config.json                      LLaVA's own format of 2023; today's transformers reads it as
                                     another model, so it is parsed here
    biomedclipcxr_518.json           open_clip's model config
    biomedclipcxr_518_checkpoint.pt  open_clip's training checkpoint: the tower is
                                     state_dict["module.visual.trunk.*"], with timm's names
    non_lora_trainables.bin          the projector
    adapter_model.bin, adapter_config.json   LoRA on every linear layer of the language model

The features are those of the last but one layer, without the tower's final norm.
"""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from reportcard.api import ReportCardError
from reportcard.core.files import read_json
from reportcard.model_adapters._lora import merge_lora
from reportcard.model_adapters._shared.dinov2_encoder import VisionEncoder, build_tower
from reportcard.model_adapters._shared.image_tokens import build_projector
from reportcard.model_adapters._shared.sentencepiece_model import SentencePieceModel
from reportcard.model_adapters._shared.torch_runtime import (
    device_of,
    dtype_of,
    read_shards,
    read_tensors,
)
from reportcard.model_adapters._shared.vision_llama import VisionLlama, build_llama
from reportcard.model_adapters._timm_names import from_timm
from reportcard.models.checkpoints import Checkpoint
from reportcard.models.staged import StagedAdapter

TRUNK = "visual.trunk."
UNUSED = ("visual.head.", "text.", "logit_scale")
PROJECTOR = re.compile(r"(?:base_model\.model\.)?(?:model\.)?mm_projector\.(.+)")
BASE_FILES = ("*.safetensors", "pytorch_model*.bin")
# Fields that decide the language model's arithmetic, besides its tensors. Upstream takes them from
# LLaVA-Rad's config.json, not from the base model's.
ARITHMETIC = ("hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_scaling", "rope_theta")


def load(adapter: StagedAdapter, own: Checkpoint, base: Checkpoint) -> VisionLlama:
    """Read the network. Raises ReportCardError if a file differs from the layout."""
    dtype, where = dtype_of(adapter), str(own.folder)
    vision = build_tower(
        from_timm(_trunk(own.path("biomedclipcxr_518_checkpoint.pt")), where),
        dtype,
        f"{where}: vision tower",
        after=1,
        layernorm=False,
    )
    config = read_json(base.path("config.json"))
    config |= {k: v for k, v in read_json(own.path("config.json")).items() if k in ARITHMETIC}
    weights = merge_lora(
        read_shards(base.folder, BASE_FILES),
        read_tensors(own.path("adapter_model.bin")),
        read_json(own.path("adapter_config.json")),
        dtype,
        f"{where}: LoRA",
    )
    lm = build_llama(config, weights, adapter, f"{base.folder}: language model")
    widths = (vision.config.hidden_size, lm.config.hidden_size, lm.config.hidden_size)
    mlp = build_projector(_projector(own.path("non_lora_trainables.bin")), widths, dtype, where)
    encoder = VisionEncoder(vision, mlp).to(device_of(adapter))
    return VisionLlama(adapter, lm, encoder, SentencePieceModel(base.path("tokenizer.model")))


def _trunk(path: Path) -> dict[str, Tensor]:
    """Read the vision tower from an open_clip checkpoint, whose names begin with `module.`."""
    found = read_tensors(path)
    state = found.get("state_dict", found)
    if not isinstance(state, dict):
        raise ReportCardError(f"{path} has no state_dict of tensors.")
    names = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    trunk = {k.removeprefix(TRUNK): v for k, v in names.items() if k.startswith(TRUNK)}
    strange = [k for k in names if not k.startswith((TRUNK, *UNUSED))]
    if strange or not trunk:
        raise ReportCardError(
            f"{path} is not BioMedCLIP-CXR as open_clip saves it:"
            f" {'unexpected ' + strange[0] if strange else 'no visual.trunk'}."
        )
    return trunk


def _projector(path: Path) -> dict[str, Tensor]:
    """Read the projector's tensors."""
    state: dict[str, Tensor] = {}
    for name, tensor in read_tensors(path).items():
        part = PROJECTOR.fullmatch(name)
        if part is None:
            raise ReportCardError(f"{path} has {name}, which is not a tensor of the projector.")
        state[part[1]] = tensor
    return state
