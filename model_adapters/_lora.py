"""Merges a LoRA of peft into the weights that it was trained on (W + α/r · B·A), without peft."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from reportcard.api import ReportCardError

PART = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)\.weight")
# Options that change the arithmetic; no checkpoint that we know uses one.
NOT_IMPLEMENTED = ("use_rslora", "use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern")


def merge_lora(
    base: Mapping[str, Tensor],
    lora: Mapping[str, Tensor],
    config: Mapping[str, Any],
    dtype: torch.dtype,
    what: str,
) -> dict[str, Tensor]:
    """Add every LoRA tensor to its weight; the sums are computed in float32.

    Args:
        base: the weights of the base model.
        lora: the tensors of the LoRA.
        config: adapter_config.json.
        dtype: of the result.
        what: the name of the checkpoint in messages.

    Raises ReportCardError for a pair of tensors that is incomplete or of another rank, and for
    another base model: a weight is missing or has another shape.
    """
    scale, rank = _scale(config, what)
    pairs = _pairs(lora, what)
    _check_targets(base, pairs, config, what)
    found = dict(base)
    for name, pair in pairs.items():
        weight, down, up = base.get(f"{name}.weight"), pair["A"], pair["B"]
        if weight is None or tuple(weight.shape) != (up.shape[0], down.shape[-1]):
            there = tuple(weight.shape) if weight is not None else "absent"
            raise ReportCardError(
                f"{what}: {name} is {there} in the base model and the LoRA is for"
                f" {(up.shape[0], down.shape[-1])}. Is model.base the model it was trained on?"
            )
        if down.shape[0] != rank or up.shape[1] != rank:
            raise ReportCardError(
                f"{what}: {name} has rank {down.shape[0]} and {up.shape[1]} where"
                f" adapter_config.json says r={rank}."
            )
        delta = scale * (up.float() @ down.float())
        found[f"{name}.weight"] = (weight.float() + delta).to(dtype)
    return found


def _scale(config: Mapping[str, Any], what: str) -> tuple[float, int]:
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or rank < 1:
        raise ReportCardError(f"{what}: adapter_config.json has no r and lora_alpha.")
    strange = [name for name in NOT_IMPLEMENTED if config.get(name)]
    if strange or config.get("bias", "none") != "none":
        raise ReportCardError(
            f"{what}: adapter_config.json asks for {', '.join(strange) or 'bias'}, which is not"
            " merged here."
        )
    return alpha / rank, rank


def _pairs(lora: Mapping[str, Tensor], what: str) -> dict[str, dict[str, Tensor]]:
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in lora.items():
        part = PART.fullmatch(name)
        if part is None:
            raise ReportCardError(f"{what}: {name} is no LoRA tensor.")
        pairs.setdefault(part[1], {})[part[2]] = tensor
    half = sorted(name for name, pair in pairs.items() if len(pair) != 2)
    if half or not pairs:
        raise ReportCardError(f"{what}: lora_A or lora_B of {(half or ['all'])[0]} is missing.")
    return pairs


def _check_targets(
    base: Mapping[str, Tensor], pairs: Mapping[str, Any], config: Mapping[str, Any], what: str
) -> None:
    """Raise ReportCardError if a layer that was trained has no LoRA tensors in the file."""
    targets = config.get("target_modules")
    if not isinstance(targets, list):
        raise ReportCardError(f"{what}: adapter_config.json has no list of target_modules.")
    modules = {name.removesuffix(".weight") for name in base}
    trained = {name for name in modules if name.rpartition(".")[2] in targets}
    absent = sorted(trained - pairs.keys())
    if absent:
        raise ReportCardError(
            f"{what}: {len(absent)} of {len(trained)} layers have no LoRA tensors, {absent[0]}"
            " first."
        )
