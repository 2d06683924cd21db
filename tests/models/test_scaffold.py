"""`reportcard new-model`: three files that work at once, in a copy of this repository."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reportcard.api import ReportCardError
from reportcard.models import scaffold

ROOT = Path(__file__).parents[2]
PARTS = ("harness", "metrics", "model_adapters", "conf", "reportcard", "pyproject.toml")
WRITTEN = (
    "model_adapters/my_toy.py",
    "conf/model/my_toy.yaml",
    "tests/model_adapters/test_my_toy.py",
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(
                source, root / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(source, root / part)
    (root / "tests" / "model_adapters").mkdir(parents=True)
    return root


def python(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    environment |= {"HOME": str(checkout), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *words], cwd=checkout, env=environment, capture_output=True, text=True
    )


def reportcard(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return python(checkout, "-m", "reportcard.cli.main", *words)


@pytest.mark.slow  # four processes
def test_what_it_writes_is_checked_tested_and_listed_at_once(checkout: Path) -> None:
    made = reportcard(checkout, "new-model", "my_toy")
    assert made.returncode == 0, made.stderr
    assert all((checkout / path).is_file() for path in WRITTEN)
    assert "reportcard check model=my_toy" in made.stdout

    checked = reportcard(checkout, "check", "model=my_toy", "--studies", "3")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "vision use" in checked.stdout
    assert list((checkout / "results" / "checks").glob("my_toy@*/check.json"))

    tested = python(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", WRITTEN[2])
    assert tested.returncode == 0, tested.stdout
    assert "1 passed" in tested.stdout or "100%" in tested.stdout

    named = reportcard(checkout, "list", "models", "--json")
    (mine,) = (row for row in json.loads(named.stdout) if row["model"] == "my_toy")
    assert "brightness of the frontal image" in mine["line"]


def test_what_it_writes_passes_the_linter(checkout: Path) -> None:
    pytest.importorskip("ruff", reason="ruff is not installed")
    (checkout / "lint").mkdir()
    for skeleton, name in (("adapter.txt", "my_toy.py"), ("test.txt", "test_my_toy.py")):
        text = (scaffold.SKELETON / skeleton).read_text("utf-8")
        text = text.replace("CLASS", "MyToy").replace("NAME", "my_toy")
        (checkout / "lint" / name).write_text(text, encoding="utf-8")
    for words in (("check", "lint"), ("format", "--check", "lint")):
        done = python(checkout, "-m", "ruff", *words, "--config", "pyproject.toml")
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_that_exists_is_left_alone(checkout: Path) -> None:
    path = checkout / "tests" / "model_adapters" / "test_taken.py"
    path.write_text("mine", encoding="utf-8")
    refused = reportcard(checkout, "new-model", "taken")
    assert refused.returncode == 2
    assert "test_taken.py exists already" in refused.stderr
    assert path.read_text("utf-8") == "mine"
    assert not (checkout / "model_adapters" / "taken.py").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MyModel-2", "Try my_model_2."),
        ("../escape", "it starts with a letter"),
        ("_hidden", "Try hidden."),
        ("", "it starts with a letter"),
        ("a" * 41, "at most 40"),
        ("class", "Python keyword or built-in"),
        ("match", "Python keyword or built-in"),
        ("list", "Python keyword or built-in"),
        ("json", "name of a module"),
        ("harness", "name of a module"),
        ("torch", "name of a module"),  # also where it is not installed
        ("replay", "There is already a model replay"),
        ("reference_oracle", "There is already a model reference_oracle"),
        ("prompt", "The class would be called Prompt"),
    ],
)
def test_names_that_would_break_something_are_refused(name: str, reason: str) -> None:
    with pytest.raises(ReportCardError) as caught:
        scaffold.check_name(name, ROOT)
    assert reason in str(caught.value)


def test_an_installed_package_says_that_it_needs_a_checkout(checkout: Path, tmp_path: Path) -> None:
    """The layout of the wheel: one package with copies in place of the links."""
    (checkout / "results" / "published").mkdir(parents=True, exist_ok=True)
    shutil.copytree(checkout / "reportcard", tmp_path / "reportcard")
    refused = reportcard(tmp_path, "new-model", "my_other")
    assert refused.returncode == 2
    assert "this is an installed package" in refused.stderr
