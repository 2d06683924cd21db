"""Runs a frozen text encoder from a folder in the Hugging Face layout: token ids to unit vectors.

A bad checkpoint is an error that names its path: missing tensors, a vocabulary that does not fit,
an HTML page saved as weights, a pickle that contains code.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reportcard.api import ReportCardError
from reportcard.core.files import digest, file_digest

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
FILES = (  # everything that decides an embedding
    *WEIGHT_FILES,
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
# Architectures of the models that harness/core/weights.py pins; their folders must not be mixed up.
MODEL_TYPES = {"distilroberta-base": "roberta", "distilbert-base-uncased": "distilbert"}
BATCH_TOKENS = {
    "cpu": 2048,
    "cuda": 65536,
}  # padded tokens of a batch; a CPU is not faster with more


def find_folder(place: Path, model: str) -> Path | None:
    """Return `place` or its subfolder `model`, whichever has a configuration and weights.

    A folder with another architecture than the named model's is not used: a user may give one path
    for both variants, and neither may run under the other's name.
    """
    for folder in (place / model, place):
        if not any((folder / f).is_file() for f in WEIGHT_FILES):
            continue
        try:
            kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if MODEL_TYPES.get(model, kind) == kind:
            return folder
    return None


def digest_of(folder: Path) -> str:
    """Return the sha256 of the names and digests of a model's files."""
    return digest([[f, file_digest(folder / f)] for f in FILES if (folder / f).is_file()])


# The vectors of a candidate and of its reference, and the weights of their tokens.
Matched = tuple[Any, Any, list[float], list[float]]


class TextEncoder:
    """Runs the first `layer` layers of a BERT-like model.

    Args:
        folder: the checkpoint. A bad one raises ReportCardError.
        layer: how many layers run; the vectors are those of the last one.
        add_prefix_space: whether a RoBERTa tokenizer reads a blank before the text.
        device: auto, cpu, cuda or cuda:N.
    """

    def __init__(self, folder: Path, layer: int, add_prefix_space: bool, device: str) -> None:
        import torch

        self._torch = torch
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        self.budget = BATCH_TOKENS.get(self.device.type, BATCH_TOKENS["cpu"])
        self._tokenizer, self._model = _load(folder, layer, add_prefix_space)
        self._model.to(self.device).eval()
        config = self._model.config
        self.width = int(config.hidden_size)
        self.special = {self._tokenizer.cls_token_id, self._tokenizer.sep_token_id}
        # RoBERTa counts positions from the padding index + 1, so two of its 514 are never used.
        offset = config.pad_token_id + 1 if config.model_type == "roberta" else 0
        self.limit = min(self._tokenizer.model_max_length, config.max_position_embeddings - offset)

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token ids with [CLS] and [SEP], cut at the model's limit."""
        read = self._tokenizer(list(texts), truncation=True, max_length=self.limit)
        ids: list[list[int]] = read["input_ids"]
        return ids

    def embed(self, ids: Sequence[list[int]]) -> list[Any]:
        """Return one (tokens, width) tensor of unit vectors per text, in order.

        Batches have texts of similar length. When CUDA memory runs out, this and later batches are
        half as large.
        """
        torch, made = self._torch, [None] * len(ids)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]), reverse=True)
        start = 0
        while start < len(order):
            batch = order[start : start + max(1, self.budget // len(ids[order[start]]))]
            try:
                vectors = self._forward([ids[i] for i in batch])
            except torch.cuda.OutOfMemoryError:
                if len(batch) == 1:
                    raise ReportCardError(
                        f"BERTScore: no memory on {self.device} for one text of"
                        f" {len(ids[batch[0]])} tokens. Use device=cpu."
                    ) from None
                self.budget = len(batch) // 2 * len(ids[batch[0]])
                torch.cuda.empty_cache()
                continue
            for i, vector in zip(batch, vectors, strict=True):
                made[i] = vector
            start += len(batch)
        return made

    def _forward(self, ids: Sequence[list[int]]) -> list[Any]:
        torch = self._torch
        longest = max(len(row) for row in ids)
        padding = self._tokenizer.pad_token_id
        tokens = torch.tensor([row + [padding] * (longest - len(row)) for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
        with torch.inference_mode():
            hidden = self._model(
                tokens.to(self.device), attention_mask=mask.to(self.device)
            ).last_hidden_state
            hidden = hidden / torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
            # Copies, because a view would keep the padded batch in memory.
            return [hidden[i, : len(row)].clone() for i, row in enumerate(ids)]

    def match(self, pairs: Sequence[Matched]) -> list[list[float]]:
        """Return [P, R] per pair; [0, 0] where a text has no token with a weight."""
        torch, found = self._torch, []
        with torch.inference_mode():
            for candidate, reference, u, w in pairs:
                if not (sum(u) and sum(w)):
                    found.append(torch.zeros(2, device=self.device))
                    continue
                similar = candidate @ reference.T
                weights = [torch.tensor(x, device=self.device) / sum(x) for x in (u, w)]
                best = similar.amax(dim=1), similar.amax(dim=0)
                found.append(torch.stack([b @ x for b, x in zip(best, weights, strict=True)]))
            result: list[list[float]] = torch.stack(found).double().tolist()
        return result

    def tensor(self, array: npt.NDArray[np.float32]) -> Any:
        return self._torch.tensor(array, device=self.device)

    def array(self, tensor: Any) -> npt.NDArray[np.float32]:
        vectors: npt.NDArray[np.float32] = tensor.cpu().numpy()
        return vectors

    def close(self) -> None:
        self._model = None
        gc.collect()
        if self.device.type == "cuda":
            self._torch.cuda.empty_cache()


def _load(folder: Path, layer: int, add_prefix_space: bool) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    weights = next(folder / f for f in WEIGHT_FILES if (folder / f).is_file())
    with _quiet():
        try:
            config = AutoConfig.from_pretrained(folder, **here)
            tokenizer = AutoTokenizer.from_pretrained(
                folder, add_prefix_space=add_prefix_space, **here
            )
        except Exception as error:
            raise ReportCardError(f"{folder}: no usable model: {_line(error)}") from None
        if layer > config.num_hidden_layers:
            raise ReportCardError(f"{folder}: has {config.num_hidden_layers} layers, not {layer}.")
        config.num_hidden_layers = layer
        if len(tokenizer) > config.vocab_size:
            raise ReportCardError(
                f"{folder}: wrong vocabulary: the tokenizer has {len(tokenizer)} tokens, the model"
                f" {config.vocab_size}."
            )
        # A tokenizer without its vocabulary file still opens, but knows no word.
        words = tokenizer("lung effusion heart", add_special_tokens=False)["input_ids"]
        if not set(words) - set(tokenizer.all_special_ids):
            raise ReportCardError(
                f"{folder}: wrong vocabulary: the tokenizer knows no word. Expected tokenizer.json,"
                " vocab.json with merges.txt, or vocab.txt."
            )
        if add_prefix_space and tokenizer("lung")["input_ids"] != tokenizer(" lung")["input_ids"]:
            raise ReportCardError(f"{folder}: the tokenizer ignores add_prefix_space.")
        try:
            # weights_only is the default of both supported major versions; we do not rely on it.
            model, info = AutoModel.from_pretrained(
                folder, config=config, weights_only=True, output_loading_info=True, **here
            )
        except Exception as error:
            raise ReportCardError(f"{weights}: cannot be read as weights: {_line(error)}") from None
    lost = sorted(k for k in info["missing_keys"] if "pooler" not in k and "position_ids" not in k)
    if lost or info.get("mismatched_keys"):
        names = ", ".join(lost[:3]) or str(info["mismatched_keys"])
        raise ReportCardError(f"{weights}: truncated or another model: it lacks {names}.")
    if not all(bool(value.isfinite().all()) for value in model.parameters()):
        raise ReportCardError(f"{weights}: holds values that are not finite numbers.")
    return tokenizer, model.float()


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' report of the layers and heads that we leave out on purpose."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
