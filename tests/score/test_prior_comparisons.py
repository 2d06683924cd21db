"""Rules for comparisons with an earlier study, on invented sentences."""

from __future__ import annotations

import time

import pytest

from reportcard.score.details.prior_comparisons import comparison_in

COMPARES = [
    ("unchanged", "The cardiac silhouette is unchanged."),
    ("unchanged", "There is no significant interval change."),
    ("unchanged", "No change in the small effusion."),
    ("stable", "Stable mild cardiomegaly."),
    ("compared", "Compared to the earlier film the effusion is larger."),
    ("compared", "In comparison with ___, the lungs look clearer."),
    ("compared", "The nodule is similar to prior."),
    ("earlier study", "Not seen on the previous chest radiograph."),
    ("earlier study", "The tube was moved since the prior study."),
    ("earlier study", "The opacity is larger than on prior."),
    ("seen before", "Again noted is a calcified granuloma."),
    ("seen before", "The previously described mass is smaller."),
    ("seen before", "Redemonstration of old rib deformities."),
    ("interval", "Interval placement of a right line."),
    ("changed", "Improved aeration of the left base."),
    ("changed", "The effusion has slightly increased."),
    ("changed", "The right basal opacity has resolved."),
    ("persists", "Persistent blunting of the left angle."),
    ("persists", "The heart remains enlarged."),
    ("new", "No new consolidation."),
    ("new", "A newly\n placed tube ends at the carina."),
]
DESCRIBES = [
    "",
    "The lungs are clear. No effusion.",
    "No prior studies are available for comparison.",
    "There are no prior chest radiographs available for comparison. Clear lungs.",
    "No comparison studies available.",
    "Comparison: none. Normal heart.",
    "Evaluation is limited without a prior study for comparison.",
    "The patient is clinically stable.",
    "The left lung is small compared with the right.",
    "Increased interstitial markings, left worse than right.",
    "Degenerative changes of the spine.",
    "Sequelae of prior granulomatous disease and of prior sternotomy.",
    "Chronic elevation of the right hemidiaphragm.",
    "The remainder of the lungs is clear; remaining ribs are intact.",
    "Decreased lung volumes.",
    "A renewed look at the unstable-looking shadow shows a nipple.",
]


@pytest.mark.parametrize(("rule", "text"), COMPARES, ids=[text for _, text in COMPARES])
def test_a_comparison_is_found_by_its_rule(rule: str, text: str) -> None:
    assert comparison_in(text) == rule
    assert comparison_in(text.upper()) == rule


@pytest.mark.parametrize("text", DESCRIBES)
def test_what_needs_no_second_study_is_no_comparison(text: str) -> None:
    assert comparison_in(text) is None


def test_a_denial_does_not_hide_a_comparison_elsewhere() -> None:
    text = "No prior study is available. The effusion is unchanged."
    assert comparison_in(text) == "unchanged"


def test_a_hostile_text_of_50_kB_is_read_at_once() -> None:
    began = time.perf_counter()
    for text in ("chest portable ct " * 2800, "no prior chest " * 3500, "has have no " * 4200):
        assert comparison_in(text) is None
    assert time.perf_counter() - began < 2
