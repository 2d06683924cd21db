"""What LLaVA's descendants share: prompt ids with a place per image, a projector, the splice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from reportcard.model_adapters._sentencepiece import Pieces

if TYPE_CHECKING:
    import torch
    from torch import Tensor

IMAGE = -200  # LLaVA's own placeholder id (llava/constants.py)


def ids_with_images(
    pieces: Pieces, text: str, images: int, placeholder: str = "<image>"
) -> tuple[int, ...]:
    """One bos, then each part of the text between placeholders tokenised by itself, IMAGE between.
    Only the first `images` placeholders count: an indication may spell one.

    As LLaVA's `tokenizer_image_token` (llava/mm_utils.py): every part gets the blank that LLaMA's
    tokenizer puts before a text.
    """
    first, *rest = (pieces.encode(part) for part in text.split(placeholder, images))
    return (pieces.bos, *first, *(i for part in rest for i in (IMAGE, *part)))


def spliced(
    ids: Sequence[int],
    features: Sequence[Tensor],
    embed: Callable[[Tensor], Tensor],
    placeholder: int = IMAGE,
) -> Tensor:
    """(tokens, width): embedded ids with each image's (tokens, width) in place of its placeholder.

    `embed` is the language model's table. Raises ValueError unless there are as many features as
    placeholders.
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


def projector(
    state: Mapping[str, Tensor], widths: Sequence[int], dtype: torch.dtype, what: str
) -> torch.nn.Sequential:
    """Linear layers `0`, `2`, `4`, … with GELU between: widths (768, 4096, 4096) are LLaVA-Rad's.

    Raises ReportCardError unless `state` has exactly these tensors.
    """
    from torch import nn

    from reportcard.model_adapters._torch import cast_parameters, load_exactly

    layers: list[nn.Module] = []
    for narrow, wide in pairwise(widths):
        layers += [nn.Linear(narrow, wide), nn.GELU()]
    module = nn.Sequential(*layers[:-1])
    load_exactly(module, state, what)
    cast_parameters(module, dtype)
    return module.eval()
