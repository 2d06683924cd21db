"""pixel_retrieval finds the image that looks most alike, and knows when there is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from reportcard.api import Image, ImageError, Report, ReportCardError, Request, Study
from reportcard.data.sources.phantom import Phantom
from reportcard.model_adapters.pixel_retrieval import PixelRetrieval

Grey = npt.NDArray[np.uint8]
DARK_LEFT, DARK_TOP = np.meshgrid(np.arange(64, dtype=np.uint8), np.arange(64, dtype=np.uint8))


def image(name: str, grey: Grey, view: str = "PA") -> Image:
    return Image(name, view, read=lambda: grey)


def broken() -> Grey:
    raise ImageError("truncated", "Image x is cut off.")


def study(name: str, *images: Image) -> Study:
    return Study(Request(name, images), Report(f"Report {name}."), name)


def fitted(*train: Study, **options: object) -> PixelRetrieval:
    adapter = PixelRetrieval(**options)  # type: ignore[arg-type]
    adapter.fit(train)
    return adapter


def answer(adapter: PixelRetrieval, *images: Image) -> str | None:
    (prediction,) = adapter.generate([Request("q", images)])
    assert prediction.used == ("images",)
    return prediction.report.findings


@pytest.mark.parametrize("features", ["pixels", "pca"])
def test_exposure_and_size_do_not_count(features: str) -> None:
    train = [study("left", image("a", DARK_LEFT)), study("top", image("b", DARK_TOP))]
    adapter = fitted(*train, features=features)
    brighter = np.kron(DARK_TOP * 2 + 60, np.ones((3, 2), np.uint8)).astype(np.uint8)
    assert answer(adapter, image("q", brighter)) == "Report top."
    assert answer(adapter, image("q", DARK_LEFT // 2)) == "Report left."


def test_the_frontal_image_is_compared() -> None:
    train = [study("left", image("a", DARK_LEFT)), study("top", image("b", DARK_TOP))]
    asked = (image("l", DARK_LEFT, "LATERAL"), image("f", DARK_TOP, "AP"))
    assert answer(fitted(*train), *asked) == "Report top."
    assert answer(fitted(*train), asked[0]) == "Report left."


def test_the_first_of_equals_wins() -> None:
    train = [study(n, image(n, DARK_TOP)) for n in ("one", "two")]
    assert answer(fitted(*train), image("q", DARK_TOP)) == "Report one."


def test_train_studies_without_an_image_are_passed_over() -> None:
    bad = study("bad", Image("x", "PA", read=broken))
    none = study("none", Image("y", "PA"))
    adapter = fitted(bad, none, study("good", image("a", DARK_TOP)))
    assert answer(adapter, image("q", DARK_LEFT)) == "Report good."
    assert adapter.notes == ("2 of 3 train images unreadable (1 missing, 1 truncated)",)
    with pytest.raises(ReportCardError, match="no train study has an image"):
        fitted(bad, none)


@pytest.mark.parametrize("read", [None, broken])
def test_a_study_without_an_image_fails(read: Callable[[], Grey] | None) -> None:
    adapter = fitted(study("a", image("a", DARK_TOP)))
    with pytest.raises(ImageError):
        adapter.generate([Request("q", (Image("x", "PA", read=read),))])


def test_a_constant_image_is_no_error() -> None:
    adapter = fitted(study("a", image("a", np.zeros((9, 7), np.uint8))))
    assert answer(adapter, image("q", DARK_TOP)) == "Report a."


@pytest.mark.parametrize(("options"), [{"features": "sift"}, {"side": 0}, {"components": "x"}])
def test_options_that_make_no_sense_are_named(options: dict[str, object]) -> None:
    with pytest.raises(ReportCardError, match="pixel_retrieval: "):
        PixelRetrieval(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("features", ["pixels", "pca"])
def test_pictures_of_the_phantom_tell_what_is_in_them(features: str) -> None:
    """The retrieved study shares the drawn findings far more often than a shuffled one."""
    phantom = Phantom(size=128)
    chosen = phantom.select()
    adapter = fitted(*chosen.train, features=features)
    kinds = {
        s.reference.findings: _kinds(c)
        for s, c in zip(chosen.train, phantom.cases("train"), strict=True)
    }
    test = [_kinds(c) for c in phantom.cases("test")]
    found = [kinds[p.report.findings] for p in adapter.generate([s.request for s in chosen.test])]
    right = sum(a == b for a, b in zip(found, test, strict=True))
    shuffled = sum(a == b for a, b in zip(found, test[1:] + test[:1], strict=True))
    assert right > 1.5 * shuffled


def _kinds(case: object) -> frozenset[str]:
    return frozenset(f.kind for f in case.findings)  # type: ignore[attr-defined]
