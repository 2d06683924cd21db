"""Reads a MAIRA-1 from MAIRA-2's layout; the features are the last layer's, after the norm."""

from __future__ import annotations

from reportcard.core.files import read_json
from reportcard.model_adapters._shared.dinov2_encoder import VisionEncoder, build_tower
from reportcard.model_adapters._shared.image_tokens import build_projector
from reportcard.model_adapters._shared.preflight import llama_config
from reportcard.model_adapters._shared.sentencepiece_model import SentencePieceModel
from reportcard.model_adapters._shared.torch_runtime import device_of, dtype_of, read_shards
from reportcard.model_adapters._shared.vision_llama import VisionLlama, build_llama, split_by_prefix
from reportcard.models.checkpoints import Checkpoint
from reportcard.models.staged import StagedAdapter

PARTS = ("vision_tower.", "multi_modal_projector.layers.", "language_model.")


def load(adapter: StagedAdapter, found: Checkpoint) -> VisionLlama:
    """Read the network. Raises ReportCardError unless exactly the right tensors are there."""
    dtype, where = dtype_of(adapter), str(found.folder)
    vision_state, projector_state, llama_state = split_by_prefix(
        read_shards(found.folder, ("*.safetensors",)), PARTS, where
    )
    whole = read_json(found.path("config.json"))
    vision = build_tower(
        vision_state,
        dtype,
        f"{where}: vision tower",
        vision_config=whole.get("vision_config"),  # optional: the layout is ours
    )
    config = llama_config(whole, "text_config", where)
    lm = build_llama(config, llama_state, adapter, f"{where}: language model")
    widths = (vision.config.hidden_size, *[lm.config.hidden_size] * 4)
    mlp = build_projector(projector_state, widths, dtype, f"{where}: projector")
    encoder = VisionEncoder(vision, mlp).to(device_of(adapter))
    return VisionLlama(adapter, lm, encoder, SentencePieceModel(found.path("tokenizer.model")))
