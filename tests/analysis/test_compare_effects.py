"""Effect sizes: d_z on means, the bootstrap's on corpus scores, and the number of studies."""

from __future__ import annotations

import numpy as np
import pytest

from reportcard.api import Array
from reportcard.score.stats.effect_size import FEWEST, effects, power, studies_needed
from reportcard.score.stats.paired_difference import compare
from reportcard.score.stats.resampling import Resampler


def both(total: Array) -> dict[str, Array]:
    """A mean, and a ratio of sums that is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"mean": total[..., 0] / total[..., 2], "ratio": total[..., 0] / total[..., 1]}


def system(values: Array, below: Array) -> Array:
    return np.column_stack([values, below, np.ones(len(values))])[None]


def two(n: int, shift: float, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    a, below = rng.normal(0.5, 0.1, n), rng.uniform(1, 2, n)
    b = 0.5 * a + rng.normal(0.25, 0.1, n) - shift
    return system(a, below), system(b, below)


def test_a_mean_has_the_mean_difference_over_its_deviation() -> None:
    a, b = two(400, 0.03)
    found = compare(a, b, both, Resampler(400, 2000), trials=100)
    sizes = effects(a, b, both, found)
    d = a[0, :, 0] - b[0, :, 0]
    assert sizes["mean"].kind == "per study"
    assert sizes["mean"].size == pytest.approx(d.mean() / d.std(ddof=1), rel=1e-12)
    assert found["mean"].se == pytest.approx(d.std() / 20, rel=0.05)
    assert sizes["ratio"].kind == "corpus"
    assert sizes["ratio"].size == pytest.approx(found["ratio"].value / (20 * found["ratio"].se))
    # The two definitions measure one thing: on a mean they agree up to the bootstrap's noise.
    assert d.mean() / (20 * found["mean"].se) == pytest.approx(sizes["mean"].size, rel=0.05)


def test_unscored_studies_are_in_neither() -> None:
    a, b = two(50, 0.03)
    holed = a.copy()
    holed[0, 7] = np.nan
    keep = np.arange(50) != 7
    some = effects(holed, b, both, compare(holed, b, both, Resampler(50, 200), trials=10))
    rest = effects(
        a[:, keep], b[:, keep], both,
        compare(a[:, keep], b[:, keep], both, Resampler(49, 200), trials=10),
    )  # fmt: skip
    assert some["mean"].kind == "per study"
    assert some["mean"].size == pytest.approx(rest["mean"].size)


def test_what_does_not_vary_has_no_size() -> None:
    a, _ = two(30, 0.0)
    b = a - np.array([0.1, 0.0, 0.0])
    found = compare(a, b, both, Resampler(30, 200), trials=100)
    assert effects(a, b, both, found)["mean"].size is None
    same = compare(a, a, both, Resampler(30, 200), trials=100)
    assert effects(a, a, both, same)["mean"].size is None
    assert studies_needed(same["mean"].value, same["mean"].se, 30) is None


def test_patients_with_twins_need_twice_the_studies() -> None:
    a, b = two(300, 0.02)
    twice_a, twice_b = np.repeat(a, 2, axis=1), np.repeat(b, 2, axis=1)
    clusters = np.repeat(np.arange(300), 2)
    alone = compare(a, b, both, Resampler(300, 2000), trials=10)["mean"]
    twins = compare(twice_a, twice_b, both, Resampler(600, 2000, 0, clusters), trials=10)["mean"]
    assert twins.se == pytest.approx(alone.se)
    one, two_each = (studies_needed(d.value, d.se, d.n) for d in (alone, twins))
    assert one is not None
    assert two_each is not None
    assert two_each == pytest.approx(2 * one, abs=2)


def test_needed_studies_are_those_of_the_textbook() -> None:
    # d_z = 0.5: 32 pairs by the normal approximation (Cohen 1988, table 2.3.5 gives 34 with t).
    assert studies_needed(0.5, 1 / 10, 100) == 32
    assert power(0.5, 1 / 32**0.5) == pytest.approx(0.8, abs=0.01)
    assert studies_needed(9.0, 0.1, 100) == FEWEST
    assert studies_needed(float("nan"), 0.1, 100) is None
    assert power(0.0, 0.1) == pytest.approx(0.05)
