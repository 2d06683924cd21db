"""Measures whether a report's boxes are where the reference has them, without a judge.

The text is not read. The boxes of all phrases of a report are one set, so a box of two phrases
counts once.

    miou              mean over studies of |C ∩ R| / |C ∪ R|, C and R the unions of the candidate's
                      and the reference's boxes; over studies where either has one
    pixel_precision   Σ |C ∩ R| / Σ |C|, areas summed over the cohort
    pixel_recall      Σ |C ∩ R| / Σ |R|
    pixel_f1          their harmonic mean: 2 Σ |C ∩ R| / (Σ |C| + Σ |R|)
    box_precision_50  boxes of the candidates with a partner / boxes of the candidates
    box_recall_50     boxes of the references with a partner / boxes of the references

Areas are exact fractions of the image; RadFact's own boxes stand on a grid of 224 × 224. Partners
are found one to one, the pair with the highest IoU first, down to 0.5.

Sources: the IoU of unions of boxes is how MS-CXR's authors score phrase grounding (Boecking et al.,
ECCV 2022, mIoU); pixel precision and recall are RadFact's box entailment (microsoft/RadFact,
`box_metrics.py`) on whole reports, and pixel_f1 is their Dice coefficient; one-to-one matching at
IoU 0.5 is Pascal VOC's rule (Everingham et al., IJCV 2010) without confidences, because a report
has none. The combination and the sums over a cohort are ours.

A report without boxes against one with boxes counts as IoU 0; two reports without boxes do not
count in miou. A pair with a narrative report, which has no boxes at all, is unscored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reportcard.api import Array, Box, Key, MetricSpec, Pair, Phrase

IOU = 0.5
COLUMNS = (
    *("iou", "with_boxes", "both_area", "candidate_area", "reference_area"),
    *("partners", "candidate_boxes", "reference_boxes", "n"),
)


def iou(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes, computed from their corners.

    >>> iou(Box(0.0, 0.0, 0.5, 0.5), Box(0.0, 0.0, 0.5, 1.0))
    0.5
    """
    width = min(one.x_max, other.x_max) - max(one.x_min, other.x_min)
    height = min(one.y_max, other.y_max) - max(one.y_min, other.y_min)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (_area(one) + _area(other) - both)


def partners(candidate: Sequence[Box], reference: Sequence[Box]) -> int:
    """Return how many boxes have a partner: one to one, highest IoU first, at least 0.5.

    >>> partners([Box(0, 0, 0.5, 0.5), Box(0, 0, 0.5, 0.4)], [Box(0, 0, 0.5, 0.5)])
    1
    """
    likely = [
        (-found, i, j)
        for i, one in enumerate(candidate)
        for j, other in enumerate(reference)
        if (found := iou(one, other)) >= IOU
    ]
    taken: set[int] = set()
    given: set[int] = set()
    for _, i, j in sorted(likely):
        if i not in taken and j not in given:
            taken.add(i)
            given.add(j)
    return len(taken)


class Grounding:
    """The boxes of two reports are compared; the rows are COLUMNS.

    >>> metric = Grounding()
    >>> left, right = Box(0.5, 0.0, 1.0, 1.0), Box(0.0, 0.0, 0.5, 1.0)
    >>> pair = Pair("s", "", "", {}, (Phrase("x", (left, right)),), (Phrase("x", (left,)),))
    >>> {key: float(value) for key, value in metric.scores(metric.rows([pair])[0]).items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'miou': 0.5, 'pixel_precision': 0.5, 'pixel_recall': 1.0, 'pixel_f1': 0.6666666666666666,
     'box_precision_50': 0.5, 'box_recall_50': 1.0}
    """

    def __init__(self) -> None:
        names = ("miou", "pixel_precision", "pixel_recall", "pixel_f1")
        self.spec = MetricSpec(
            version="2",
            keys={name: Key() for name in (*names, "box_precision_50", "box_recall_50")},
            signature=f"boxes:union,exact|match:greedy,1-1,IoU>={IOU:g}",
            headline=("miou", "pixel_f1", "box_precision_50", "box_recall_50"),
            boxes=True,
            group="grounding",
        )

    def rows(self, pairs: Sequence[Pair]) -> Array:
        table = np.full((len(pairs), len(COLUMNS)), np.nan)
        for row, pair in zip(table, pairs, strict=True):
            if pair.candidate_phrases is not None and pair.reference_phrases is not None:
                row[:] = _row(_boxes(pair.candidate_phrases), _boxes(pair.reference_phrases))
        return table

    def scores(self, total: Array) -> dict[str, Array]:
        part = {name: total[..., i] for i, name in enumerate(COLUMNS)}
        both, found = part["both_area"], part["partners"]
        areas = part["candidate_area"] + part["reference_area"]
        return {
            "miou": _ratio(part["iou"], part["with_boxes"]),
            "pixel_precision": _ratio(both, part["candidate_area"]),
            "pixel_recall": _ratio(both, part["reference_area"]),
            "pixel_f1": _ratio(2 * both, areas),
            "box_precision_50": _ratio(found, part["candidate_boxes"]),
            "box_recall_50": _ratio(found, part["reference_boxes"]),
        }


def areas(candidate: Sequence[Box], reference: Sequence[Box]) -> tuple[float, float, float]:
    """Return |C ∩ R|, |C| and |R| for the unions of two sets of boxes, as fractions of the image.

    Exact: the image is cut along every edge, so a box of any size has its own area.

    >>> areas([Box(0, 0, 0.5, 0.5), Box(0, 0, 0.5, 0.5)], [Box(0.25, 0, 0.5, 0.5)])
    (0.125, 0.25, 0.125)
    """
    boxes = [*candidate, *reference]
    xs = np.unique([edge for box in boxes for edge in (box.x_min, box.x_max)])
    ys = np.unique([edge for box in boxes for edge in (box.y_min, box.y_max)])
    covered = np.zeros((2, max(len(xs) - 1, 0), max(len(ys) - 1, 0)), np.bool_)
    for side, side_boxes in enumerate((candidate, reference)):
        for box in side_boxes:
            left, right = np.searchsorted(xs, (box.x_min, box.x_max))
            top, bottom = np.searchsorted(ys, (box.y_min, box.y_max))
            covered[side, left:right, top:bottom] = True
    cells = np.outer(np.diff(xs), np.diff(ys))
    ours, theirs = covered
    both, one, other = (float(cells[part].sum()) for part in (ours & theirs, ours, theirs))
    return both, one, other


def _row(candidate: Sequence[Box], reference: Sequence[Box]) -> list[float]:
    both, ours, theirs = areas(candidate, reference)
    either = ours + theirs - both
    return [
        both / either if either else 0.0,
        float(either > 0),
        both,
        ours,
        theirs,
        partners(candidate, reference),
        len(candidate),
        len(reference),
        1,
    ]


def _boxes(phrases: Sequence[Phrase]) -> list[Box]:
    return list(dict.fromkeys(box for phrase in phrases for box in phrase.boxes))


def _area(box: Box) -> float:
    return (box.x_max - box.x_min) * (box.y_max - box.y_min)


def _ratio(top: Array, bottom: Array) -> Array:
    """top / bottom, NaN where the denominator is 0."""
    ratio: Array = np.full(np.shape(top), np.nan)
    return np.divide(top, bottom, out=ratio, where=bottom > 0)
