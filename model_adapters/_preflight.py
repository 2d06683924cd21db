"""Whether a model of one checkpoint folder can run here: packages, files, device, memory."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from harness.api import ReportCardError
from harness.checkpoints import Checkpoint, safetensors_shapes
from harness.staged import StagedAdapter, resolved_dtype
from harness.store import read_json
from model_adapters._checkpoint import here, packages_problem

TOKENIZERS = ("tokenizer.json", "tokenizer.model")


def problem(adapter: StagedAdapter, needs: tuple[str, ...], llama: str, tokens: int) -> str | None:
    """None when it can run; else a sentence. Loads nothing.

    llama: the part of config.json that describes the language model. tokens: of the longest
    request, answer included.
    """
    try:
        found = here(adapter.weights, needs)
        if found and not any(found.path(name).is_file() for name in TOKENIZERS):
            return f"model.weights: {found.folder} has no {' and no '.join(TOKENIZERS)}."
        absent = packages_problem()
        return absent or _device_problem(adapter, found, llama, tokens)
    except ReportCardError as error:
        return str(error)


def _device_problem(
    adapter: StagedAdapter, found: Checkpoint | None, llama: str, tokens: int
) -> str | None:
    from model_adapters._torch import checked_memory, device_of

    if found is None:  # to be downloaded
        device_of(adapter)
        return None
    size = 4 if resolved_dtype(adapter) == "float32" else 2
    config = described(read_json(found.path("config.json")), llama, str(found.folder))
    # A nested config is saved without what is LlamaConfig's default: the sizes of 7B.
    layers, width = int(config.get("num_hidden_layers", 32)), int(config.get("hidden_size", 4096))
    return checked_memory(adapter, size * _parameters(found), 2 * layers * width * size, tokens)


def described(config: Mapping[str, Any], part: str, what: str) -> dict[str, Any]:
    """config[part]. Raises ReportCardError unless it describes a Llama."""
    found = config.get(part)
    if not isinstance(found, dict) or found.get("model_type", "llama") != "llama":
        raise ReportCardError(f"{what}: {part} of config.json does not describe a Llama.")
    return found


def _parameters(found: Checkpoint) -> int:
    shapes = (safetensors_shapes(path) for path in found.folder.glob("*.safetensors"))
    return sum(prod(shape) for file in shapes for shape in file.values())
