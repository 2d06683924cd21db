"""VisionLlama runs a vision encoder and a Llama, whose prompt holds the image features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from reportcard.api import ReportCardError
from reportcard.model_adapters._shared.image_features import ImageFeatureCache
from reportcard.model_adapters._shared.image_tokens import IMAGE, insert_image_features
from reportcard.model_adapters._shared.torch_runtime import (
    build_model,
    device_of,
    dtype_of,
    generate_from_embeddings,
)
from reportcard.models.staged import Completion, Prepared, StagedAdapter


class AnswerTokenizer(Protocol):
    """AnswerTokenizer decodes the ids of an answer; `eos` is the id that ends it."""

    eos: int

    def decode(self, ids: Sequence[int]) -> str: ...


class VisionLlama:
    """VisionLlama answers batches of prepared requests.

    `encode` maps pixels (n, c, h, w), in the parameters' dtype, to features (n, tokens, width).
    """

    def __init__(
        self,
        adapter: StagedAdapter,
        llama: Any,
        encode: Callable[[Tensor], Tensor],
        tokens: AnswerTokenizer,
        placeholder: int = IMAGE,
    ) -> None:
        self._adapter, self._placeholder = adapter, placeholder
        self.llama, self.encode, self.tokens = llama, encode, tokens
        self._features = ImageFeatureCache(adapter)

    @torch.inference_mode()
    def embeddings(self, batch: Sequence[Prepared]) -> list[Tensor]:
        """Return the embeddings (tokens, width) that the language model receives per request."""
        if any(prepared.prompt.ids is None for prepared in batch):
            raise ReportCardError(
                "the prompt has no token ids: it was made before the tokenizer was on this machine."
                " Start the same command again."
            )
        device, dtype = device_of(self._adapter), dtype_of(self._adapter)
        features = self._features.of(batch, lambda pixels: self.encode(pixels.to(dtype)), device)
        table = self.llama.get_input_embeddings()
        return [
            insert_image_features(prepared.prompt.ids or (), of_request, table, self._placeholder)
            for prepared, of_request in zip(batch, features, strict=True)
        ]

    def complete(self, batch: Sequence[Prepared]) -> list[Completion]:
        tokens = self.tokens
        completions: list[Completion] = generate_from_embeddings(
            self._adapter, self.llama, self.embeddings(batch), batch, [tokens.eos], tokens.decode
        )
        return completions


def build_llama(
    config: Mapping[str, Any], state: Mapping[str, Tensor], adapter: StagedAdapter, what: str
) -> Any:
    """Build the language model from its own config and tensors, on its device.

    Args:
        config: a Llama's config.
        state: tensors under the names of LlamaForCausalLM. The buffers of old checkpoints
            (rotary_emb.inv_freq) are ignored, because they follow from the config.
        adapter: the model, whose dtype and device are used.
        what: the name of the checkpoint in messages.

    Raises ReportCardError for the config of another model, and unless all tensors fit.
    """
    if config.get("model_type", "llama") != "llama":
        raise ReportCardError(f"{what}: a {config['model_type']}'s config and not a Llama's.")
    kept = {name: tensor for name, tensor in state.items() if not name.endswith(".inv_freq")}
    made = LlamaConfig(**{k: v for k, v in config.items() if k not in ("torch_dtype", "dtype")})
    return build_model(LlamaForCausalLM, made, kept, dtype_of(adapter), what).to(device_of(adapter))


def split_by_prefix(
    state: Mapping[str, Tensor], prefixes: Sequence[str], what: str
) -> list[dict[str, Tensor]]:
    """Split the tensors by the prefix of their names, and remove it.

    Raises ReportCardError for a tensor with none of the prefixes.
    """
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
