"""Preflight of a checkpoint that may not be here yet: what is wrong with it, and what it is."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from reportcard.api import ReportCardError
from reportcard.model_adapters._sentencepiece import Pieces
from reportcard.models.checkpoints import HUB_ID, Checkpoint, cached, locate

PACKAGES = ("torch", "transformers", "sentencepiece", "safetensors")


def packages_problem(packages: tuple[str, ...] = PACKAGES) -> str | None:
    """A sentence when a package that the model needs is not installed; nothing is imported."""
    absent = [name for name in packages if find_spec(name) is None]
    if not absent:
        return None
    verb = "is" if len(absent) == 1 else "are"
    return f"{', '.join(absent)} {verb} not installed, run: pip install 'cxr-reportcard[gpu]'"


def here(
    weights: str | None, needs: tuple[str, ...], option: str = "model.weights"
) -> Checkpoint | None:
    """`locate`; None for a pinned hub id that is not in the cache yet and that `fetch` may get.

    Raises ReportCardError as `locate` does, so too for that hub id when HF_HUB_OFFLINE is set.
    """
    try:
        return locate(weights, needs, option)
    except ReportCardError:
        if not _to_come(weights):
            raise
        return None


def identity_of(weights: str | None) -> str:
    """What the weights are, as in `Checkpoint.identity`; "absent" where nothing tells."""
    if weights and HUB_ID.fullmatch(weights) and not Path(weights).exists():
        return weights
    try:
        return locate(weights, ()).identity
    except ReportCardError:
        return "absent"


def revision_of(weights: str | None) -> str | None:
    """The commit of a pinned hub id."""
    match = HUB_ID.fullmatch(weights or "")
    return match["revision"] if match else None


def pieces_of(*places: tuple[str | None, str]) -> Pieces | None:
    """The tokenizer.model of the first (folder or hub id, option) that has one here."""
    if packages_problem(("sentencepiece",)):
        return None
    for weights, option in places:
        try:
            found = here(weights, ("tokenizer.model",), option)
        except ReportCardError:
            continue
        if found:
            return Pieces(found.path("tokenizer.model"))
    return None


def _to_come(weights: str | None) -> bool:
    if not weights or not HUB_ID.fullmatch(weights) or Path(weights).exists():
        return False
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    repo, _, revision = weights.partition("@")
    return find_spec("huggingface_hub") is not None and cached(repo, revision) is None
