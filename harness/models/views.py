"""Chooses the images of a request that a model sees: the frontal, the lateral, the prior one."""

from __future__ import annotations

from collections.abc import Sequence

from reportcard.api import FRONTAL_VIEWS, Image, ImageError, Request


def frontal_of(request: Request) -> Image:
    """Return the image that a one-image model sees.

    Frontal views come first, in the order of FRONTAL_VIEWS, then images of an unknown view. Raises
    ImageError if there is neither, or if none of them is on this machine.
    """
    ranked = sorted(
        (i for i in request.images if i.frontal), key=lambda i: FRONTAL_VIEWS.index(i.view)
    ) or [i for i in request.images if i.radiograph and not i.lateral]
    return _available(ranked, "no frontal image")


def masks_of(request: Request, image: Image) -> tuple[Image, ...]:
    """Return the mask pictures that follow an image of the request (marks.mode=append)."""
    prior = request.prior.images if request.prior else ()
    images = request.images if image in request.images else prior
    found: list[Image] = []
    for other in images[images.index(image) + 1 :] if image in images else ():
        if other.radiograph:
            break
        found.append(other)
    return tuple(found)


def lateral_of(request: Request) -> Image | None:
    """Return the first lateral image on this machine, or None."""
    return next((i for i in request.images if i.lateral and i.available), None)


def prior_frontal_of(request: Request) -> Image | None:
    """Return the first frontal image of the prior study on this machine, or None."""
    images = request.prior.images if request.prior else ()
    return next((i for i in images if i.frontal and i.available), None)


def _available(images: Sequence[Image], problem: str) -> Image:
    for image in images:
        if image.available:
            return image
    if images:
        raise ImageError("missing", f"{images[0].image_id} is not on this machine.")
    raise ImageError("missing", f"{problem}.")
