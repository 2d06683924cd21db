"""Vision features between batches: each image encoded once, within a bound, and let go."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the gpu extra: torch")

from reportcard.api import Image, Request  # noqa: E402
from reportcard.model_adapters._shared.image_features import ImageFeatureCache  # noqa: E402
from reportcard.models.staged import Prepared, Prompt  # noqa: E402

EACH = 4 * 6 * 4  # bytes of one image's features: (4, 6) in float32
CPU = torch.device("cpu")


def prepared(study: int, *images: int) -> Prepared:
    shown = tuple(Image(f"i{n}", "PA") for n in images)
    pixels = tuple(np.full((1, 2, 2), n, np.float32) for n in images)
    return Prepared(
        Request(f"s{study}", shown), Prompt("", shown, 1), pixels, ((2, 2),) * len(images)
    )


class Tower:
    """Features are the image's number; it notes what it was given."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, pixels: Any) -> Any:
        numbers = pixels[:, 0, 0, 0]
        self.seen += [int(n) for n in numbers]
        return numbers[:, None, None].expand(len(numbers), 4, 6).clone()


def run(features: ImageFeatureCache, tower: Tower, batches: list[list[Prepared]]) -> None:
    for batch in batches:
        for item, found in zip(batch, features.of(batch, tower, CPU), strict=True):
            wanted = [int(pixels[0, 0, 0]) for pixels in item.pixels]
            assert [int(one[0, 0]) for one in found] == wanted


def counted(batches: list[list[Prepared]], most: int) -> tuple[ImageFeatureCache, Tower]:
    images = [image for batch in batches for item in batch for image in item.prompt.images]
    return ImageFeatureCache(SimpleNamespace(uses=Counter(images)), most), Tower()


def test_each_image_is_encoded_once_and_let_go_after_its_last_use() -> None:
    batches = [
        [prepared(1, 1, 9), prepared(2, 2, 9)],
        [prepared(3, 3, 9), prepared(4, 1)],
        [prepared(5, 9)],
    ]
    features, tower = counted(batches, 100 * EACH)
    run(features, tower, batches[:1])
    assert features.bytes == 2 * EACH, "1 and 9 come again, 2 does not"
    run(features, tower, batches[1:])
    assert sorted(tower.seen) == [1, 2, 3, 9]
    assert features.bytes == 0


def test_no_more_is_kept_than_the_bound_and_the_oldest_goes_first() -> None:
    """All are asked for again: what was let go is encoded a second time, and the answers hold."""
    batches = [[prepared(n, n)] for n in (1, 2, 3, 3, 2, 1)]
    features, tower = counted(batches, 2 * EACH)
    for batch in batches:
        run(features, tower, [batch])
        assert features.bytes <= 2 * EACH
    assert tower.seen == [1, 2, 3, 1]


def test_an_image_that_is_kept_does_not_keep_its_batch() -> None:
    batches = [[prepared(n, n) for n in range(8)], [prepared(9, 0)]]
    features, tower = counted(batches, 100 * EACH)
    run(features, tower, batches[:1])
    (kept,) = features._kept.values()
    assert kept.untyped_storage().nbytes() == EACH


def test_what_a_resumed_run_never_asks_for_falls_out() -> None:
    """`plan` counts the studies that are answered already, too."""
    batches = [[prepared(n, n)] for n in range(10)]
    features, tower = counted(batches * 2, 3 * EACH)
    run(features, tower, batches)
    assert features.bytes == 3 * EACH
