"""Puts images into a LLaVA-like prompt: ids with placeholders, the projector, the insertion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from reportcard.model_adapters._shared.sentencepiece_model import SentencePieceModel

if TYPE_CHECKING:
    import torch
    from torch import Tensor

IMAGE = -200  # LLaVA's own placeholder id (llava/constants.py)


def ids_with_images(
    pieces: SentencePieceModel, text: str, images: int, placeholder: str = "<image>"
) -> tuple[int, ...]:
    """Tokenise each part of the text between placeholders, and put IMAGE between the parts.

    Only the first `images` placeholders count, because an indication may contain the same
    characters. As in LLaVA's `tokenizer_image_token` (llava/mm_utils.py), there is one bos, and
    every part gets the blank that LLaMA's tokenizer puts before a text.

    Args:
        pieces: the tokenizer.
        text: the prompt.
        images: how many placeholders stand for an image.
        placeholder: the placeholder in the text.
    """
    first, *rest = (pieces.encode(part) for part in text.split(placeholder, images))
    return (pieces.bos, *first, *(i for part in rest for i in (IMAGE, *part)))


def insert_image_features(
    ids: Sequence[int],
    features: Sequence[Tensor],
    embed: Callable[[Tensor], Tensor],
    placeholder: int = IMAGE,
) -> Tensor:
    """Embed the ids (tokens, width), and replace each placeholder by the features of its image.

    Args:
        ids: the ids of the prompt.
        features: (tokens, width) of each image.
        embed: the language model's embedding table.
        placeholder: the id that stands for an image.

    Raises ValueError unless there are as many features as placeholders.
    """
    import torch

    device = features[0].device if features else None
    row = torch.tensor(ids, device=device)
    parts, start = [], 0
    places = [n for n, token in enumerate(ids) if token == placeholder]
    for place, feature in zip(places, features, strict=True):
        parts += [embed(row[start:place]), feature]
        start = place + 1
    return torch.cat([*parts, embed(row[start:])])


def build_projector(
    state: Mapping[str, Tensor], widths: Sequence[int], dtype: torch.dtype, what: str
) -> torch.nn.Sequential:
    """Build linear layers `0`, `2`, `4`, … with GELU between them.

    Args:
        state: the tensors of the layers.
        widths: the width before, between and after the layers; LLaVA-Rad has (768, 4096, 4096).
        dtype: of the parameters.
        what: the name of the checkpoint in messages.

    Raises ReportCardError unless `state` has exactly these tensors.
    """
    from torch import nn

    from reportcard.model_adapters._shared.torch_runtime import cast_parameters, load_exactly

    layers: list[nn.Module] = []
    for narrow, wide in pairwise(widths):
        layers += [nn.Linear(narrow, wide), nn.GELU()]
    module = nn.Sequential(*layers[:-1])
    load_exactly(module, state, what)
    cast_parameters(module, dtype)
    return module.eval()
