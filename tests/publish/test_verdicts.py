"""One family of comparisons: every view of a board gives one verdict on each pair of systems."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from reportcard.api import Array, Json
from reportcard.cli.main import main
from reportcard.publish.board.boards import Leaderboard
from reportcard.publish.page.matrix import matrix_of
from reportcard.publish.page.page import _board
from reportcard.publish.page.write import write
from reportcard.score.stats.family import FAMILY, family_tests
from reportcard.score.stats.paired_difference import holm
from reportcard.score.stats.resampling import Resampler
from tests.publish.test_leaderboard import Bench

RATES = {"a": 0.2, "b": 0.26, "c": 0.33, "d": 0.6}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Four models, a copy of one, many floors, one of which beats a model, and a ceiling."""
    bench = Bench(tmp_path)
    systems = [bench.add(label, rate, seed=i) for i, (label, rate) in enumerate(RATES.items())]
    systems.append(bench.add("copy_of_b", 0.26, seed=1))
    floors = (0.5, 0.7, 0.8, 0.85, 0.9, 0.95)
    systems += [bench.add(f"floor{i}", r, seed=9 + i, kind="floor") for i, r in enumerate(floors)]
    systems.append(bench.add("oracle", 0.0, kind="ceiling"))
    bench.current(*systems)
    return bench


def saved(bench: Bench) -> Json:
    found: Json = json.loads((bench.results_dir / "leaderboard/leaderboard.json").read_text())
    return found["boards"][0]


def of_json(board: Json) -> dict[frozenset[str], bool]:
    labels = {row["model"]: row["label"] for row in board["rows"]}
    return {frozenset((labels[p["a"]], labels[p["b"]])): p["told_apart"] for p in board["pairs"]}


def compared(bench: Bench, capsys: pytest.CaptureFixture[str], *words: str) -> Json:
    capsys.readouterr()
    given = [*words, "--json", "-", f"results_dir={bench.results_dir}", "metrics=bleu,rouge"]
    assert main(["compare", *given]) == 0
    found: Json = json.loads(capsys.readouterr().out)
    return found


def test_every_view_gives_the_same_verdict_on_every_pair(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    write(bench.results_dir)
    board = saved(bench)
    primary = board["primary"]
    verdicts = of_json(board)
    systems = [row["label"] for row in board["rows"] if row["kind"] != "ceiling"]
    assert set(verdicts) == {frozenset(pair) for pair in combinations(systems, 2)}
    assert {True, False} == set(verdicts.values())

    cells = {row["label"]: row["cells"][primary] for row in board["rows"]}
    best = next(label for label in systems if cells[label]["best"])
    for label in set(systems) - {best}:
        assert cells[label]["tied_with_best"] is not verdicts[frozenset((label, best))]

    for a, b in combinations(systems, 2):
        (cohort,) = compared(bench, capsys, a, b, "--metric", primary)["cohorts"]
        (row,) = cohort["rows"]
        assert row["told_apart"] is verdicts[frozenset((a, b))]

    (every,) = compared(bench, capsys, "--all", "--metric", primary)["boards"]
    assert of_json({**board, "pairs": every["pairs"]}) == verdicts

    shown = Leaderboard.from_json(
        json.loads((bench.results_dir / "leaderboard/leaderboard.json").read_text())
    )
    view = _board(shown.boards[0], shown.boards, set(), {})
    matrix = matrix_of(shown.boards[0], view.data.rows)
    assert matrix is not None
    names = [label for label, _ in matrix.systems]
    drawn = {frozenset((names[p[0]], names[p[1]])): bool(p[7]) for p in matrix.pairs}
    assert drawn == verdicts


def test_no_rank_contradicts_a_verdict(bench: Bench) -> None:
    write(bench.results_dir)
    board = saved(bench)
    ranks = {row["label"]: row["rank"] for row in board["rows"] if row["rank"]}
    for pair, apart in of_json(board).items():
        one, other = (ranks[label] for label in pair)
        if not apart:  # first in one view and beaten in another is what readers stumbled on
            assert {one["low"], one["high"]} != {1} or other["low"] == 1
        else:
            assert one["low"] != other["low"] or one["high"] != other["high"]


@pytest.mark.parametrize("metric", ["rouge.rouge_l", "bleu.bleu_1"])
def test_marks_of_other_columns_are_the_verdicts_of_compare(
    bench: Bench, capsys: pytest.CaptureFixture[str], metric: str
) -> None:
    write(bench.results_dir)
    board = saved(bench)
    cells = {
        row["label"]: row["cells"][metric] for row in board["rows"] if row["kind"] != "ceiling"
    }
    best = next(label for label, cell in cells.items() if cell["best"])
    for label in set(cells) - {best}:
        (cohort,) = compared(bench, capsys, label, best, "--metric", metric)["cohorts"]
        assert cells[label]["tied_with_best"] is not cohort["rows"][0]["told_apart"]


def test_a_ceiling_gets_no_verdict(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    (cohort,) = compared(bench, capsys, "oracle", "a", "--metric", "rouge.rouge_l")["cohorts"]
    assert cohort["rows"][0]["told_apart"] is None
    assert cohort["rows"][0]["p"] < 0.05
    assert (
        main(["compare", "oracle", "a", f"results_dir={bench.results_dir}", "metrics=rouge"]) == 0
    )


def test_the_family_is_said_wherever_a_verdict_is(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = " ".join(FAMILY.split())
    page = " ".join(bench.page().replace("&#39;", "'").split())
    assert sentence in page
    assert saved(bench)["pairs_about"]["family"] == FAMILY
    assert compared(bench, capsys, "a", "b")["family"] == FAMILY
    given = [f"results_dir={bench.results_dir}", "metrics=bleu,rouge"]
    for words in (["compare", "a", "b"], ["compare", "--all"], ["leaderboard"]):
        assert main([*words, *given]) == 0
        assert sentence in " ".join(capsys.readouterr().out.split())


def mean(total: Array) -> dict[str, Array]:
    return {"mean": total[..., 0] / total[..., 1]}


def rows(*levels: float, n: int = 80) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    base = rng.normal(0, 1, n)
    return {
        f"m{i}": np.stack([base + rng.normal(level, 1, n), np.ones(n)], axis=-1)[None]
        for i, level in enumerate(levels)
    }


def verdicts(given: dict[str, Array], floors: Iterator[str] | tuple[str, ...] = ()) -> Json:
    tests = family_tests(given, tuple(floors), mean, ["mean"], Resampler(80, 50), 500)["mean"]
    return {(t.a, t.b): t for t in tests}


def test_floors_and_copies_change_no_verdict_between_models() -> None:
    models = rows(0, 0.4, 0.8)
    alone = verdicts(models)
    more = {**models, "copy": models["m1"].copy()}
    more |= {f"floor{i}": x for i, x in enumerate(rows(-1, -2, -3, -4, n=80).values())}
    found = verdicts(more, tuple(name for name in more if name.startswith("floor")))
    for pair, test in alone.items():
        assert found[pair].p_holm == test.p_holm
    assert [t.p_holm for t in alone.values()] == holm([t.p for t in alone.values()])
    assert found["m0", "copy"].p_holm == found["m0", "m1"].p_holm
    turned = found["m2", "copy"] if ("m2", "copy") in found else found["copy", "m2"]
    assert abs(turned.difference) == pytest.approx(abs(found["m1", "m2"].difference))
    assert np.sign(turned.difference) == -np.sign(found["m1", "m2"].difference)
    assert not found["m1", "copy"].told_apart
    assert found["m0", "floor0"].family == "with a floor"


def test_of_floors_alone_each_pair_has_a_verdict() -> None:
    found = verdicts(rows(0, 0.05, 3), ("m0", "m1", "m2"))
    assert {pair: t.told_apart for pair, t in found.items()} == {
        **{("m0", "m1"): False, ("m0", "m2"): True, ("m1", "m2"): True}
    }
