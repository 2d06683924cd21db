"""An unreliable interval is marked, with its reason, wherever the interval is shown."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from reportcard.analysis.paired_comparison import PairedComparison, compare_runs
from reportcard.api import Array, Key, MetricSpec, Pair
from reportcard.cli.main import main
from reportcard.cli.tables_compare import comparison_table
from reportcard.config import compose as config
from reportcard.predict.system import System
from reportcard.publish.board.boards import Cell, Leaderboard
from reportcard.publish.board.build import collect
from reportcard.publish.mlflow.description import describe_run
from reportcard.publish.mlflow.forest_plot import forest
from reportcard.publish.mlflow.run_fields import _unreliable, score_table
from reportcard.publish.page import page
from reportcard.publish.page.terminal_board import render
from reportcard.score.details import breakdown
from reportcard.score.score_file import ScoreFile
from reportcard.score.scorer import open_metrics
from reportcard.score.stats.resampling import Resampler
from tests.publish.test_leaderboard import Bench, edit

WHY = "the moon was full on 7 of the 60 days"  # a reason that nobody named


@pytest.fixture
def doubtful(tmp_path: Path) -> Bench:
    """A metric that doubts one of its headline keys for a reason of its own."""
    bench = Bench(tmp_path)
    bench.add("plain", 0.2, seed=1)
    bench.add("other", 0.3, seed=2)
    odd = bench.add("odd", 0.4, seed=3)
    edit(bench.scores(odd), lambda saved: saved["keys"]["bleu.bleu_4"].update(doubt=WHY))
    return bench


def terminal(found: Leaderboard) -> str:
    out = io.StringIO()
    render(found, Console(file=out, width=240))
    return out.getvalue()


def test_every_view_of_the_board_marks_the_interval_and_says_why(doubtful: Bench) -> None:
    found = collect(doubtful.results_dir)
    [board] = found.boards
    odd = next(entry for entry in board.entries if entry.label == "odd")
    assert odd.cells["bleu.bleu_4"].doubt == WHY
    saved = found.to_json()["boards"][0]["rows"]
    assert [r["label"] for r in saved if "doubt" in r["cells"]["bleu.bleu_4"]] == ["odd"]

    text = terminal(found)
    marked = [line for line in text.splitlines() if "] ‡" in line]
    assert len(marked) == 1
    assert "odd" in marked[0]
    assert f"‡ interval unreliable: {WHY} (bleu.bleu_4)" in " ".join(text.split())

    html = page.render(found)
    table = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    [cell] = re.findall(
        r'<td[^>]*title="[^"]*‡ interval unreliable[^"]*".*?</td>', table, re.DOTALL
    )
    assert WHY in cell.split(">")[0]  # on hover
    assert re.search(r"<small>\[[^]]+\] ‡", cell)  # beside the interval
    assert f"interval unreliable: {WHY}" in cell.split("</small>")[1]  # read aloud
    legend = re.search(r'<p class="legend">.*?</p>', table, re.DOTALL)
    assert legend
    assert WHY in legend[0]
    assert f'"doubt":"{WHY}"' in html  # for the details of the row

    lines = csv.DictReader(io.StringIO(_csv(doubtful)))
    assert [x["model"] for x in lines if x["doubt"] == WHY] == ["odd"]
    assert f"‡; unreliable: {WHY}" in forest(board)


def _csv(bench: Bench) -> str:
    bench.page()
    return (bench.results_dir / "leaderboard" / "leaderboard.csv").read_text(encoding="utf-8")


def test_mlflow_has_a_tag_a_column_and_a_remark(doubtful: Bench) -> None:
    [path] = (doubtful.results_dir / "scores").glob("*/odd@*/reportcard/bleu/scores.json")
    file = ScoreFile.read(path)
    tags = _unreliable([file])
    assert WHY in tags["unreliable_interval.bleu"]
    assert "bleu.bleu_4" in tags["unreliable_interval.bleu"]
    table = score_table([file])
    place = table["columns"].index("doubt")
    assert [row[0] for row in table["data"] if row[place]] == ["bleu.bleu_4"]
    note = describe_run("odd", [file], {}, [])
    assert re.search(r"bleu\.bleu_4.*‡", note)
    assert WHY in note


def test_one_study_is_marked_on_every_interval_of_every_view(tmp_path: Path) -> None:
    bench = Bench(tmp_path, n=1)
    bench.add("system", 0.4, seed=1)
    found = collect(tmp_path)
    [board] = found.boards
    cells = board.entries[0].cells
    assert all(cell.doubt == "1 study, under 30" for cell in cells.values())
    text = terminal(found)
    assert text.count("] ‡") == text.count("[") - text.count("[low")
    table = re.sub(r"<script.*?</script>", "", page.render(found), flags=re.DOTALL)
    assert len(re.findall(r"<small>\[[^]]+\] ‡", table)) == len(re.findall(r"<small>\[", table)) > 3


def test_evaluate_marks_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("study_id,candidate,reference\ns,The heart is large.,The heart is normal.\n")
    assert main(["evaluate", str(pairs), "--metrics", "bleu", "--json", str(tmp_path / "x")]) == 0
    out = capsys.readouterr().out
    assert "‡ interval unreliable: 1 study, under 30 (bleu.bleu_1" in " ".join(out.split())
    rows = [line for line in out.splitlines() if "bleu.bleu_" in line and "↑" in line]
    assert len(rows) == 4
    assert all("‡" in line for line in rows)
    saved = json.loads((tmp_path / "x").read_text())
    assert saved["metrics"]["bleu.bleu_4"]["doubt"] == "1 study, under 30"


def test_compare_marks_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench(tmp_path, n=20)
    a, b, twin = bench.add("a", 0.2, 1), bench.add("b", 0.5, 2), bench.add("c", 0.2, 1)

    def compared(one: System, other: System) -> PairedComparison:
        folders = (bench.scores(one).parents[1], bench.scores(other).parents[1])
        return compare_runs(folders, bench.scorers, None, trials=20)

    found = compared(a, b)
    assert {key.doubt for key in found.keys} == {"20 studies, under 30"}
    assert found.keys[0].to_json()["doubt"] == "20 studies, under 30"
    comparison_table("toy", ("a", "b"), found)
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if "↑" in line]
    assert len(lines) == len(found.keys)
    assert all("‡" in line for line in lines)
    assert out.count("‡ interval unreliable: 20 studies") == 1
    assert {key.doubt for key in compared(a, twin).keys} == {None}  # the same answers: 0 is exact


class Rare:
    """A metric of one's own: how often both mention a word, which it doubts when few do."""

    spec = MetricSpec(version="1", keys={"shared": Key(), "never": Key()}, signature="rare")

    def rows(self, pairs: Sequence[Pair]) -> Array:
        said = [
            [float(w in p.candidate), float(w in p.reference), 0.0, 1.0]
            for p in pairs
            for w in ["small"]
        ]
        return np.array(said).reshape(len(pairs), 4)

    def scores(self, total: Array) -> dict[str, Array]:
        n = np.where(total[..., 3] > 0, total[..., 3], np.nan)
        return {"shared": total[..., 0] / n, "never": total[..., 2] / n}

    def scores_of_sample(self, total: Array) -> Callable[[Array], dict[str, Array]]:
        return self.scores

    def doubts(self, total: Array) -> dict[str, str]:
        few = f"only {total[1]:.0f} references have the word"
        return {"shared": few} if total[1] < 50 else {}


def rows_of(n: int, said: int) -> Array:
    rows = np.zeros((1, n, 4))
    rows[..., 3] = 1.0
    rows[0, :said, :2] = 1.0
    return rows


def test_a_subgroup_of_a_metric_of_ones_own_carries_the_doubt() -> None:
    [bleu] = open_metrics(config.load_metrics(["bleu"], config.load_protocol("reportcard")))
    scorer = copy(bleu)
    object.__setattr__(scorer, "metric", Rare())
    groups = {"ward": ["A"] * 40 + ["B"] * 25 + ["C"] * 60 + ["D"] * 5}
    rows = rows_of(130, 130)
    [a, b, c, d] = breakdown.subgroups(rows, scorer, groups, Resampler(130, 50), 0.95, "point")[
        "ward"
    ]
    shared = f"{scorer.label}.shared"
    assert a["cells"][shared]["doubt"] == "only 40 references have the word"
    assert b["cells"][shared]["doubt"] == "25 studies, under 30"
    assert "no width" in c["cells"][shared]["doubt"]
    assert "no width" in c["cells"][f"{scorer.label}.never"]["doubt"]
    assert "doubt" not in d["cells"][shared]  # too few for an interval: there is none to doubt


def test_a_finding_and_the_errors_of_a_row_carry_the_doubt() -> None:
    parts = ("f1", "precision", "recall", "specificity", "support")
    cells = {f"toy.edema.{part}": Cell(0.0, 0.0, 0.0, n=40) for part in parts}
    cells["toy.edema.f1"] = Cell(0.0, 0.0, 0.0, n=40, doubt=WHY)
    [found] = breakdown.findings(cells, "toy")
    assert found["f1_doubt"] == WHY
    [scorer] = open_metrics(
        config.load_metrics(["f1_chexpert_rules"], config.load_protocol("reportcard"))
    )
    rows = np.zeros((1, 12, 61))
    rows[..., 3 * 14 : 4 * 14] = 1.0
    rows[..., -1] = 1.0
    made = breakdown.errors(rows, scorer.scores_of_sample(rows), ["edema"], Resampler(12, 20), 0.95)
    assert made["omissions_doubt"] == made["hallucinations_doubt"] == "12 studies, under 30"
