"""Which images of a request a model sees, when it takes a view and not whatever there is."""

from __future__ import annotations

from collections.abc import Sequence

from reportcard.api import FRONTAL_VIEWS, Image, ImageError, Request


def frontal_of(request: Request) -> Image:
    """The image that a one-image model sees: frontal views in FRONTAL_VIEWS' order, then one of
    an unknown view. Raises ImageError when there is neither, or nothing to read here."""
    ranked = sorted(
        (i for i in request.images if i.frontal), key=lambda i: FRONTAL_VIEWS.index(i.view)
    ) or [i for i in request.images if i.radiograph and not i.lateral]
    return _available(ranked, "no frontal image")


def masks_of(request: Request, image: Image) -> tuple[Image, ...]:
    """The pictures of masks that follow an image of the request (marks.mode=append)."""
    prior = request.prior.images if request.prior else ()
    images = request.images if image in request.images else prior
    found: list[Image] = []
    for other in images[images.index(image) + 1 :] if image in images else ():
        if other.radiograph:
            break
        found.append(other)
    return tuple(found)


def lateral_of(request: Request) -> Image | None:
    return next((i for i in request.images if i.lateral and i.available), None)


def prior_frontal_of(request: Request) -> Image | None:
    images = request.prior.images if request.prior else ()
    return next((i for i in images if i.frontal and i.available), None)


def _available(images: Sequence[Image], problem: str) -> Image:
    for image in images:
        if image.available:
            return image
    if images:
        raise ImageError("missing", f"{images[0].image_id} is not on this machine.")
    raise ImageError("missing", f"{problem}.")
