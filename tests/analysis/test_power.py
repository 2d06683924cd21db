"""`power` keeps its word: at the n it names, the real paired test rejects as often as it says."""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from reportcard.api import Array
from reportcard.cli.main import main
from reportcard.score.stats.effect_size import power, studies_needed
from reportcard.score.stats.family import family_tests
from reportcard.score.stats.paired_difference import compare, holm
from reportcard.score.stats.pilot import Pilot, pilots
from reportcard.score.stats.resampling import Clusters, Resampler
from tests.analysis.test_compare_effects import both, two
from tests.cli.test_cli import options


@pytest.mark.parametrize("key", ["mean", "ratio"])
def test_at_the_n_said_the_real_test_rejects_in_four_of_five(key: str) -> None:
    """Samples are drawn from a cohort whose difference and variance power was told."""
    a, b = two(400, 0.014, seed=3)
    found = compare(a, b, both, Resampler(400, 4000), trials=1)[key]
    n = studies_needed(found.value, found.se, found.n)
    assert n is not None
    assert 100 < n < 1000
    rng = np.random.default_rng(0)
    rejected = 0
    for round_ in range(600):
        drawn = rng.integers(0, 400, n)
        p = compare(a[:, drawn], b[:, drawn], both, Resampler(n, 1, round_), trials=199)[key].p
        rejected += p <= 0.05
    assert rejected / 600 == pytest.approx(0.8, abs=0.05)


def test_of_patients_with_several_studies_too() -> None:
    a, b = two(300, 0.02, seed=5)
    a, b = np.repeat(a, 2, axis=1), np.repeat(b, 2, axis=1)
    groups = np.repeat(np.arange(300), 2)
    found = compare(a, b, both, Resampler(600, 4000, 0, groups), trials=1)["mean"]
    n = studies_needed(found.value, found.se, 600)
    assert n is not None
    rng, rejected, patients = np.random.default_rng(1), 0, math.ceil(n / 2)
    for round_ in range(400):
        drawn = rng.integers(0, 300, patients)
        rows = np.column_stack([2 * drawn, 2 * drawn + 1]).ravel()
        sampler = Resampler(2 * patients, 1, round_, np.repeat(np.arange(patients), 2))
        p = compare(a[:, rows], b[:, rows], both, sampler, trials=199)["mean"].p
        rejected += p <= 0.05
    assert rejected / 400 == pytest.approx(0.8, abs=0.05)


def systems(count: int, n: int, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    base = rng.normal(0.5, 0.1, n)
    return {
        f"m{i}": np.column_stack(
            [base + rng.normal(0.01 * i, 0.1, n), rng.uniform(1, 2, n), np.ones(n)]
        )[None]
        for i in range(count)
    }


def test_a_matrix_says_of_each_pair_what_compare_says() -> None:
    rows = systems(4, 150)
    rows["m3"][0, :5] = np.nan  # unscored studies: this row's pairs are over the others
    sampler = Resampler(150, 500)
    found = family_tests(rows, (), both, ["ratio"], sampler, trials=4000)["ratio"]
    assert [(t.a, t.b) for t in found] == list(combinations(rows, 2))
    for test in found:
        alone = compare(rows[test.a], rows[test.b], both, sampler, 4000)["ratio"]
        assert test.difference == pytest.approx(alone.value, abs=1e-12)
        assert (test.low, test.high) == pytest.approx((alone.low, alone.high), abs=1e-12)
        assert test.p == pytest.approx(alone.p, abs=0.03)
    assert [t.p_holm for t in found] == holm([t.p for t in found])


def test_few_trials_can_still_tell_many_pairs_apart() -> None:
    rows = systems(8, 400)
    tests = family_tests(rows, (), both, ["mean"], Resampler(400, 100), 200)["mean"]
    found = {(t.a, t.b): t for t in tests}
    far, near = found["m0", "m7"], found["m0", "m1"]
    assert far.tail
    assert far.p < 1 / 201
    assert far.p_holm < 0.001
    assert not near.tail
    assert near.p_holm > 0.05
    # Of five studies no sign pattern is rarer than 2 in 32, whatever a normal tail says.
    few = {m: x[:, :5].copy() for m, x in systems(2, 5).items()}
    few["m1"][0, :, 0] += 10 + np.arange(5) * 1e-9
    (small,) = family_tests(few, (), both, ["mean"], Resampler(5, 50), 10)["mean"]
    assert small.p >= 2 / 32


@pytest.fixture
def ran(tmp_path: Path, mini_data: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    chosen = options(mini_data, tmp_path / "r", "metrics=bleu,rouge")
    models = "model=fixed_normal_report,reference_oracle,indication_retrieval"
    assert main(["run", *chosen, models]) == 0
    capsys.readouterr()
    return chosen


def test_power_of_two_rows_and_of_one(
    ran: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "power.json"
    rows = ["fixed_normal_report", "indication_retrieval"]
    words = ["power", *rows, "--metric", "rouge.rouge_l", "--json", str(out)]
    assert main([*words, *ran]) == 0
    assert "studies for 80 %" in capsys.readouterr().out
    (plan,) = json.loads(out.read_text())["cohorts"][0]["keys"]
    assert plan["studies_80"] < plan["studies_90"]
    assert plan["n"] == 5
    assert plan["studies_80_interval"][0] <= plan["studies_80"]
    assert "5 studies is too small" in plan["caution"]
    given = []
    for part in (1, 2):
        difference = ["--difference", str(plan["difference"] / part)]
        assert main([*words, *difference, *ran]) == 0
        given += json.loads(out.read_text())["cohorts"][0]["keys"]
    assert given[1]["studies_80"] == pytest.approx(4 * given[0]["studies_80"], abs=8)
    assert given[1]["detectable_80"] == plan["detectable_80"]
    # The observed difference is uncertain itself, so that to count on it takes more studies.
    assert plan["studies_80"] > given[0]["studies_80"]
    one = ["power", rows[0], "--metric", "rouge", "--difference", "0.05", "--json", str(out)]
    assert main([*one, *ran]) == 0
    free = json.loads(out.read_text())["cohorts"][0]["keys"]
    assert main([*one, "--correlation", "0.75", *ran]) == 0
    tied = json.loads(out.read_text())["cohorts"][0]["keys"]
    assert [k["se"] for k in tied] == pytest.approx([k["se"] / 2 for k in free])
    capsys.readouterr()
    assert main(["power", rows[0], *ran]) == 2
    assert "--difference" in capsys.readouterr().err
    rouge = ["--difference", "0.1", "--metric", "rouge"]
    assert main(["power", rows[0], *rouge, "--correlation", "1", *ran]) == 2
    assert "--correlation" in capsys.readouterr().err
    assert main(["power", "fixed_normal", *rouge, *ran]) == 2
    assert "Did you mean fixed_normal_report" in capsys.readouterr().err


def test_compare_as_json_and_all_pairs(
    ran: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_rows = ["compare", "reference_oracle", "fixed_normal_report", "--trials", "50"]
    assert main([*two_rows, "--metric", "rouge", "--json", "-", *ran]) == 0
    (board,) = json.loads(capsys.readouterr().out)["cohorts"]
    row = next(r for r in board["rows"] if r["key"] == "rouge.rouge_l")
    assert row["effect_of"] == "per study"
    assert row["effect"] > 0
    assert row["studies_needed"] >= 6
    assert main(["compare", "--all", "--metric", "rouge", *ran]) == 0
    out = capsys.readouterr().out
    assert "rouge.rouge_l on openi_findings@" in out
    assert "of 1 pairs" in out  # the ceiling does not compete
    assert main(["compare", "reference_oracle", *ran]) == 2
    assert main(["compare", "--all", "--metric", "nothing", *ran]) == 2
    page = json.loads(next(tmp_path.glob("r/leaderboard/leaderboard.json")).read_text())
    pairs, about = page["boards"][0]["pairs"], page["boards"][0]["pairs_about"]
    assert about["key"] == page["boards"][0]["primary"]
    assert {"a", "b", "difference", "low", "high", "p", "p_holm"} <= set(pairs[0])


@pytest.mark.parametrize(
    "names", [("fixed_normal_report",), ("fixed_normal_report", "indication_retrieval")]
)
def test_a_difference_is_in_the_unit_of_one_score(
    names: tuple[str, ...], ran: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """0.01 is large for ROUGE from 0 to 1, and nothing for BLEU from 0 to 100."""
    assert main(["power", *names, "--difference", "0.01", *ran]) == 2
    said = capsys.readouterr().err
    assert "several" in said
    assert "percent from 0 to 100" in said
    assert "--metric" in said
    for metric in ("bleu", "rouge", "bleu.bleu_4"):
        assert main(["power", *names, "--difference", "0.01", "--metric", metric, *ran]) == 0
    capsys.readouterr()
    assert main(["power", *names, "--difference", "2", "--metric", "rouge.rouge_l", *ran]) == 2
    assert "from 0 to 1" in capsys.readouterr().err
    assert main(["power", *names, "--difference", "2", "--metric", "bleu.bleu_4", *ran]) == 0


def pilot_of(a: Array, b: Array, key: str, seed: int, groups: Clusters | None = None) -> Pilot:
    n = a.shape[1]
    return pilots(a, b, both, Resampler(n, 200, seed, groups), n)[key]


@pytest.mark.parametrize("key", ["mean", "ratio"])
def test_pilots_of_200_keep_the_promise_on_average(key: str) -> None:
    """The real power is that of the population; the plug-in answer of the same pilots misses it."""
    a, b = two(4000, 0.011, seed=7)
    whole = pilot_of(a, b, key, 0)
    difference = float(whole.differences.mean())
    spread = float(whole.errors.mean()) * math.sqrt(4000)
    truth = studies_needed(difference, spread / math.sqrt(4000), 4000)
    assert truth is not None
    assert 400 < truth < 1500
    real, plug_in, held = [], [], []
    for i in range(120):
        drawn = np.random.default_rng(i).integers(0, 4000, 200)
        pilot = pilot_of(a[:, drawn], b[:, drawn], key, i)
        needed, interval = pilot.needed(), pilot.interval()
        assert needed is not None
        assert interval is not None
        real.append(power(difference, spread / math.sqrt(needed)))
        seen = both(a[:, drawn].sum(axis=1))[key] - both(b[:, drawn].sum(axis=1))[key]
        m = studies_needed(float(seen.mean()), float(pilot.errors.mean()), 200)
        plug_in.append(power(difference, spread / math.sqrt(m or 10**9)))
        held.append(interval[0] <= truth <= (interval[1] or 10**9))
    assert np.mean(real) == pytest.approx(0.8, abs=0.1)
    assert np.mean(plug_in) < 0.74
    assert np.mean(held) > 0.88


def test_standard_errors_of_resamples_vary_around_that_of_the_pilot() -> None:
    a, b = two(300, 0.014, seed=3)
    pilot = pilot_of(a, b, "mean", 0)
    assert pilot.errors.mean() == pytest.approx(pilot.differences.std(ddof=1), rel=0.02)
    # The standard error of a mean varies as the sample's standard deviation does.
    d = (a - b)[0, :, 0]
    weights = Resampler(300, 200, 0).weights
    each = np.sqrt(weights @ d**2 / 300 - (weights @ d / 300) ** 2) / d.std()
    assert pilot.errors / pilot.errors.mean() == pytest.approx(each / each.mean(), rel=1e-6)
    twice = [np.repeat(x, 2, axis=1) for x in (a, b)]
    doubled = pilot_of(*twice, "mean", 0, np.repeat(np.arange(300), 2))
    assert doubled.errors == pytest.approx(pilot.errors)


def test_a_pilot_that_cannot_say_says_so() -> None:
    a, b = two(400, 0.014, seed=3)
    enough = pilot_of(a, b, "mean", 0)
    assert enough.caution() is None
    assert "too small" in str(pilot_of(a[:, :199], b[:, :199], "mean", 0).caution())
    assert "10 times" in str(enough.at(1e-4).caution())
    doubted = pilots(a, b, both, Resampler(400, 200), 400, {"mean": "3 classes are rare"})
    assert doubted["mean"].needed() is None
    assert doubted["mean"].interval() is None
    assert "3 classes are rare" in str(doubted["mean"].caution())
    assert doubted["ratio"].needed() is not None
    same = pilot_of(a, a, "mean", 0)
    assert same.needed() is None
    assert same.interval() is None


def test_an_average_over_rare_classes_is_refused(
    mini_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = options(mini_data, tmp_path / "r", "metrics=f1_chexpert_rules")
    assert main(["run", *chosen, "model=fixed_normal_report,indication_retrieval"]) == 0
    capsys.readouterr()
    key = "f1_chexpert_rules.macro_f1_14"
    words = ["power", "fixed_normal_report", "--metric", key, "--difference", "0.1"]
    assert main([*words, "--json", "-", *chosen]) == 0
    (plan,) = json.loads(capsys.readouterr().out)["cohorts"][0]["keys"]
    assert plan["studies_80"] is None
    assert "classes have under" in plan["caution"]
