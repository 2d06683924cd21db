"""The results layout has one owner: core/layout.py."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from reportcard.core.layout import Results, RunId, VersionedName

HARNESS = Path(__file__).resolve().parents[2] / "harness"
# Folders and files below results/ (harness/core/layout.py). "index.html" is no name of ours alone.
NAMES = {
    *("current.json", "cohorts", "predictions", "scores", "checks", "cache", "leaderboard"),
    *("predictions.jsonl", "timing.jsonl", "card.json", "DONE", "shards", "studies"),
    *("scores.json", "rows.npz", "details.json", "check.json"),
    *("leaderboard.json", "leaderboard.csv", "tracking.json", "judge.sqlite", "annotations.sqlite"),
}
TAKES_PATHS = ("glob", "rglob", "joinpath", "with_name", "Path")


def spelled(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, name) where a path is built: `x / "scores"`, Path("scores"), x.glob(…)."""
    for node in ast.walk(tree):
        parts: list[ast.expr] = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            parts = [node.right]
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            parts = node.args if name in TAKES_PATHS else []
        for part in parts:
            for text in ast.walk(part):
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    for segment in text.value.split("/"):
                        if segment in NAMES:
                            yield node.lineno, segment


def test_only_core_layout_spells_a_path_below_results() -> None:
    found = [
        f"{path.relative_to(HARNESS)}:{line}: {name}"
        for path in sorted(HARNESS.rglob("*.py"))
        if path != HARNESS / "core" / "layout.py"
        for line, name in spelled(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, "use reportcard.core.layout.Results:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "code",
    [
        'folder / "scores" / name',
        'folder / f"cohorts/{name}.json"',
        'root.glob("*/*/scores.json")',
        'Path("leaderboard") / "leaderboard.json"',
        'path.with_name("DONE")',
    ],
)
def test_the_scan_sees_a_spelled_path(code: str) -> None:
    assert list(spelled(ast.parse(code)))


@pytest.mark.parametrize("code", ['row["scores"]', 'say("DONE")', "x / 2", 'folder / "notes.txt"'])
def test_the_scan_ignores_other_strings(code: str) -> None:
    assert not list(spelled(ast.parse(code)))


def test_a_versioned_name_is_parsed_at_its_last_at() -> None:
    name = VersionedName("me@home+marks", "0123456789abcdef")
    assert str(name) == "me@home+marks@01234567"
    assert VersionedName.parse(str(name)) == VersionedName("me@home+marks", "01234567")
    assert VersionedName.parse("plain") == VersionedName("plain", "")


def test_run_folders_are_found_again(tmp_path: Path) -> None:
    results = Results(tmp_path)
    run = RunId("openi@c9fa24e6", "toy@01234567", "raw")
    folder = results.metric(run, "bleu")
    folder.path.mkdir(parents=True)
    assert list(results.score_folders()) == []
    folder.scores.write_text("{}")
    assert list(results.score_folders()) == [(run, folder)]
    assert RunId.of_json(run.to_json()) == run
    assert run.labels == ("openi", "toy", "raw")


def test_shards_lie_in_their_run(tmp_path: Path) -> None:
    run = Results(tmp_path).predictions("openi@c9fa24e6", "toy@01234567")
    assert run.shards() == []
    run.shard(2, 16).path.mkdir(parents=True)
    assert [part.log for part in run.shards()] == [
        run.path / "shards" / "2-of-16" / "predictions.jsonl"
    ]
