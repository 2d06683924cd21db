"""Says why the interval of a difference between two systems is unreliable."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reportcard.api import Array, Metric
from reportcard.score.scorer import doubts_of
from reportcard.score.stats.paired_difference import Difference


def difference_doubts(
    metric: Metric, a: Array, b: Array, tests: Mapping[str, Difference]
) -> dict[str, str]:
    """Return per key why its interval is not to be relied on, over the studies that both have.

    Two systems with the same answers get no doubt: 0 [0, 0] is exact then.

    Args:
        metric: the metric, which may have reasons of its own.
        a, b: the rows of the two systems, (draws, n, k); a NaN row is unscored.
        tests: key → the comparison of the two.
    """
    if np.array_equal(a, b, equal_nan=True):
        return {}
    unscored = np.any([np.isnan(rows).any(axis=(0, 2)) for rows in (a, b)], axis=0)
    intervals = {
        key: {"value": test.value, "ci_low": test.low, "ci_high": test.high}
        for key, test in tests.items()
    }
    found: dict[str, str] = {}
    for rows in (a, b):
        found = doubts_of(metric, np.where(unscored[:, None], np.nan, rows), intervals) | found
    return found
