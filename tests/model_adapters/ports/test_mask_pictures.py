"""marks.mode=append: a picture of masks is never taken for an X-ray; where it is shown, it follows
the image whose masks they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reportcard.api import MASKS_VIEW, Image, ImageError, ModelAdapter, Prior, Report, Request
from reportcard.config import compose as config
from reportcard.core import registry
from reportcard.model_adapters.pixel_retrieval import _frontal


def _read() -> np.ndarray[Any, Any]:
    return np.zeros((8, 8), np.uint8)


def picture(name: str, view: str) -> Image:
    return Image(name, view, read=_read)


LATERAL, PA, OLD = picture("ll", "LL"), picture("pa", "PA"), picture("old", "AP")
MASKS = {i.image_id: picture(f"{i.image_id}+masks", MASKS_VIEW) for i in (LATERAL, PA, OLD)}
SHOWN = Request(
    "s",
    (LATERAL, MASKS["ll"], PA, MASKS["pa"]),
    prior=Prior((OLD, MASKS["old"]), Report("Clear.")),
    marks=("1 left lung",),
)
UNKNOWN = replace(SHOWN, images=(LATERAL, MASKS["ll"], picture("x", "Unknown"), MASKS["pa"]))
ALONE = Request("s", (MASKS["pa"],), marks=("1 left lung",))


def model(preset: str, **options: Any) -> ModelAdapter:
    plugin = config.load([f"model={preset}"]).models[0]
    built: ModelAdapter = registry.models.build(
        plugin.plugin, {**plugin.options, **options}, preset
    )
    return built


def shown(adapter: Any, request: Request) -> list[str]:
    stage = adapter.task if hasattr(adapter, "task") else adapter.prompt
    return [image.image_id for image in stage(request).images]


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("maira2", ["pa", "ll", "old"]),
        *((name, ["pa"]) for name in ("llava_rad", "maira1", "cxr_llava", "llava_med")),
        ("libra", ["pa", "old"]),
        *(
            (name, ["pa", "ll"])
            for name in ("chexagent2", "chexagent2_srrg", "cxrmate", "r2gen_iu")
        ),
        *((name, ["pa"]) for name in ("cxrmate_single_tf", "r2gen_mimic")),
    ],
)
def test_a_model_that_picks_views_never_picks_masks(preset: str, expected: list[str]) -> None:
    adapter = model(preset)
    assert shown(adapter, SHOWN) == expected
    assert shown(adapter, UNKNOWN) == ["x" if name == "pa" else name for name in expected]
    with pytest.raises(ImageError, match=r"no frontal image|no image|needs"):
        shown(adapter, ALONE)


@pytest.mark.parametrize("preset", ["huggingface", "openai_chat"])
def test_a_chat_model_sees_each_images_masks_after_it(preset: str) -> None:
    adapter = model(preset, images=["frontal", "lateral", "prior"], instruction="Report.")
    assert shown(adapter, SHOWN) == ["pa", "pa+masks", "ll", "ll+masks", "old", "old+masks"]
    assert shown(model(preset, images=["frontal"], instruction="Report."), UNKNOWN) == [
        *("x", "pa+masks")
    ]
    with pytest.raises(ImageError, match="no frontal image"):
        shown(adapter, ALONE)


def test_retrieval_does_not_compare_masks() -> None:
    only_lateral = replace(SHOWN, images=(LATERAL, MASKS["ll"]))
    assert _frontal(only_lateral).image_id == "ll"
    with pytest.raises(ImageError, match="no image"):
        _frontal(ALONE)
