"""Intervals and tests: exact agreement with SciPy and sacreBLEU, and behaviour on known cases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportcard.api import Array, Pair
from reportcard.metrics.bleu import Bleu
from reportcard.score.stats.paired_difference import compare, holm
from reportcard.score.stats.resampling import (
    Resampler,
    Subgroup,
    clusters_of,
    estimate,
    mask_unscored,
    replicate_scores,
    sacrebleu_interval,
)


def mean_score(total: Array) -> dict[str, Array]:
    return {"mean": total[..., 0] / total[..., 1]}


def macro_f1(total: Array) -> dict[str, Array]:
    """Mean over classes of 2tp/(2tp+fp+fn); a class that never occurs counts 0."""
    tp, fp, fn = (total[..., i::3] for i in range(3))
    below = 2 * tp + fp + fn
    return {"f1": np.divide(2 * tp, below, out=np.zeros_like(below), where=below > 0).mean(-1)}


def with_ones(values: Array) -> Array:
    return np.column_stack([values, np.ones(len(values))])[None]


@pytest.mark.parametrize("seed", [0, 3, 12345])
@pytest.mark.parametrize("n", [2, 37, 500])
def test_mean_interval_equals_scipy_exactly(n: int, seed: int) -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(n).random(n)
    theirs = bootstrap(
        (values,), np.mean, n_resamples=500, method="percentile", random_state=seed
    ).confidence_interval
    ours = estimate(with_ones(values), mean_score, Resampler(n, 500, seed))["mean"]
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-14)
    assert ours.value == pytest.approx(values.mean(), abs=1e-14)


@pytest.mark.parametrize("n", [20, 37, 500])
def test_bca_interval_equals_scipy(n: int) -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(n).random(n) ** 3  # skewed
    theirs = bootstrap(
        (values,), np.mean, n_resamples=500, method="BCa", random_state=4
    ).confidence_interval
    ours = estimate(with_ones(values), mean_score, Resampler(n, 500, 4, recipe="bca"))["mean"]
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    plain = estimate(with_ones(values), mean_score, Resampler(n, 500, 4))["mean"]
    assert (plain.low, plain.high) != (ours.low, ours.high)


def test_bca_of_a_ratio_of_sums_equals_scipy() -> None:
    from scipy.stats import bootstrap

    rng = np.random.default_rng(8)
    top = rng.integers(0, 2, 80).astype(float)
    bottom = top + rng.integers(0, 3, 80) + 0.5
    rows = np.column_stack([top, bottom])[None]
    theirs = bootstrap(
        (top, bottom),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        n_resamples=400, method="BCa", random_state=2, paired=True, vectorized=True,
    ).confidence_interval  # fmt: skip
    ours = estimate(rows, mean_score, Resampler(80, 400, 2, recipe="bca"))["mean"]
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_bca_of_a_perfect_score_is_the_score() -> None:
    found = estimate(with_ones(np.ones(40)), mean_score, Resampler(40, 200, recipe="bca"))["mean"]
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_the_jackknife_leaves_out_whole_patients() -> None:
    rows = np.arange(12.0).reshape(6, 2)
    clusters = clusters_of(["a", "a", "b", "c", "c", "c"])
    without = np.concatenate(list(Resampler(6, clusters=clusters).without_each(rows)))
    want = [rows[2:].sum(0), rows[[0, 1, 3, 4, 5]].sum(0), rows[:3].sum(0)]
    assert np.array_equal(without, np.array(want))
    places = np.array([1, 3, 4])
    part = Subgroup(Resampler(6, clusters=clusters), places)
    without = np.concatenate(list(part.without_each(rows[places])))
    assert np.array_equal(without, np.array([rows[[3, 4]].sum(0), rows[1]]))


def test_macro_f1_with_an_empty_class_equals_scipy_exactly() -> None:
    from scipy.stats import bootstrap

    rng = np.random.default_rng(5)
    counts = rng.integers(0, 2, (120, 14 * 3)).astype(float)
    counts[:, :3] = 0  # a class that never occurs
    theirs = bootstrap(
        (np.arange(120),),
        lambda index: macro_f1(counts[index.astype(int)].sum(axis=0))["f1"],
        n_resamples=500,
        method="percentile",
        random_state=3,
        vectorized=False,
    ).confidence_interval
    ours = estimate(counts[None], macro_f1, Resampler(120, 500, 3))["f1"]
    assert (ours.low, ours.high) == (theirs.low, theirs.high)


def test_sacrebleu_recipe_equals_sacrebleu(real_texts: list[str]) -> None:
    from sacrebleu.metrics import BLEU

    references, candidates = real_texts[:400], real_texts[1:401]
    theirs = BLEU().corpus_score(candidates, [references], n_bootstrap=500)
    pairs = [Pair("", c, r) for c, r in zip(candidates, references, strict=True)]
    metric = Bleu("sacre")
    resampler = Resampler(400, 500, seed=12345, recipe="sacrebleu")
    replicates = replicate_scores(metric.rows(pairs)[None], metric.scores, resampler)["bleu_4"]
    mean, half = sacrebleu_interval(replicates)
    # sacreBLEU sums in float32 (significance.py, _bootstrap_resample)
    assert mean == pytest.approx(theirs._mean, rel=1e-6)
    assert half == pytest.approx(theirs._ci, rel=1e-5)


@pytest.mark.parametrize("recipe", ["scipy", "sacrebleu"])
def test_blocks_draw_the_same_weights_as_one_draw(
    monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    rows = np.random.default_rng(0).integers(0, 9, (101, 3)).astype(float)
    whole = Resampler(101, 50, 7, recipe=recipe).totals(rows)  # type: ignore[arg-type]
    monkeypatch.setattr("reportcard.score.stats.resampling.BLOCK_BYTES", 8 * 101 * 7)
    monkeypatch.setattr("reportcard.score.stats.resampling.KEEP_BYTES", 0)
    blocks = Resampler(101, 50, 7, recipe=recipe).totals(rows)  # type: ignore[arg-type]
    assert np.array_equal(whole, blocks)


def test_patients_are_drawn_whole() -> None:
    clusters = clusters_of(["a", "b", "a", "c", "b"])
    assert clusters is not None
    resampler = Resampler(5, 200, 1, clusters)
    weights = resampler.totals(np.eye(5))
    assert np.array_equal(weights[:, 0], weights[:, 2])
    assert np.array_equal(weights[:, 1], weights[:, 4])
    assert resampler.unit == "patient"
    assert clusters_of(["a", "b"]) is None


def test_clustering_widens_the_interval_of_dependent_studies() -> None:
    patients = [str(i) for i in range(60) for _ in range(5)]
    values = np.repeat(np.random.default_rng(0).random(60), 5)
    free = estimate(with_ones(values), mean_score, Resampler(300, 500))["mean"]
    bound = estimate(with_ones(values), mean_score, Resampler(300, 500, 0, clusters_of(patients)))
    ratio = (bound["mean"].high - bound["mean"].low) / (free.high - free.low)
    assert 1.7 < ratio < 2.8  # √5 = 2.24 in expectation


def test_interval_covers_the_truth_about_95_percent_of_the_time() -> None:
    covered = 0
    for trial in range(300):
        values = np.random.default_rng(trial).normal(0.4, 1, 200)
        found = estimate(with_ones(values), mean_score, Resampler(200, 300, trial))["mean"]
        covered += found.low <= 0.4 <= found.high
    assert 0.91 <= covered / 300 <= 0.985


def test_unscored_rows_leave_the_mean_of_the_others() -> None:
    rows = with_ones(np.array([1.0, np.nan, 3.0]))
    masked, unscored = mask_unscored(rows)
    assert unscored.tolist() == [[False, True, False]]
    assert estimate(masked, mean_score, Resampler(3, 10))["mean"].value == 2.0


def test_draws_are_averaged_and_their_spread_is_given() -> None:
    rows = np.concatenate([with_ones(np.full(4, value)) for value in (1.0, 2.0, 6.0)])
    found = estimate(rows, mean_score, Resampler(4, 10))["mean"]
    assert (found.value, found.spread) == (3.0, pytest.approx(np.std([1, 2, 6], ddof=1)))


def exact_p(a: Array, b: Array) -> float:
    """Share of all 2^n swaps that reach the observed difference."""
    observed = abs((a - b).mean())
    signs = np.array(list(itertools.product([-1, 1], repeat=len(a))))
    return float((np.abs(signs @ (a - b) / len(a)) >= observed - 1e-12).mean())


def test_randomisation_p_agrees_with_the_exact_one() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random(9) + 0.25, rng.random(9)
    found = compare(with_ones(a), with_ones(b), mean_score, Resampler(9, 200), trials=20_000)
    exact = exact_p(a, b)
    assert found["mean"].p == pytest.approx(exact, abs=4 * np.sqrt(exact / 20_000) + 1e-3)
    assert found["mean"].value == pytest.approx((a - b).mean())


def test_five_reports_cannot_give_p_zero() -> None:
    """Two of the 32 sign patterns always reach |Δ|, so p is about 0.0625 or more.

    RadEval's documentation of compare_systems (radeval/utils.py) prints p = 0.0000 for 5 reports.
    """
    a, b = np.arange(5) + 1.0, np.zeros(5)
    p = compare(with_ones(a), with_ones(b), mean_score, Resampler(5), trials=10_000)["mean"].p
    assert p == pytest.approx(2 / 32, abs=0.01)


def test_identical_systems_have_p_one() -> None:
    a = with_ones(np.random.default_rng(0).random(30))
    found = compare(a, a, mean_score, Resampler(30), trials=100)["mean"]
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_p_is_small_and_never_zero_for_a_clear_difference() -> None:
    a, b = with_ones(np.ones(50)), with_ones(np.zeros(50))
    assert compare(a, b, mean_score, Resampler(50), trials=999)["mean"].p == 1 / 1000


def test_a_study_unscored_on_one_side_counts_on_neither() -> None:
    a, b = with_ones(np.array([1.0, 9.0, 3.0])), with_ones(np.array([0.0, np.nan, 2.0]))
    assert compare(a, b, mean_score, Resampler(3), trials=10)["mean"].value == 1.0


def test_one_draw_against_many() -> None:
    one = with_ones(np.full(6, 2.0))
    many = np.concatenate([with_ones(np.full(6, v)) for v in (1.0, 3.0)])
    assert compare(one, many, mean_score, Resampler(6), trials=10)["mean"].value == 0.0


def test_type_one_error_is_about_five_percent() -> None:
    rejected = 0
    for trial in range(200):
        rng = np.random.default_rng(trial)
        a, b = with_ones(rng.random(40)), with_ones(rng.random(40))
        resampler = Resampler(40, 10, trial)
        rejected += compare(a, b, mean_score, resampler, trials=300)["mean"].p < 0.05
    assert rejected / 200 <= 0.11


def test_holm_by_hand() -> None:
    # Holm 1979: 3·0.01, max(0.03, 2·0.02), max(…, 1·0.5)
    assert holm([0.02, 0.5, 0.01]) == pytest.approx([0.04, 0.5, 0.03])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_never_lowers_a_p_value_and_keeps_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(q >= p for p, q in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    ordered = [adjusted[i] for i in order]
    assert ordered == sorted(ordered)


def test_a_key_without_a_score_on_a_side_has_no_small_p() -> None:
    def ratio(total: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore"):
            return {"ratio": total[..., 0] / total[..., 1]}

    rng = np.random.default_rng(0)
    ours = np.column_stack([rng.random(30), np.ones(30)])[None]
    nothing = np.zeros((1, 30, 2))  # no study has anything to count
    found = compare(ours, nothing, ratio, Resampler(30, 100), trials=200)["ratio"]
    assert np.isnan(found.value)
    assert found.p == 1.0
    assert np.isnan(found.low)


def test_units_and_swaps_are_of_patients_where_a_patient_has_several_studies() -> None:
    patients = ["a", "b", "a", "c", "b"]
    by_study = Resampler(5, seed=3)
    by_patient = Resampler(5, seed=3, clusters=clusters_of(patients))
    assert (by_study.unit, by_study.units) == ("study", 5)
    assert (by_patient.unit, by_patient.units) == ("patient", 3)
    masks = np.concatenate(list(by_patient.swap_masks(200)))
    assert masks.shape == (200, 5)
    assert set(np.unique(masks)) == {0.0, 1.0}
    assert (masks[:, 0] == masks[:, 2]).all()
    assert (masks[:, 1] == masks[:, 4]).all()
    assert abs(masks.mean() - 0.5) < 0.1
    again = np.concatenate(list(by_patient.swap_masks(200)))
    assert (again == masks).all()
