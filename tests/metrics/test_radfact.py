"""RadFact's arithmetic, against the numbers of its unit tests, and its failure policies."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from reportcard.api import Box, Json, Pair, Phrase, ReportCardError
from reportcard.metrics.radfact import Radfact

A, B = Box(0.1, 0.1, 0.2, 0.2), Box(0.3, 0.3, 0.4, 0.4)  # they do not touch
C = Box(0.5, 0.5, 0.6, 0.6)


def entry(text: str, *evidence: str, status: str | None = None, reason: str = "") -> Json:
    """A phrase of a note: entailed where there is evidence."""
    found = status or ("entailment" if evidence else "not_entailment")
    if reason:
        return {"text": text, "status": None, "evidence": [], "reason": reason}
    return {"text": text, "status": found, "evidence": list(evidence)}


def pair(
    candidate: Sequence[tuple[Json, Sequence[Box]]],
    reference: Sequence[tuple[Json, Sequence[Box]]],
    grounded: bool = True,
    **more: Any,
) -> Pair:
    note = {"candidate": [e for e, _ in candidate], "reference": [e for e, _ in reference], **more}
    sides = [tuple(Phrase(e["text"], tuple(b)) for e, b in s) for s in (candidate, reference)]
    texts = [" ".join(phrase.text for phrase in side) for side in sides]
    phrases = sides if grounded else (None, None)
    return Pair("s", *texts, {"radfact": (note, None)}, *phrases)


def animals(grounded: bool = True) -> Pair:
    """tests/metric/test_radfact.py of RadFact at 72463ac, the module's candidate and reference."""
    same = ("The cat", "The dog", "The bird")
    cat, dog, bird = (entry(text, text) for text in same)
    return pair(
        [(cat, [A]), (dog, [B, C]), (bird, []), (entry("The rabbit"), [])],
        [(cat, [A]), (dog, [B]), (bird, [C]), (entry("The shark"), [])],
        grounded,
    )


def scores(pairs: Sequence[Pair], **options: Any) -> dict[str, float]:
    metric = Radfact(**options)
    rows = metric.rows(pairs)
    total = rows[~np.isnan(rows).any(axis=1)].sum(axis=0)
    return {name: float(value) for name, value in metric.scores(total).items()}


def test_upstream_numbers_of_the_grounded_example() -> None:
    """test_nli_processing_with_endpoint; the dog's boxes are covered to exactly one half."""
    found = scores([animals()])
    assert found["logical_precision"] == found["logical_recall"] == found["logical_f1"] == 0.75
    for part in ("spatial", "grounding"):
        assert found[f"{part}_precision"] == 0.5
        assert found[f"{part}_recall"] == 2 / 3
        assert found[f"{part}_f1"] == pytest.approx(0.5714285714285715, abs=1e-15)


def test_at_least_half_entails_the_dog_too() -> None:
    found = scores([animals()], box_rule=">=")
    assert found["spatial_precision"] == found["grounding_precision"] == 1.0
    assert found["logical_f1"] == 0.75


def test_upstream_numbers_of_one_direction() -> None:
    """test_compute_radfact_score_oneway: 3/5 logical, 1/2 grounding, 1/3 spatial."""
    side = [
        (entry("entailed, no box", "bare"), []),
        (entry("entailed, right box", "boxed"), [A]),
        (entry("entailed, wrong box", "boxed"), [B]),
        (entry("not entailed, no box"), []),
        (entry("not entailed, box"), [A]),
    ]
    found = scores([pair(side, [(entry("bare"), []), (entry("boxed"), [A])])])
    assert found["logical_precision"] == 3 / 5
    assert found["grounding_precision"] == 1 / 2
    assert found["spatial_precision"] == 1 / 3


def test_narrative_reports_have_no_spatial_score() -> None:
    """Upstream prints 0.0 there (test_nli_processing_with_endpoint_and_report_to_phrases)."""
    found = scores([animals(grounded=False)])
    assert found["logical_f1"] == 0.75
    for name in ("spatial_f1", "grounding_recall", "micro_spatial_precision", "micro_grounding_f1"):
        assert np.isnan(found[name])


def test_f1_is_of_the_means_and_the_pooled_scores_go_by_their_own_name() -> None:
    one = pair([(entry("a", "a"), [])], [(entry("a", "a"), []), (entry("b"), [])])
    two = pair(
        [(entry("c"), []), (entry("d"), []), (entry("e"), [])], [(entry("f"), [])]
    )  # fmt: skip
    found = scores([one, two])
    assert found["logical_precision"] == 0.5
    assert found["logical_recall"] == 0.25
    assert found["logical_f1"] == pytest.approx(2 * 0.5 * 0.25 / 0.75)
    assert found["micro_logical_precision"] == 1 / 4
    assert found["micro_logical_recall"] == 1 / 3


def test_f1_of_nothing_right_is_0_and_of_an_undefined_side_is_undefined() -> None:
    wrong = pair([(entry("a"), [])], [(entry("b"), [])])
    assert scores([wrong])["logical_f1"] == 0.0
    empty = pair([], [(entry("b"), [])])
    found = scores([empty])
    assert np.isnan(found["logical_precision"])
    assert found["logical_recall"] == 0.0
    assert np.isnan(found["logical_f1"])


def test_empty_candidates_keep_precision_and_are_counted() -> None:
    found = scores([animals(), pair([], [(entry("b", status="not_entailment"), [C])])])
    assert found["logical_precision"] == 0.75
    assert found["logical_recall"] == 0.375
    assert found["spatial_recall"] == 1 / 3
    assert found["candidates_without_phrases"] == 0.5


def test_an_empty_answer_to_a_grounded_reference_is_a_grounded_empty_report() -> None:
    note = {"candidate": [], "reference": [entry("b")]}
    whole = Pair("s", " ", "b", {"radfact": (note, None)}, (), (Phrase("b", (A,)),))
    assert scores([whole])["spatial_recall"] == 0.0
    narrative = Pair("s", " ", "b", {"radfact": (note, None)}, None, (Phrase("b", (A,)),))
    assert np.isnan(scores([narrative])["spatial_recall"])


def test_a_narrative_answer_to_a_grounded_reference_has_no_spatial_score() -> None:
    note = {"candidate": [entry("b", "b")], "reference": [entry("b", "b")]}
    mixed = Pair("s", "b", "b", {"radfact": (note, None)}, None, (Phrase("b", (A,)),))
    found = scores([mixed])
    assert found["logical_recall"] == 1.0
    assert np.isnan(found["spatial_recall"])


def test_evidence_that_stands_twice_brings_the_boxes_of_both() -> None:
    """RadFact takes the first phrase of that text only, and would call this wrong."""
    found = scores(
        [
            pair(
                [(entry("An opacity.", "Opacity."), [B])],
                [(entry("Opacity.", "An opacity."), [A]), (entry("Opacity.", "An opacity."), [B])],
            )
        ]
    )
    assert found["spatial_precision"] == 1.0
    assert found["spatial_recall"] == 0.5


GAP = (entry("a", reason="no answer could be read"), [])
KNOWN = (entry("b", "b"), [])


def test_a_phrase_without_a_verdict_leaves_its_study_unscored() -> None:
    gap = pair([GAP, KNOWN], [KNOWN], unscored="no answer could be read")
    rows = Radfact().rows([gap, animals()])
    assert np.isnan(rows[0]).all()
    assert not np.isnan(rows[1]).any()


def test_upstream_counts_it_as_not_entailed_and_the_share_is_shown() -> None:
    gap = pair([GAP, KNOWN], [KNOWN], unscored="no answer could be read")
    found = scores([gap], failure_policy="upstream")
    assert found["logical_precision"] == 0.5
    assert found["phrases_without_verdict"] == 1 / 3


@pytest.mark.parametrize("flag", ["invalid", "again"])
def test_upstream_leaves_out_what_radfact_drops_and_what_may_still_be_answered(flag: str) -> None:
    gap = pair([GAP], [KNOWN], unscored="reason", **{flag: True})
    assert np.isnan(Radfact(failure_policy="upstream").rows([gap])).all()


def test_a_report_that_was_not_split_is_unscored_under_both_policies() -> None:
    note = {"candidate": None, "reference": None, "unscored": "reason", "invalid": True}
    broken = Pair("s", "x", "y", {"radfact": (note, None)})
    for policy in ("reportcard", "upstream"):
        assert np.isnan(Radfact(failure_policy=policy).rows([broken])).all()


def test_bounds_are_those_of_all_right_and_all_wrong() -> None:
    metric = Radfact()
    rows = metric.rows([animals()])
    best, worst = metric.extremes(rows)
    top, bottom = (metric.scores(rows[0] + row) for row in (best, worst))
    assert top["logical_precision"] == (0.75 + 1) / 2
    assert bottom["logical_precision"] == 0.75 / 2
    assert top["spatial_recall"] == pytest.approx((2 / 3 + 1) / 2)
    assert (top["candidates_without_phrases"], bottom["candidates_without_phrases"]) == (0, 0.5)
    assert np.isnan(top["micro_logical_f1"])


def test_bounds_invent_no_boxes() -> None:
    metric = Radfact()
    rows = metric.rows([animals(grounded=False)])
    for row in metric.extremes(rows):
        assert np.isnan(metric.scores(rows[0] + row)["spatial_f1"])
    for row, value in zip(metric.extremes(rows[:0]), (1.0, 0.0), strict=True):
        assert metric.scores(row)["logical_f1"] == value


def test_rows_keep_the_contract() -> None:
    metric = Radfact()
    pairs = [animals(), animals(grounded=False), pair([], [KNOWN])]
    rows = metric.rows(pairs)
    assert rows.dtype == np.float64
    apart = np.concatenate([metric.rows([one]) for one in pairs])
    assert np.array_equal(rows, apart)
    total = rows.sum(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stacked = metric.scores(np.stack([total, 2 * total, 0 * total]).reshape(3, 1, -1))
    assert set(stacked) == set(metric.spec.keys)
    for name, values in stacked.items():
        assert values.shape == (3, 1)
        assert values[0, 0] == pytest.approx(float(metric.scores(total)[name]))
        assert np.isnan(values[2, 0])


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ReportCardError, match="failure_policy 'ignore'"):
        Radfact(failure_policy="ignore")
    with pytest.raises(ReportCardError, match="box_rule"):
        Radfact(box_rule="iou")
