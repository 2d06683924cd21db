"""F1-RadGraph from graphs made by hand: every level, both case policies, both families."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reportcard.api import Pair, ReportCardError
from reportcard.metrics.f1_radgraph import KEYS, F1RadGraph

# Anatomy "left lung" and "lungs", observations "effusion" and "small".
SMALL, EFFUSION, LUNG = "OBS-DP", "OBS-DP", "ANAT-DP"


def note(*entities: tuple[str, str, list[tuple[str, int]]]) -> dict[str, object]:
    """(tokens, label, relations) per entity; the positions do not matter to the scores."""
    return {
        "entities": [
            [t, label, i, i, [list(r) for r in rs]] for i, (t, label, rs) in enumerate(entities)
        ]
    }


CANDIDATE = note(
    ("Small", SMALL, [("modify", 1)]),
    ("effusion", EFFUSION, [("located_at", 2)]),
    ("left lung", LUNG, []),
    ("Heart", "ANAT-DP", []),
)
REFERENCE = note(
    ("small", SMALL, [("modify", 1)]),
    ("effusion", EFFUSION, [("located_at", 2)]),
    ("Left lung", LUNG, []),
    ("heart", "ANAT-DP", []),
    ("normal", "OBS-DP", [("located_at", 3)]),
)


def scores(candidate: object, reference: object, case: str = "cased") -> dict[str, float]:
    metric = F1RadGraph(case=case)
    pair = Pair("1", "c", "r", {"radgraph": (candidate, reference)})  # type: ignore[dict-item]
    return {k: float(v) for k, v in metric.scores(metric.rows([pair])[0]).items()}


def test_cased() -> None:
    """As written only "effusion" is shared; the third level lowers entities that have a relation.

    rg_e     {Small, effusion, left lung, Heart} ∩ {small, effusion, Left lung, heart, normal} = 1
    rg_bar   small→effusion and effusion→left lung are shared; left lung and Heart stay as written
    relation (Small, effusion, modify) and (effusion, left lung, located_at) differ in case
    """
    found = scores(CANDIDATE, REFERENCE)
    assert found["rg_e"] == pytest.approx(2 * 1 / (4 + 5))
    assert found["rg_er"] == pytest.approx(2 * 1 / (4 + 5))
    assert found["rg_bar_er"] == pytest.approx(2 * 2 / (4 + 5))
    assert found["entity_f1"] == found["rg_e"]
    assert found["relation_f1"] == 0
    assert found["entity_relation_f1"] == pytest.approx(1 / 9)


def test_lower() -> None:
    found = scores(CANDIDATE, REFERENCE, "lower")
    assert found["rg_e"] == pytest.approx(2 * 4 / 9)
    assert found["rg_er"] == pytest.approx(2 * 4 / 9)
    assert found["rg_bar_er"] == pytest.approx(2 * 4 / 9)
    assert found["relation_f1"] == pytest.approx(2 * 2 / (2 + 3))
    assert found["entity_relation_f1"] == pytest.approx((8 / 9 + 4 / 5) / 2)


def test_levels_differ_by_what_a_relation_counts() -> None:
    """Same entities; one relation points elsewhere, one is missing."""
    candidate = note(
        ("mild", "OBS-DP", [("modify", 1)]),
        ("edema", "OBS-DP", [("located_at", 2)]),
        ("lungs", LUNG, []),
    )
    reference = note(
        ("mild", "OBS-DP", [("modify", 2)]), ("edema", "OBS-DP", []), ("lungs", LUNG, [])
    )
    found = scores(candidate, reference)
    assert found["rg_e"] == 1
    assert found["rg_er"] == pytest.approx(2 / 3)
    assert found["rg_bar_er"] == pytest.approx(1 / 3)
    assert found["relation_f1"] == 0
    assert found["entity_relation_f1"] == 0.5


def test_an_entity_with_two_relations_counts_twice_at_the_third_level() -> None:
    graph = note(("opacity", "OBS-U", [("located_at", 1), ("modify", 1)]), ("base", LUNG, []))
    one = note(("opacity", "OBS-U", [("located_at", 1)]), ("base", LUNG, []))
    assert scores(graph, one)["rg_bar_er"] == pytest.approx(2 * 2 / (3 + 2))


def test_the_label_counts() -> None:
    found = scores(note(("effusion", "OBS-DP", [])), note(("effusion", "OBS-DA", [])))
    assert all(value == 0 for value in found.values())


def test_a_repeated_entity_counts_once() -> None:
    twice = note(("clear", "OBS-DP", []), ("clear", "OBS-DP", []))
    assert scores(twice, note(("clear", "OBS-DP", [])))["rg_e"] == 1


def test_identical_reports_without_a_relation_score_half_in_family_2() -> None:
    graph = note(("clear", "OBS-DP", []))
    found = scores(graph, graph)
    assert (found["rg_e"], found["rg_er"], found["rg_bar_er"]) == (1, 1, 1)
    assert (found["entity_f1"], found["relation_f1"], found["entity_relation_f1"]) == (1, 0, 0.5)


@pytest.mark.parametrize("other", [note(), note(("clear", "OBS-DP", []))])
def test_a_report_without_an_entity_scores_0(other: object) -> None:
    assert set(scores(note(), other).values()) == {0.0}
    assert set(scores(other, note()).values()) == {0.0}


def test_a_missing_note_is_unscored_and_the_mean_is_over_reports() -> None:
    metric = F1RadGraph(annotator="radgraph-xl")
    graph, empty = note(("clear", "OBS-DP", [])), note()
    notes = [(graph, graph), (empty, graph), (None, graph), (graph, None)]
    rows = metric.rows(
        [Pair(str(i), "c", "r", {"radgraph-xl": n}) for i, n in enumerate(notes)]  # type: ignore[dict-item]
    )
    assert np.isnan(rows).all(axis=1).tolist() == [False, False, True, True]
    assert metric.scores(np.nansum(rows, axis=0))["rg_e"] == 0.5
    assert math.isnan(metric.scores(np.zeros(len(KEYS) + 1))["rg_e"])
    assert metric.rows([]).shape == (0, len(KEYS) + 1)


def test_variants_are_named() -> None:
    assert F1RadGraph().spec.signature != F1RadGraph(case="lower").spec.signature
    assert F1RadGraph(annotator="radgraph-xl").spec.annotators == ("radgraph-xl",)
    with pytest.raises(ReportCardError, match="uncased"):
        F1RadGraph(case="uncased")
