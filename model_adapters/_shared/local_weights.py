"""Finds out which packages and weights a model has on this machine; imports and loads nothing."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from reportcard.api import ReportCardError
from reportcard.model_adapters._shared.sentencepiece_model import SentencePieceModel
from reportcard.models.checkpoints import HUB_ID, Checkpoint, cached, locate

PACKAGES = ("torch", "transformers", "sentencepiece", "safetensors")


def missing_packages(packages: tuple[str, ...] = PACKAGES) -> str | None:
    """Return a sentence if a package that the model needs is not installed, else None."""
    absent = [name for name in packages if find_spec(name) is None]
    if not absent:
        return None
    verb = "is" if len(absent) == 1 else "are"
    return f"{', '.join(absent)} {verb} not installed, run: pip install 'cxr-reportcard[gpu]'"


def locate_if_here(
    weights: str | None, needs: tuple[str, ...], option: str = "model.weights"
) -> Checkpoint | None:
    """Return the checkpoint like `locate`, or None for a pinned id that can be downloaded later.

    Raises ReportCardError as `locate` does; with HF_HUB_OFFLINE set also for a pinned id.
    """
    try:
        return locate(weights, needs, option)
    except ReportCardError:
        if not _can_be_downloaded(weights):
            raise
        return None


def open_tokenizer(*places: tuple[str | None, str]) -> SentencePieceModel | None:
    """Open the first tokenizer.model that is on this machine, or return None.

    A place is (folder or Hugging Face id, name of the option).
    """
    if missing_packages(("sentencepiece",)):
        return None
    for weights, option in places:
        try:
            found = locate_if_here(weights, ("tokenizer.model",), option)
        except ReportCardError:
            continue
        if found:
            return SentencePieceModel(found.path("tokenizer.model"))
    return None


def _can_be_downloaded(weights: str | None) -> bool:
    if not weights or not HUB_ID.fullmatch(weights) or Path(weights).exists():
        return False
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    repo, _, revision = weights.partition("@")
    return find_spec("huggingface_hub") is not None and cached(repo, revision) is None
