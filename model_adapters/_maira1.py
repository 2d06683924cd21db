"""A MAIRA-1 in MAIRA-2's layout. The last layer, with the tower's norm, is the feature."""

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
    """Raises ReportCardError for a tensor that is missing, unexpected or misshapen."""
    dtype, where = dtype_of(adapter), str(found.folder)
    seeing, between, writing = split_by_prefix(
        read_shards(found.folder, ("*.safetensors",)), PARTS, where
    )
    vision = build_tower(seeing, dtype, f"{where}: vision tower")
    config = llama_config(read_json(found.path("config.json")), "text_config", where)
    lm = build_llama(config, writing, adapter, f"{where}: language model")
    widths = (vision.config.hidden_size, *[lm.config.hidden_size] * 4)
    mlp = build_projector(between, widths, dtype, f"{where}: projector")
    sees = VisionEncoder(vision, mlp).to(device_of(adapter))
    return VisionLlama(adapter, lm, sees, SentencePieceModel(found.path("tokenizer.model")))
