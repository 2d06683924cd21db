"""Decides whether the boxes of a phrase lie inside the boxes of its evidence, as RadFact does.

Boxes are drawn on a 224 × 224 grid, corners truncated to whole cells (RadFact
`src/radfact/metric/box_metrics.py`, `image_size` of `RadFactMetric`). The measure has a direction:
it is the share of the phrase's own area that the evidence covers, not an IoU, so evidence that
covers the whole image entails any box.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reportcard.api import Box, ReportCardError

GRID = 224
THRESHOLD = 0.5
# RadFact's code wants more than half; its README says "at least 50%". They differ at exactly 0.5.
RULES = {">": operator.gt, ">=": operator.ge}


def draw(boxes: Sequence[Box], grid: int = GRID) -> npt.NDArray[np.bool_]:
    """Return the union of boxes as a mask of shape (grid, grid); the first axis is x."""
    mask = np.zeros((grid, grid), np.bool_)
    for box in boxes:
        left, top = int(box.x_min * grid), int(box.y_min * grid)
        right, bottom = int(box.x_max * grid), int(box.y_max * grid)
        mask[left:right, top:bottom] = True
    return mask


def box_precision(boxes: Sequence[Box], evidence: Sequence[Box]) -> float:
    """Return the share of the area of `boxes` that `evidence` covers.

    It is NaN where the boxes are too small to fill a cell of the grid.

    >>> dog = [Box(0.3, 0.3, 0.4, 0.4), Box(0.5, 0.5, 0.6, 0.6)]
    >>> box_precision(dog, dog[:1])
    0.5
    """
    own = draw(boxes)
    area = int(own.sum())
    return int((own & draw(evidence)).sum()) / area if area else math.nan


def entailed(boxes: Sequence[Box], evidence: Sequence[Box], rule: str = ">") -> bool:
    """Return whether the evidence covers enough of the boxes.

    It does not where there is no evidence box, nor for boxes too small to fill a cell, since every
    comparison with NaN is false.
    """
    return bool(evidence) and RULES[rule](box_precision(boxes, evidence), THRESHOLD)


def check_rule(rule: str) -> str:
    """Return the rule. Raises ReportCardError for an unknown one."""
    if rule not in RULES:
        raise ReportCardError(f"box_rule '{rule}'; there are {' and '.join(RULES)}.")
    return rule
