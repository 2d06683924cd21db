"""Label arithmetic against scikit-learn, over random label tables."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_fscore_support

from reportcard.api import Pair, ReportCardError
from reportcard.metrics._label_f1 import CLASSES, FIVE, LABELS, LabelF1, label_scores, present


def pairs_of(candidate, reference, name="any"):
    return [
        Pair(str(i), "", "", {name: ({"labels": list(map(int, c))}, {"labels": list(map(int, r))})})
        for i, (c, r) in enumerate(zip(candidate, reference, strict=True))
    ]


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["neg", "pos"]),
    st.floats(0.0, 1.0),
)
def test_equals_sklearn(n, seed, uncertain, blank):
    rng = np.random.default_rng(seed)
    tables = rng.integers(0, 4, (2, n, 14))
    tables[rng.random(tables.shape) < blank] = 0  # tables with empty classes and empty studies
    metric = LabelF1("any", uncertain)
    found = metric.scores(metric.rows(pairs_of(*tables)).sum(0))
    assert set(found) == set(metric.spec.keys)
    c, r = present(tables, uncertain).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, part in (("14", list(range(14))), ("5", list(FIVE))):
            for average in ("micro", "macro", "weighted", "samples"):
                want = f1_score(r[:, part], c[:, part], average=average, zero_division=0)
                assert found[f"{average}_f1_{name}"] == pytest.approx(want, abs=1e-12)
            exact = (r[:, part] == c[:, part]).all(1).mean()
            assert found[f"exact_match_{name}"] == pytest.approx(exact, abs=1e-12)
        per_class = precision_recall_fscore_support(r, c, average=None, zero_division=0)
        flipped = precision_recall_fscore_support(1 - r, 1 - c, average=None, zero_division=0)
    for i, label in enumerate(CLASSES):
        for key, values in zip(("precision", "recall", "f1", "support"), per_class, strict=True):
            assert found[f"{label}.{key}"] == pytest.approx(values[i], abs=1e-12)
        # Specificity is the recall of absence.
        assert found[f"{label}.specificity"] == pytest.approx(flipped[1][i], abs=1e-12)


def test_policies_differ_only_in_uncertain():
    codes = np.array([[0, 1, 2, 3] + [0] * 10])
    assert present(codes, "neg")[0, :4].tolist() == [False, True, False, False]
    assert present(codes, "pos")[0, :4].tolist() == [False, True, False, True]


def test_by_hand():
    """Two studies: one class right, one missed, one invented; the other study empty on both."""
    blank = [0] * 14
    candidate, reference = list(blank), list(blank)
    candidate[1], candidate[4] = 1, 1
    reference[1], reference[9] = 1, 1
    metric = LabelF1("any")
    found = metric.scores(metric.rows(pairs_of([candidate, blank], [reference, blank])).sum(0))
    assert found["micro_f1_14"] == 0.5
    assert found["macro_f1_5"] == pytest.approx(1 / 5)
    assert found["macro_f1_14"] == pytest.approx(1 / 14)
    assert found["weighted_f1_14"] == 0.5
    assert found["samples_f1_5"] == 0.25
    assert found["exact_match_5"] == 0.5
    assert found["pleural_effusion.recall"] == 0
    assert found["edema.precision"] == 0
    assert found["edema.specificity"] == 0.5
    assert found["cardiomegaly.support"] == 1


def test_a_text_without_labels_is_unscored():
    note = {"labels": [1] * 14}
    pairs = [
        Pair("a", "", "", {"any": (note, None)}),
        Pair("b", "", "", {"any": (None, note)}),
        Pair("c", "", "", {"any": (note, note)}),
        Pair("d", "", ""),
    ]
    rows = LabelF1("any").rows(pairs)
    assert np.isnan(rows).all(1).tolist() == [True, True, False, True]


def test_scores_are_vectorised_over_leading_axes():
    rng = np.random.default_rng(0)
    tables = rng.integers(0, 4, (2, 30, 14))
    metric = LabelF1("any")
    rows = metric.rows(pairs_of(*tables))
    totals = np.stack([rows[:10].sum(0), rows[10:].sum(0)])[None]
    together = metric.scores(totals)
    for key, values in together.items():
        assert values.shape == (1, 2)
        np.testing.assert_equal(values[0, 1], metric.scores(totals[0, 1])[key])


def test_no_pairs():
    metric = LabelF1("any")
    assert metric.rows([]).shape == (0, 61)
    assert np.isnan(metric.scores(metric.rows([]).sum(0))["samples_f1_14"])


@pytest.mark.parametrize("labels", [[1] * 13, [4] * 14, [-1] * 14])
def test_malformed_notes_are_refused(labels):
    with pytest.raises(ReportCardError, match="14 codes"):
        LabelF1("any").rows([Pair("a", "", "", {"any": ({"labels": labels}, {"labels": labels})})])


def test_unknown_policy_is_refused():
    with pytest.raises(ReportCardError, match="neg, pos"):
        LabelF1("any", "ignore")


def test_names():
    assert len(LABELS) == len(CLASSES) == 14
    assert [LABELS[i] for i in FIVE] == [
        "Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion",
    ]  # fmt: skip


def test_labels_of_no_study_are_unknown_and_not_zero() -> None:
    assert all(np.isnan(value) for value in label_scores(np.zeros(61)).values())


# Macro average over supported classes ------------------------------------------------------------


def sample(n=60):
    """Rows of n studies: class 0 in all, class 1 in 12, class 2 in 9 of the references."""
    reference = np.zeros((n, 14), int)
    reference[:, 0] = 1
    reference[:12, 1] = 1
    reference[:9, 2] = 1
    candidate = reference.copy()
    candidate[:6, 1] = 0
    metric = LabelF1("any")
    return metric, metric.rows(pairs_of(candidate, reference))


def test_a_copy_scores_one_over_supported_classes_and_less_over_all():
    metric, _ = sample()
    labels = np.zeros((40, 14), int)
    labels[:20, 3] = 1
    total = metric.rows(pairs_of(labels, labels)).sum(axis=0)
    assert metric.scores(total)["macro_f1_supported_14"] == 1.0
    assert metric.scores(total)["macro_f1_14"] == pytest.approx(1 / 14)


def test_classes_are_chosen_by_the_sample_and_not_by_a_resample():
    metric, rows = sample()
    total = rows.sum(axis=0)
    scores = metric.scores_of_sample(total)
    f1 = 2 * 6 / (2 * 6 + 6)
    assert scores(total)["macro_f1_supported_14"] == pytest.approx((1 + f1) / 2)
    without = rows[20:].sum(axis=0)  # no study with class 1 is left
    assert scores(without)["macro_f1_supported_14"] == pytest.approx((1 + 0) / 2)
    assert metric.scores(without)["macro_f1_supported_14"] == 1.0


def test_no_supported_class_is_no_score():
    metric, rows = sample()
    assert np.isnan(metric.scores(rows[:5].sum(axis=0))["macro_f1_supported_14"])


def test_doubts_name_the_keys_that_rest_on_few_studies():
    metric, rows = sample()
    doubts = metric.doubts(rows.sum(axis=0))
    assert "12 of its 14 classes" in doubts["macro_f1_14"]
    assert "4 of its 5 classes" in doubts["macro_f1_5"]
    assert "9 studies" in doubts["lung_opacity.f1"]
    assert "cardiomegaly.f1" not in doubts
    assert "macro_f1_supported_14" not in doubts
    assert "micro_f1_14" not in doubts
