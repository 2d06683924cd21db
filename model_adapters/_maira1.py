"""A MAIRA-1 in MAIRA-2's checkpoint layout, read into a Vlm. The last layer, with the tower's norm,
is the feature."""

from __future__ import annotations

from harness.api import ReportCardError
from harness.checkpoints import Checkpoint
from harness.staged import StagedAdapter
from harness.store import read_json
from model_adapters._llava import projector
from model_adapters._raddino import tower
from model_adapters._sentencepiece import Pieces
from model_adapters._torch import Tensor, dtype_of, sharded
from model_adapters._vlm import Vlm, llama

PARTS = ("vision_tower.", "multi_modal_projector.layers.", "language_model.")


def load(adapter: StagedAdapter, found: Checkpoint) -> Vlm:
    """Raises ReportCardError for a tensor that is missing, unexpected or misshapen."""
    dtype, where = dtype_of(adapter), str(found.folder)
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    for name, tensor in sharded(found.folder, ("*.safetensors",)).items():
        part = next((part for part in PARTS if name.startswith(part)), None)
        if part is None:
            raise ReportCardError(f"{where}: {name} is in no part of MAIRA-1.")
        parts[part][name.removeprefix(part)] = tensor
    seeing, between, writing = (parts[part] for part in PARTS)
    vision = tower(seeing, dtype, f"{where}: vision tower")
    config = read_json(found.path("config.json"))["text_config"]
    lm = llama(config, writing, dtype, f"{where}: language model")
    widths = (vision.config.hidden_size, *[lm.config.hidden_size] * 4)
    mlp = projector(between, widths, dtype, f"{where}: projector")
    return Vlm(adapter, vision, mlp, lm, Pieces(found.path("tokenizer.model")))
