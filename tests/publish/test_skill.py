"""Skill: each value between the best floor and the ceiling of its column."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import bootstrap

from reportcard.api import Array
from reportcard.core.files import file_digest
from reportcard.core.layout import Results
from reportcard.publish.board import skill as skill_module
from reportcard.publish.board.boards import Board, Leaderboard
from reportcard.publish.board.build import boards_of, collect
from reportcard.publish.board.skill import SENTENCE, with_skill
from reportcard.publish.page import page
from reportcard.publish.page.terminal_board import render
from reportcard.publish.page.write import tidy, write_leaderboard
from reportcard.score.rows_file import load_rows, npz
from tests.publish.test_leaderboard import Bench, edit

KEYS = ("bleu.bleu_4", "rouge.rouge_l")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("skill"))
    bench.add("system", 0.3, seed=1)
    bench.add("sampled", 0.4, seed=2, draws=2)
    bench.add("floor", 0.7, seed=3, kind="floor")
    bench.add("lower_floor", 0.9, seed=4, kind="floor")
    bench.add("oracle", 0.0, kind="ceiling", sees_references=True)
    return bench


def only(bench: Bench) -> Board:
    [board] = collect(bench.results_dir).boards
    return board


def by_label(board: Board, key: str) -> dict[str, tuple[float, float | None, float | None]]:
    found = (board.skill or {})[key].systems
    labels = {entry.model: entry.label for entry in board.entries}
    return {labels[model]: (s.value, s.low, s.high) for model, s in found.items()}


@pytest.mark.parametrize("key", KEYS)
def test_the_best_floor_is_0_and_the_reference_is_1(filled: Bench, key: str) -> None:
    board = only(filled)
    found = by_label(board, key)
    values = {e.label: e.cells[key].value or 0.0 for e in board.entries}
    assert found["floor"] == (0.0, None, None)
    assert found["oracle"] == (1.0, None, None)
    for label in ("system", "sampled", "lower_floor"):
        at = (values[label] - values["floor"]) / (values["oracle"] - values["floor"])
        value, low, high = found[label]
        assert value == pytest.approx(at)
        assert low is not None
        assert high is not None
        assert low < value < high
    assert found["lower_floor"][0] < 0 < found["sampled"][0] < found["system"][0] < 1


def test_the_interval_is_that_of_scipy_on_the_whole_ratio(filled: Bench) -> None:
    """value, floor and ceiling of the same studies, drawn together; BCa, as the protocol says."""
    board = only(filled)
    scorer = next(s for s in filled.scorers if s.label == "rouge")
    results = Results(filled.results_dir)
    rows = {
        entry.label: load_rows(results.metric(board.run(entry.model), "rouge").path)[1]
        for entry in board.entries
    }

    def score(label: str, drawn: Array) -> float:
        of = [scorer.metric.scores(draw[drawn].sum(axis=0))["rouge_l"] for draw in rows[label]]
        return float(np.mean(of))

    # A mean over draws can equal the point up to rounding, which is half a resample to the bias.
    for label, close in (("system", 1e-9), ("sampled", 1e-3)):

        def ratio(drawn: Array, label: str = label) -> float:
            drawn = drawn.astype(int)
            floor, ceiling = score("floor", drawn), score("oracle", drawn)
            return (score(label, drawn) - floor) / (ceiling - floor)

        expected = bootstrap(
            (np.arange(60),),
            ratio,
            n_resamples=200,
            vectorized=False,
            method="BCa",
            random_state=np.random.RandomState(0),
        ).confidence_interval
        _, low, high = by_label(board, "rouge.rouge_l")[label]
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=close)


def test_lower_is_better_gives_the_same_scale(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    systems = [
        bench.add("good", 0.7, seed=1),
        bench.add("floor", 0.3, seed=2, kind="floor"),
        bench.add("best", 1.0, seed=3, kind="ceiling"),  # as if BLEU counted errors
    ]
    for one in systems:
        edit(
            bench.scores(one),
            lambda saved: [e.update(direction="lower") for e in saved["keys"].values()],
        )
    found = by_label(only(bench), "bleu.bleu_4")
    assert found["floor"][0] == 0
    assert found["best"][0] == 1
    assert 0 < found["good"][0] < 1


@pytest.mark.parametrize(
    ("kinds", "why"),
    [
        ({"floor": "model"}, "no floor has a score"),
        ({"oracle": "model"}, "no ceiling has a score"),
        ({"oracle": "floor", "floor": "ceiling"}, "the ceiling is not better than the best floor"),
    ],
)
def test_what_is_undefined_says_why(filled: Bench, kinds: dict[str, str], why: str) -> None:
    [board] = boards_of(filled.results_dir)
    kept = [entry for entry in board.entries if entry.label != "lower_floor"]
    entries = tuple(replace(e, kind=kinds.get(e.label, e.kind)) for e in kept)
    [found] = with_skill(filled.results_dir, [replace(board, entries=entries)])
    skill = (found.skill or {})["bleu.bleu_4"]
    assert skill.unknown == why
    assert skill.systems == {}
    column = replace(Leaderboard(2, (found,)))
    assert f"bleu.bleu_4: no skill: {why}" in shown(column)
    assert SENTENCE not in page.render(column)  # nothing to toggle


def test_a_resample_without_room_between_floor_and_ceiling_is_a_doubt(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.add("system", 0.012, seed=1)
    bench.add("floor", 0.002, seed=2, kind="floor")  # differs in one study
    bench.add("oracle", 0.0, kind="ceiling", sees_references=True)
    board = only(bench)
    found = (board.skill or {})["bleu.bleu_4"]
    model = next(e.model for e in board.entries if e.label == "system")
    assert "the ceiling is not better than the floor in" in (found.systems[model].doubt or "")


def test_a_second_build_computes_no_skill_anew(
    tmp_path: Path, filled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = collect(filled.results_dir)
    write_leaderboard(found, filled.results_dir)

    def fail(*_: object) -> None:
        raise AssertionError("resampled")

    monkeypatch.setattr(skill_module, "replicate_scores", fail)
    assert collect(filled.results_dir) == found


def test_only_studies_that_all_three_have_scored_count(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    systems = {
        "system": bench.add("system", 0.3, seed=1),
        "floor": bench.add("floor", 0.8, seed=2, kind="floor"),
        "oracle": bench.add("oracle", 0.0, kind="ceiling", sees_references=True),
    }
    matrices = {}
    for label, unscored in (("system", 3), ("floor", 7), ("oracle", 11)):
        path = bench.scores(systems[label], "rouge")
        ids, values, _ = load_rows(path.parent)
        values[:, unscored] = np.nan
        (path.parent / "rows.npz").write_bytes(npz(ids, values, None))
        sha256 = file_digest(path.parent / "rows.npz")
        edit(path, lambda saved, sha256=sha256: saved.update(rows_sha256=sha256))
        matrices[label] = values[0]
    scorer = next(s for s in bench.scorers if s.label == "rouge")
    at = {
        label: float(
            scorer.metric.scores(np.delete(rows, [3, 7, 11], axis=0).sum(axis=0))["rouge_l"]
        )
        for label, rows in matrices.items()
    }
    value = (at["system"] - at["floor"]) / (at["oracle"] - at["floor"])
    assert by_label(only(bench), "rouge.rouge_l")["system"][0] == pytest.approx(value)


def shown(found: Leaderboard, skill: bool = True) -> str:
    out = io.StringIO()
    render(found, Console(file=out, width=240), skill)
    return " ".join(out.getvalue().split())


def test_terminal_json_csv_and_page_show_the_same_skill(filled: Bench) -> None:
    found = collect(filled.results_dir)
    [board] = found.boards
    value, low, high = by_label(board, "bleu.bleu_4")["system"]
    written = f"{value:.3f} [{low:.3f}, {high:.3f}]"
    text = shown(found)
    assert written in text
    assert SENTENCE in text
    assert "bleu.bleu_4: 0 is floor (" in text
    assert "1.000 by definition" in text
    assert written not in shown(found, skill=False)
    again = Leaderboard.from_json(found.to_json())
    assert again.boards[0].skill == board.skill
    lines = csv.DictReader(io.StringIO(tidy(found)))
    line = next(x for x in lines if (x["model"], x["key"]) == ("system", "bleu.bleu_4"))
    assert [float(line[k]) for k in ("skill", "skill_low", "skill_high")] == [value, low, high]
    html = page.render(found)
    assert SENTENCE in html
    assert f'"text":"{value:.3f}"' in html
