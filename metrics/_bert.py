"""Computes BERT's [CLS] vectors of the last layer without wasting work on padding.

Only the [CLS] vector of the last layer is needed here, which saves work in two places. Matrix
products run on real tokens only: the texts of a batch are concatenated, and only attention, 2 % of
the work at report length, sees them as a padded block. The last layer is computed for the [CLS]
position alone.

Architecture: Devlin et al. 2019, post-norm, exact GELU, LayerNorm eps 1e-12; parameter names as in
Hugging Face's BertModel, which the parity tests compare with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HEAD_SIZE = 64  # every published BERT, from tiny to large, has heads of 64
EPS = 1e-12

_LAYER = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a BERT, read from the shapes of its tensors."""

    vocabulary: int
    hidden: int
    positions: int
    layers: int
    inner: int

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Shape:
        """Read the sizes from a checkpoint. Raises KeyError that names a missing tensor."""
        words, positions = (
            state[f"embeddings.{name}_embeddings.weight"].shape for name in ("word", "position")
        )
        prefix = "encoder.layer."
        layers = {int(k.split(".")[2]) for k in state if k.startswith(prefix)} or {0}
        inner = state[f"{prefix}0.intermediate.dense.weight"].shape[0]
        return cls(words[0], words[1], positions[0], max(layers) + 1, inner)

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return name → shape of every tensor of such a BertModel, pooler included."""
        h, inner = self.hidden, self.inner
        found: dict[str, tuple[int, ...]] = {
            "embeddings.word_embeddings.weight": (self.vocabulary, h),
            "embeddings.position_embeddings.weight": (self.positions, h),
            "embeddings.token_type_embeddings.weight": (2, h),
            "embeddings.LayerNorm.weight": (h,),
            "embeddings.LayerNorm.bias": (h,),
            "pooler.dense.weight": (h, h),
            "pooler.dense.bias": (h,),
        }
        for i in range(self.layers):
            for part in _LAYER:
                out = inner if part == "intermediate.dense" else h
                into = inner if part == "output.dense" else h
                name = f"encoder.layer.{i}.{part}"
                found[f"{name}.weight"] = (h,) if part.endswith("LayerNorm") else (out, into)
                found[f"{name}.bias"] = (out,)
        return found


class ClsEncoder:
    """Turns token ids into [CLS] vectors, on one device and in one precision."""

    def __init__(self, state: Mapping[str, Any], device: Any, dtype: Any) -> None:
        import torch

        self.shape = Shape.of(state)
        self.device = device

        def get(name: str) -> Any:
            return state[name].to(device, dtype)

        self._words = get("embeddings.word_embeddings.weight")
        # Every text is one segment, so its segment vector can be added to the positions once.
        self._positions = (
            get("embeddings.position_embeddings.weight")
            + get("embeddings.token_type_embeddings.weight")[0]
        )
        self._norm = (get("embeddings.LayerNorm.weight"), get("embeddings.LayerNorm.bias"))
        self._layers = []
        for i in range(self.shape.layers):
            pairs = [
                (get(f"encoder.layer.{i}.{p}.weight"), get(f"encoder.layer.{i}.{p}.bias"))
                for p in _LAYER
            ]
            # Query, key and value are computed by one matrix product.
            qkv = tuple(torch.cat([pair[j] for pair in pairs[:3]]) for j in (0, 1))
            self._layers.append((qkv, *pairs[3:]))

    def __call__(self, ids: Sequence[Sequence[int]]) -> Any:
        """Return a float32 tensor (n, hidden) on the CPU; each text has 1 to `positions` ids."""
        import torch
        from torch.nn import functional as nn

        lengths = torch.tensor([len(text) for text in ids])
        n, longest, hidden = len(ids), int(lengths.max()), self.shape.hidden
        inside = torch.arange(longest) < lengths[:, None]
        row, column = (where.to(self.device) for where in inside.nonzero(as_tuple=True))
        first = (lengths.cumsum(0) - lengths).to(self.device)
        mask = None if bool(inside.all()) else inside[:, None, None].to(self.device)
        flat = torch.tensor([i for text in ids for i in text], device=self.device)

        def norm(x: Any, weight: Any, bias: Any) -> Any:
            return nn.layer_norm(x, (hidden,), weight, bias, EPS)

        with torch.inference_mode():
            x = norm(self._words[flat] + self._positions[column], *self._norm)
            for i, (qkv, out, out_norm, up, down, down_norm) in enumerate(self._layers):
                block = x.new_zeros(n, longest, 3 * hidden)
                block[row, column] = nn.linear(x, *qkv)
                q, k, v = block.view(n, longest, 3, -1, HEAD_SIZE).permute(2, 0, 3, 1, 4)
                if i == len(self._layers) - 1:
                    x = x[first]
                    seen = nn.scaled_dot_product_attention(q[:, :, :1], k, v, mask)
                    seen = seen.reshape(n, hidden)
                else:
                    seen = nn.scaled_dot_product_attention(q, k, v, mask)
                    seen = seen.transpose(1, 2).reshape(n, longest, hidden)[row, column]
                x = norm(x + nn.linear(seen, *out), *out_norm)
                x = norm(x + nn.linear(nn.gelu(nn.linear(x, *up)), *down), *down_norm)
        return x.float().cpu()
