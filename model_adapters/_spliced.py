"""A vision encoder and a Llama: features go where the prompt has an image, the Llama goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from reportcard.api import ReportCardError
from reportcard.model_adapters._features import Features
from reportcard.model_adapters._llava import IMAGE, spliced
from reportcard.model_adapters._torch import (
    built,
    complete,
    device_of,
    dtype_of,
)
from reportcard.models.staged import Completion, Prepared, StagedAdapter


class Speech(Protocol):
    """What the answer's ids are read with."""

    eos: int

    def decode(self, ids: Sequence[int]) -> str: ...


class SplicedLlama:
    """encode: pixels (n, c, h, w) in the parameters' dtype → features (n, tokens, width)."""

    def __init__(
        self,
        adapter: StagedAdapter,
        llama: Any,
        encode: Callable[[Tensor], Tensor],
        tokens: Speech,
        placeholder: int = IMAGE,
    ) -> None:
        self._adapter, self._placeholder = adapter, placeholder
        self.llama, self.encode, self.tokens = llama, encode, tokens
        self._features = Features(adapter)

    @torch.inference_mode()
    def rows(self, batch: Sequence[Prepared]) -> list[Tensor]:
        """Per request what the language model is given: (tokens, width)."""
        if any(prepared.prompt.ids is None for prepared in batch):
            raise ReportCardError(
                "the prompt has no token ids: it was made before the tokenizer was on this machine."
                " Start the same command again."
            )
        device, dtype = device_of(self._adapter), dtype_of(self._adapter)
        features = self._features.of(batch, lambda pixels: self.encode(pixels.to(dtype)), device)
        table = self.llama.get_input_embeddings()
        return [
            spliced(prepared.prompt.ids or (), of_request, table, self._placeholder)
            for prepared, of_request in zip(batch, features, strict=True)
        ]

    def complete(self, batch: Sequence[Prepared]) -> list[Completion]:
        tokens = self.tokens
        completions: list[Completion] = complete(
            self._adapter, self.llama, self.rows(batch), batch, [tokens.eos], tokens.decode
        )
        return completions


def llama(
    config: Mapping[str, Any], state: Mapping[str, Tensor], adapter: StagedAdapter, what: str
) -> Any:
    """The language model of a checkpoint's own config, its tensors under LlamaForCausalLM's names;
    on its device. Raises ReportCardError for another's config, and unless all tensors fit.

    Buffers of old checkpoints (rotary_emb.inv_freq) are left out: they follow from the config.
    """
    if config.get("model_type", "llama") != "llama":
        raise ReportCardError(f"{what}: a {config['model_type']}'s config and not a Llama's.")
    kept = {name: tensor for name, tensor in state.items() if not name.endswith(".inv_freq")}
    made = LlamaConfig(**{k: v for k, v in config.items() if k not in ("torch_dtype", "dtype")})
    return built(LlamaForCausalLM, made, kept, dtype_of(adapter), what).to(device_of(adapter))


def by_prefix(
    state: Mapping[str, Tensor], prefixes: Sequence[str], what: str
) -> list[dict[str, Tensor]]:
    """The tensors under each prefix, without it. Raises ReportCardError for one under none."""
    strange = [name for name in state if not name.startswith(tuple(prefixes))]
    if strange:
        raise ReportCardError(
            f"{what}: not the checkpoint of this model: {len(strange)} unexpected tensors,"
            f" {sorted(strange)[0]} first."
        )
    return [
        {name.removeprefix(p): tensor for name, tensor in state.items() if name.startswith(p)}
        for p in prefixes
    ]
