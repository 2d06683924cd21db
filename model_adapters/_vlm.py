"""A vision tower, a projector and a Llama as one model that completes prepared requests."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from harness.api import Json, ReportCardError
from harness.staged import Completion, Prepared, StagedAdapter
from model_adapters._llava import spliced
from model_adapters._raddino import patches
from model_adapters._sentencepiece import Pieces
from model_adapters._torch import Features, Tensor, built, complete, device_of


class Vlm:
    """The parts on one device. `pieces` decodes; the model stops at its eos."""

    def __init__(
        self,
        adapter: StagedAdapter,
        tower: Any,
        projector: torch.nn.Module,
        lm: Any,
        pieces: Pieces,
    ) -> None:
        self.adapter, self.pieces, self.device = adapter, pieces, device_of(adapter)
        # The device only: a dtype given here would round RoPE's buffers (see _torch.built).
        self.tower, self.projector = tower.to(self.device), projector.to(self.device)
        self.lm = lm.to(self.device)
        self._features = Features(adapter)

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        """(n, 3, 518, 518) → (n, 1369, width of the language model)."""
        features: Tensor = self.projector(patches(self.tower, pixels.to(self.tower.dtype)))
        return features

    @torch.inference_mode()
    def rows(self, batch: Sequence[Prepared]) -> list[Tensor]:
        """(tokens, width) per request: what the language model is given."""
        embed = self.lm.get_input_embeddings()
        features = self._features.of(batch, self.encode, self.device)
        return [
            spliced(prepared.prompt.ids or (), images, embed)
            for prepared, images in zip(batch, features, strict=True)
        ]

    def complete(self, batch: Sequence[Prepared]) -> list[Completion]:
        eos, decode = [self.pieces.eos], self.pieces.decode
        return complete(self.adapter, self.lm, self.rows(batch), batch, eos, decode)


def llama(config: Json, state: Mapping[str, Tensor], dtype: torch.dtype, what: str) -> Any:
    """A LlamaForCausalLM with exactly these tensors, but for the RoPE buffers that old versions of
    transformers saved. config: config.json of a Llama, or the `text_config` of another."""
    if config.get("model_type", "llama") != "llama":
        raise ReportCardError(f"{what}: a {config['model_type']}'s config and not a Llama's.")
    kept = {k: v for k, v in state.items() if not k.endswith("rotary_emb.inv_freq")}
    settings = LlamaConfig.from_dict({**config, "model_type": "llama"})
    return built(LlamaForCausalLM, settings, kept, dtype, what)


def needed(files: Iterable[Path], stored: str, llama: Json, dtype: torch.dtype) -> tuple[int, int]:
    """(bytes of the weights, bytes of the KV cache per token) when held in `dtype`.

    files: with the language model's weights, of dtype `stored`. llama: its config. A vision tower
    is below two hundredths of it and left to the margin of `memory_problem`.
    """
    was = getattr(torch, stored, torch.float16)
    weights = sum(path.stat().st_size for path in files) * dtype.itemsize // was.itemsize
    heads = llama["num_attention_heads"]
    width = llama["hidden_size"] * (llama.get("num_key_value_heads") or heads) // heads
    return weights, 2 * llama["num_hidden_layers"] * width * dtype.itemsize


def freed() -> None:
    """Give the device back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
