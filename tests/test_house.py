"""The repository keeps its shape: links, unique names, few entries, tests beside their rooms."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HARNESS = ROOT / "harness"
# What `reportcard/` links to besides the entries of harness/.
OTHER_LINKS = {
    "metrics": ROOT / "metrics",
    "model_adapters": ROOT / "model_adapters",
    "conf": ROOT / "conf",
    "published": ROOT / "results" / "published",
}
# Folders of tests/ that are no room: plugins, and tests that need something special.
OTHER_TESTS = {"metrics", "model_adapters", "browser", "clinical", "contract"}
# Folders that hold no tests: what tests of several rooms share.
SHARED = {"fixtures", "isolated"}
# Tests of the repository as a whole.
WHOLE = {
    *("benchmarks", "canaries", "docs", "house", "import_name", "repository_scan", "scaling_docs"),
}


def entries(folder: Path) -> set[str]:
    """The names in a folder, without what Python or a package manager leaves there."""
    return {path.name for path in folder.iterdir() if path.name != "__pycache__"}


def test_reportcard_links_to_every_room_and_to_nothing_else() -> None:
    targets = {name: HARNESS / name for name in entries(HARNESS)} | OTHER_LINKS
    assert entries(ROOT / "reportcard") == set(targets)
    for name, target in targets.items():
        link = ROOT / "reportcard" / name
        assert link.is_symlink(), f"reportcard/{name} is a copy: make it a link"
        assert not link.readlink().is_absolute()
        assert link.resolve(strict=True) == target


def test_harness_has_at_most_14_entries() -> None:
    assert len(entries(HARNESS) - {"__init__.py"}) <= 14


def test_no_two_modules_of_harness_share_a_stem() -> None:
    """So that a name in a message, a traceback or a search means one file."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in HARNESS.rglob("*.py"):
        if path.stem not in ("__init__", "__main__"):
            places[path.stem].append(str(path.relative_to(ROOT)))
    assert {stem: paths for stem, paths in places.items() if len(paths) > 1} == {}


def test_tests_mirror_the_rooms() -> None:
    rooms = {name for name in entries(HARNESS) if (HARNESS / name).is_dir()}
    tests = ROOT / "tests"
    folders = {name for name in entries(tests) if (tests / name).is_dir()}
    assert folders == rooms | OTHER_TESTS | SHARED
    for name in rooms | OTHER_TESTS:
        assert list((tests / name).glob("test_*.py")), f"tests/{name}/ holds no test"
    modules = {path.stem for path in HARNESS.glob("*.py")}
    loose = {path.stem.removeprefix("test_") for path in tests.glob("test_*.py")}
    assert loose <= modules | WHOLE, "a test of one room goes into the folder of that room"


RESULT_FILES = {
    *("current.json", "predictions.jsonl", "timing.jsonl", "card.json", "DONE", "rows.npz"),
    *("scores.json", "details.json", "check.json", "leaderboard.json", "leaderboard.csv"),
    *("mlflow.db", "tracking.json", "release-salt"),
}
# MLflow's artifacts have names of their own, of which one is the same.
ARTIFACTS = {"client.py": {"scores.json"}}


def test_one_module_spells_the_names_of_result_files() -> None:
    """Everything else asks core/layout.py, so that moving a file is a change in one place."""
    found = {}
    for path in HARNESS.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        spelled = (texts & RESULT_FILES) - ARTIFACTS.get(path.name, set())
        if spelled:
            found[str(path.relative_to(ROOT))] = spelled
    assert found.pop("harness/core/layout.py")
    assert found == {}


PACKAGES = sorted(path.parent for path in HARNESS.rglob("__init__.py"))


def docstring(package: Path) -> str:
    text = (package / "__init__.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(text)) or ""


@pytest.mark.parametrize("package", PACKAGES, ids=[str(p.relative_to(ROOT)) for p in PACKAGES])
def test_a_packages_docstring_lists_its_modules(package: Path) -> None:
    """All of them, and none that is gone: a list is `name.py  what it does`, one per line."""
    text = docstring(package)
    modules = {p.stem for p in package.glob("*.py")} - {"__init__", "__main__"}
    modules |= {p.name for p in package.iterdir() if (p / "__init__.py").is_file()}
    absent = {name for name in modules if not re.search(rf"(?<![\w./-]){name}(?![\w-])", text)}
    assert not absent, f"not in the docstring of {package.relative_to(ROOT)}"
    listed: set[str] = set()
    for line in text.splitlines():
        # The names before the gap: `a.py, b.py  what they do`.
        if found := re.match(r" *([a-z_]\w*(?:\.py|/)?(?:, [a-z_]\w*(?:\.py)?)*) {2,}\S", line):
            listed |= set(found[1].split(", "))
    folders = {p.name for p in package.iterdir() if p.is_dir()}
    known = modules | {f"{name}.py" for name in modules} | folders | {f"{n}/" for n in folders}
    # A release's docstring also draws the folders of a release.
    released = {"cohorts/", "predictions/", "scores/", "leaderboard/", "published/"}
    assert listed - known <= (released if package.name == "release" else set())
