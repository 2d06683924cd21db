"""A MAIRA-1 in MAIRA-2's layout. The last layer, with the tower's norm, is the feature."""

from __future__ import annotations

from reportcard.core.files import read_json
from reportcard.model_adapters._llava import projector
from reportcard.model_adapters._preflight import described
from reportcard.model_adapters._raddino import Eyes, tower
from reportcard.model_adapters._sentencepiece import Pieces
from reportcard.model_adapters._spliced import SplicedLlama, by_prefix, llama
from reportcard.model_adapters._torch import device_of, dtype_of, sharded
from reportcard.models.checkpoints import Checkpoint
from reportcard.models.staged import StagedAdapter

PARTS = ("vision_tower.", "multi_modal_projector.layers.", "language_model.")


def load(adapter: StagedAdapter, found: Checkpoint) -> SplicedLlama:
    """Raises ReportCardError for a tensor that is missing, unexpected or misshapen."""
    dtype, where = dtype_of(adapter), str(found.folder)
    seeing, between, writing = by_prefix(sharded(found.folder, ("*.safetensors",)), PARTS, where)
    vision = tower(seeing, dtype, f"{where}: vision tower")
    config = described(read_json(found.path("config.json")), "text_config", where)
    lm = llama(config, writing, adapter, f"{where}: language model")
    widths = (vision.config.hidden_size, *[lm.config.hidden_size] * 4)
    mlp = projector(between, widths, dtype, f"{where}: projector")
    sees = Eyes(vision, mlp).to(device_of(adapter))
    return SplicedLlama(adapter, lm, sees, Pieces(found.path("tokenizer.model")))
