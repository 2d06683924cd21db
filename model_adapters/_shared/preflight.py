"""Checks whether a model can run here: packages, files, device and GPU memory; loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from reportcard.api import ReportCardError
from reportcard.core.files import read_json
from reportcard.model_adapters._shared.local_weights import locate_if_here, missing_packages
from reportcard.models.checkpoints import Checkpoint, safetensors_shapes
from reportcard.models.staged import StagedAdapter, resolved_dtype

TOKENIZERS = ("tokenizer.json", "tokenizer.model")


def preflight_problem(
    adapter: StagedAdapter, needs: tuple[str, ...], llama: str, tokens: int
) -> str | None:
    """Return None if the model can run, else a sentence with the reason.

    Args:
        adapter: the model, whose weights are one folder.
        needs: files that the folder must hold.
        llama: the part of config.json that describes the language model.
        tokens: the length of the longest request with its answer.
    """
    try:
        found = locate_if_here(adapter.weights, needs)
        if found and not any(found.path(name).is_file() for name in TOKENIZERS):
            return f"model.weights: {found.folder} has no {' and no '.join(TOKENIZERS)}."
        return missing_packages() or _device_problem(adapter, found, llama, tokens)
    except ReportCardError as error:
        return str(error)


def check_device(adapter: StagedAdapter) -> None:
    """Raise ReportCardError for a device that this machine does not have.

    auto and cpu exist everywhere; so only other devices need torch, whose import takes seconds.
    """
    if adapter.device not in ("auto", "cpu"):
        from reportcard.model_adapters._shared.torch_runtime import device_of

        device_of(adapter)


def _device_problem(
    adapter: StagedAdapter, found: Checkpoint | None, llama: str, tokens: int
) -> str | None:
    check_device(adapter)
    if found is None:  # the weights will be downloaded
        return None
    config = llama_config(read_json(found.path("config.json")), llama, str(found.folder))
    files = found.folder.glob("*.safetensors")
    return memory_problem_of(adapter, sum(map(count_parameters, files)), config, tokens)


def memory_problem_of(
    adapter: StagedAdapter, count: int, llama: Mapping[str, Any], tokens: int
) -> str | None:
    """Return a sentence if the parameters and one batch do not fit on the GPU, else None.

    Args:
        adapter: the model; its batch_size and dtype count.
        count: the number of parameters.
        llama: the language model's config. A nested config omits LlamaConfig's defaults, which are
            the sizes of the 7B model.
        tokens: the length of the longest request with its answer.
    """
    from reportcard.model_adapters._shared.torch_runtime import gpu_memory_problem

    size = 4 if resolved_dtype(adapter) == "float32" else 2
    heads = int(llama.get("num_attention_heads") or 32)
    width = int(llama.get("head_dim") or int(llama.get("hidden_size") or 4096) // heads)
    keys = width * int(llama.get("num_key_value_heads") or heads)
    layers = int(llama.get("num_hidden_layers") or 32)
    return gpu_memory_problem(adapter, size * count, 2 * layers * keys * size, tokens)


def llama_config(config: Mapping[str, Any], part: str, what: str) -> dict[str, Any]:
    """Return config[part]. Raises ReportCardError unless it describes a Llama."""
    found = config.get(part)
    if not isinstance(found, dict) or found.get("model_type", "llama") != "llama":
        raise ReportCardError(f"{what}: {part} of config.json does not describe a Llama.")
    return found


def count_parameters(path: Path) -> int:
    """Return how many numbers a file of weights holds.

    A safetensors file says it in its header; of other files half the size in bytes is taken.
    """
    if path.suffix == ".safetensors":
        return sum(map(prod, safetensors_shapes(path).values()))
    return path.stat().st_size // 2
