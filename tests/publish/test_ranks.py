"""Ranks: what the verdicts on all pairs leave open, with shares of a bootstrap by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reportcard.api import Array
from reportcard.publish.board import ranks
from reportcard.publish.board.build import collect
from reportcard.publish.board.ranks import joint_scores, rank_intervals, shares_first
from reportcard.publish.page.write import write
from reportcard.score.stats.pairwise import PairTest
from reportcard.score.stats.resampling import Clusters, Resampler
from tests.publish.test_leaderboard import Bench, edit

N, RESAMPLES, SEED = 40, 120, 7


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, n=40)


def mean(total: Array) -> dict[str, Array]:
    return {"mean": total[..., 0] / total[..., 1], "unused": total[..., 1]}


def system(rng: np.random.Generator, level: float, draws: int = 1) -> Array:
    values = rng.normal(level, 1.0, (draws, N))
    return np.stack([values, np.ones_like(values)], axis=-1)


def by_hand(systems: list[Array], clusters: Clusters | None) -> list[float]:
    """How often each comes first, by drawing studies one resample at a time and counting."""
    keep = ~np.any([np.isnan(s).any(axis=(0, 2)) for s in systems], axis=0)
    groups = np.arange(N) if clusters is None else clusters
    units = int(groups.max()) + 1
    found: list[list[int]] = [[] for _ in systems]
    rng = np.random.RandomState(SEED)
    for drawn in rng.randint(0, units, (RESAMPLES, units)):
        studies = [i for unit in drawn for i in np.flatnonzero(groups == unit) if keep[i]]
        values = [float(np.mean([draw[studies, 0].mean() for draw in s])) for s in systems]
        for place, value in zip(found, values, strict=True):
            place.append(1 + sum(other > value + 1e-9 for other in values))
    return [place.count(1) / RESAMPLES for place in found]


@pytest.mark.parametrize("of_patients", [False, True])
def test_shares_are_those_of_a_bootstrap_by_hand(of_patients: bool) -> None:
    rng = np.random.default_rng(0)
    systems = [
        system(rng, 0.0), system(rng, 0.1), system(rng, 0.2, draws=3), system(rng, 0.6),
    ]  # fmt: skip
    systems[1][0, [3, 17]] = np.nan
    clusters = np.sort(rng.integers(0, 15, N)) if of_patients else None
    if clusters is not None:
        clusters = np.unique(clusters, return_inverse=True)[1].astype(np.int64)
    rows = {f"s{i}": matrix for i, matrix in enumerate(systems)}
    scores, n = joint_scores(rows, mean, "mean", Resampler(N, RESAMPLES, SEED, clusters))
    assert n == N - 2
    found = shares_first(scores)
    assert found == pytest.approx(by_hand(systems, clusters), abs=1e-6)
    assert len(set(found)) > 1


def test_equals_share_the_first_place_and_a_score_that_is_nowhere_is_last() -> None:
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.5, 0.3], [np.nan, np.nan]])
    assert shares_first(scores) == [0.5, 0.5, 0.5, 0.0]


def pair(a: str, b: str, difference: float, told_apart: bool) -> PairTest:
    return PairTest(a, b, difference, None, None, 0.5, False, told_apart=told_apart)


def test_a_rank_is_what_the_verdicts_leave_open() -> None:
    tests = [pair("a", "b", 0.1, False), pair("a", "c", 0.3, True), pair("c", "b", -0.2, False)]
    found = rank_intervals(["a", "b", "c"], tests)
    assert {name: (r.low, r.high) for name, r in found.items()} == {
        **{"a": (1, 2), "b": (1, 3), "c": (2, 3)}
    }
    turned = rank_intervals(["a", "b", "c"], tests, sign=-1)
    assert (turned["a"].low, turned["a"].high, turned["c"].high) == (2, 3, 2)


def test_the_clearly_best_is_first_and_twins_share_a_rank(bench: Bench) -> None:
    bench.add("oracle", 0.0, kind="ceiling")
    bench.add("best", 0.02)
    bench.add("twin_a", 0.5, seed=4)
    bench.add("twin_b", 0.5, seed=4)
    bench.add("noise", 1.0, kind="floor")
    board = collect(bench.results_dir).to_json()["boards"][0]
    rank = {row["label"]: row["rank"] for row in board["rows"]}
    assert rank["oracle"] is None
    assert rank["best"] == {
        **{"key": board["primary"], "low": 1, "high": 1, "share_first": 1.0, "floor": False}
    }
    # The toys of one seed differ by label alone, so their answers are the same.
    assert rank["twin_a"] == rank["twin_b"]
    twin = rank["twin_a"]
    assert (twin["low"], twin["high"], twin["share_first"]) == (2, 2, 0.0)
    assert rank["noise"]["low"] == 4
    assert rank["noise"]["floor"]
    assert board["ranking"]["n"] == 40
    assert board["ranking"]["resamples"] == 200


def test_floors_alone_are_ranked(bench: Bench) -> None:
    bench.add("a", 0.2, kind="floor")
    bench.add("b", 0.9, kind="floor")
    rows = collect(bench.results_dir).to_json()["boards"][0]["rows"]
    assert [(r["label"], r["rank"]["low"], r["rank"]["floor"]) for r in rows] == [
        ("a", 1, True), ("b", 2, True),
    ]  # fmt: skip


def test_lower_is_better_turns_the_ranks(bench: Bench) -> None:
    systems = [bench.add("low", 0.9), bench.add("high", 0.1)]
    write(bench.results_dir)
    for one in systems:
        edit(
            bench.scores(one),
            lambda saved: [e.update(direction="lower") for e in saved["keys"].values()],
        )
    rows = collect(bench.results_dir).to_json()["boards"][0]["rows"]
    assert {r["label"]: r["rank"]["low"] for r in rows} == {"low": 1, "high": 2}


def test_a_second_build_ranks_nothing_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.add("a", 0.2)
    bench.add("b", 0.3)
    first = [path.read_bytes() for path in write(bench.results_dir)]

    def fail(*_: object) -> None:
        raise AssertionError("resampled")

    monkeypatch.setattr(ranks, "replicate_scores", fail)
    assert [path.read_bytes() for path in write(bench.results_dir)] == first
    bench.add("c", 0.4)
    with pytest.raises(AssertionError, match="resampled"):
        write(bench.results_dir)


def test_rows_that_cannot_be_read_say_so_instead_of_a_rank(bench: Bench) -> None:
    one = bench.add("a", 0.2)
    edit(bench.scores(one), lambda saved: saved.update(metric_fingerprint="0" * 64))
    board = collect(bench.results_dir).to_json()["boards"][0]
    assert board["rows"][0]["rank"] is None
    assert "has changed since" in board["ranking"]["unknown"]
