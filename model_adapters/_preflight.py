"""Whether a model of one checkpoint folder can run here: packages, files, device, memory."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from reportcard.api import ReportCardError
from reportcard.core.files import read_json
from reportcard.model_adapters._checkpoint import here, packages_problem
from reportcard.models.checkpoints import Checkpoint, safetensors_shapes
from reportcard.models.staged import StagedAdapter, resolved_dtype

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
    from reportcard.model_adapters._torch import device_of

    if found is None:  # to be downloaded
        device_of(adapter)
        return None
    config = described(read_json(found.path("config.json")), llama, str(found.folder))
    files = found.folder.glob("*.safetensors")
    return too_large(adapter, sum(map(parameters, files)), config, tokens)


def too_large(
    adapter: StagedAdapter, count: int, llama: Mapping[str, Any], tokens: int
) -> str | None:
    """A sentence when `count` parameters and one batch do not fit on the GPU. llama: its config,
    which is saved without what is LlamaConfig's default when nested: the sizes of 7B."""
    from reportcard.model_adapters._torch import checked_memory

    size = 4 if resolved_dtype(adapter) == "float32" else 2
    heads = int(llama.get("num_attention_heads") or 32)
    width = int(llama.get("hidden_size") or 4096) // heads
    keys = width * int(llama.get("num_key_value_heads") or heads)
    layers = int(llama.get("num_hidden_layers") or 32)
    return checked_memory(adapter, size * count, 2 * layers * keys * size, tokens)


def described(config: Mapping[str, Any], part: str, what: str) -> dict[str, Any]:
    """config[part]. Raises ReportCardError unless it describes a Llama."""
    found = config.get(part)
    if not isinstance(found, dict) or found.get("model_type", "llama") != "llama":
        raise ReportCardError(f"{what}: {part} of config.json does not describe a Llama.")
    return found


def parameters(path: Path) -> int:
    """How many numbers a file of weights holds: by its header, or in half precision by its size."""
    if path.suffix == ".safetensors":
        return sum(map(prod, safetensors_shapes(path).values()))
    return path.stat().st_size // 2
