"""Box entailment against the numbers of RadFact's unit tests."""

from __future__ import annotations

import math

import pytest

from reportcard.api import Box, ReportCardError
from reportcard.metrics._boxes import box_precision, check_rule, draw, entailed

# tests/metric/test_radfact.py of RadFact at 72463ac: candidate and reference "The dog"
DOG = [Box(0.3, 0.3, 0.4, 0.4), Box(0.5, 0.5, 0.6, 0.6)]
# tests/metric/test_box_metrics.py there
B2, B3 = Box(0.2, 0.2, 0.4, 0.4), Box(0.5, 0.5, 0.7, 0.7)
B5, B6 = Box(0.3, 0.3, 0.5, 0.5), Box(0.4, 0.4, 0.6, 0.6)
B7, B8 = Box(0.1, 0.1, 0.4, 0.4), Box(0.7, 0.7, 0.9, 0.9)


def test_the_rules_differ_at_exactly_half() -> None:
    """The dog's boxes fill 968 cells, the evidence covers 484 of them."""
    assert draw(DOG).sum() == 968
    assert box_precision(DOG, DOG[:1]) == 0.5
    assert not entailed(DOG, DOG[:1])
    assert entailed(DOG, DOG[:1], ">=")


def test_upstream_numbers() -> None:
    assert box_precision([B5, B6], [B5, B6]) == 1.0
    assert box_precision([B3, B3], [B8, B8]) == 0.0
    assert round(box_precision([B5, B6], [B2, B7]), 2) == 0.14
    assert box_precision([B8], [Box(0.1, 0.1, 0.3, 0.3)]) == 0.0


def test_coverage_has_a_direction() -> None:
    whole = [Box(0, 0, 1, 1)]
    assert box_precision([B5], whole) == 1.0
    assert box_precision(whole, [B5]) == pytest.approx(0.2**2, rel=0.05)


def test_overlapping_boxes_count_their_union_once() -> None:
    assert draw([B5, B6]).sum() < draw([B5]).sum() + draw([B6]).sum()
    assert box_precision([B5, B5], [B5]) == 1.0


def test_width_and_height_are_not_swapped() -> None:
    wide = Box(0.0, 0.4, 1.0, 0.5)
    assert box_precision([Box(0.8, 0.4, 0.9, 0.5)], [wide]) == 1.0
    assert box_precision([Box(0.4, 0.8, 0.5, 0.9)], [wide]) == 0.0


def test_nothing_to_cover_or_to_cover_with_is_not_entailed() -> None:
    speck = [Box(0.5001, 0.5001, 0.5002, 0.5002)]
    assert math.isnan(box_precision(speck, [Box(0, 0, 1, 1)]))
    for rule in (">", ">="):
        assert not entailed(speck, [Box(0, 0, 1, 1)], rule)
        assert not entailed([B5], [], rule)
        assert not entailed([B5], speck, rule)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ReportCardError, match=r"'<'; there are > and >="):
        check_rule("<")
