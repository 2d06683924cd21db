"""PixelRetrieval returns the train report of the most similar image, a floor that uses pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reportcard.api import Image, ImageError, ModelCard, Prediction, ReportCardError, Request, Study

Features = npt.NDArray[np.float32]


class PixelRetrieval:
    """PixelRetrieval finds the train study whose frontal image has the smallest Euclidean distance.

    An image is averaged to side × side grey values and standardised, so that exposure does not
    matter. "pca" compares the first `components` principal components of the train images instead.
    Of equally near images the first train study wins. Train studies without a readable image are
    skipped; a test study without one fails.
    """

    card = ModelCard(
        "Train report with the nearest image (small grey pixels)",
        kind="floor",
        inputs=("images",),
        needs_train=True,
        needs_pixels=True,
    )

    def __init__(self, features: str = "pixels", side: int = 32, components: int = 50) -> None:
        if features not in ("pixels", "pca"):
            raise ReportCardError(f"pixel_retrieval: features is pixels or pca, not {features!r}.")
        for name, value in (("side", side), ("components", components)):
            if not isinstance(value, int) or value < 1:
                raise ReportCardError(f"pixel_retrieval: {name} must be 1 or more, not {value!r}.")
        self.features, self.side, self.components = features, side, components

    def fit(self, train: Sequence[Study]) -> None:
        rows: list[Features] = []
        self._reports = []
        unreadable: Counter[str] = Counter()
        for study in train:
            try:
                rows.append(self._small(study.request))
            except ImageError as error:
                unreadable[error.kind] += 1
                continue
            self._reports.append(study.reference)
        if not rows:
            raise ReportCardError("pixel_retrieval: no train study has an image that can be read.")
        self.notes = _counted(unreadable, len(train))
        matrix = np.stack(rows)
        self._mean = matrix.mean(axis=0)
        self._axes: Features | None = None
        if self.features == "pca":
            _, _, axes = np.linalg.svd(matrix - self._mean, full_matrices=False)
            self._axes = axes[: self.components]
        self._matrix = np.stack([self._project(row) for row in rows])
        self._squares = (self._matrix * self._matrix).sum(axis=1)

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        return [self._nearest(request) for request in requests]

    def _nearest(self, request: Request) -> Prediction:
        query = self._project(self._small(request))
        best = int((self._squares - 2 * (self._matrix @ query)).argmin())
        report = self._reports[best]
        text = report.text()
        return Prediction(
            request.study_id,
            report,
            raw=text,
            status="ok" if text.strip() else "empty",
            used=("images",),
            draw=request.draw,
        )

    def _project(self, row: Features) -> Features:
        if self._axes is None:
            return row
        projected: Features = self._axes @ (row - self._mean)
        return projected

    def _small(self, request: Request) -> Features:
        """Return the side × side means of the frontal image, standardised, in one row."""
        import PIL.Image

        grey = PIL.Image.fromarray(_frontal(request).pixels())
        small = grey.resize((self.side, self.side), PIL.Image.Resampling.BOX)
        row: Features = np.asarray(small, np.float32).ravel()
        row = row - row.mean()
        scaled: Features = row / max(float(row.std()), 1e-6)
        return scaled


def _counted(unreadable: Counter[str], train: int) -> tuple[str, ...]:
    """Return '1 of 2 train images unreadable (1 truncated)', or nothing."""
    if not unreadable:
        return ()
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(unreadable.items()))
    return (f"{unreadable.total():,} of {train:,} train images unreadable ({kinds})",)


def _frontal(request: Request) -> Image:
    """Return the first image on this machine that is not lateral, else the first one.

    Raises ImageError if there is none.
    """
    there = [image for image in request.images if image.available and image.radiograph]
    if not there:
        raise ImageError("missing", f"Study {request.study_id} has no image on this machine.")
    return next((image for image in there if not image.lateral), there[0])
