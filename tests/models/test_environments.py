"""An environment is built once, whole or not at all, and says what went wrong in the installer's
own words. Real builds: uv and pip, with a package that lies in a folder."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from reportcard.api import ReportCardError
from reportcard.models.isolated import environments
from reportcard.models.isolated.environments import environment, interpreter


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that is a folder: rc_toy 1.0, and nothing else is reachable."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "rc_toy-1.0.dist-info"
    files = {
        "rc_toy.py": "WORD = 'installed'\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: rc-toy\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / "rc_toy-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    return folder


def requirements(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text(text)
    return path


def word(python: Path) -> str:
    code = "import rc_toy, sys; print(rc_toy.WORD, sys.prefix)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout


def test_it_is_built_once_and_again_when_it_was_interrupted(tmp_path: Path, wheels: Path) -> None:
    if environments.uv() is None:
        pytest.skip("no uv here: pip install uv")
    said: list[str] = []
    wanted = requirements(tmp_path, "rc-toy==1.0\n")
    python = environment("toy", wanted, said.append)
    assert word(python).startswith("installed")
    assert str(python.parents[1]) in word(python)
    assert python.parents[1].parent == tmp_path / "reportcard-cache" / "envs"
    assert environment("toy", wanted, said.append) == python
    assert said == [f"toy: building its environment once, {python.parents[1]}"]
    (python.parents[1] / "READY").unlink()  # as a kill in the middle leaves it
    (python.parents[1] / "bin" / "python").unlink()
    assert environment("toy", wanted, said.append) == python
    assert word(python).startswith("installed")
    wanted.write_text("rc-toy>=1.0\n")
    assert environment("toy", wanted, said.append) != python


@pytest.mark.slow
def test_without_uv_it_is_built_with_venv_and_pip(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "uv", lambda: None)
    python = environment("toy", requirements(tmp_path, "rc-toy==1.0\n"), lambda text: None)
    assert word(python).startswith("installed")


def test_a_build_that_fails_says_why_and_leaves_nothing_half_built(
    tmp_path: Path, wheels: Path
) -> None:
    wanted = requirements(tmp_path, "rc-toy==2.0\n")
    for _ in range(2):
        with pytest.raises(ReportCardError, match="could not be built") as caught:
            environment("toy", wanted, lambda text: None)
    assert "rc-toy" in str(caught.value).replace("rc_toy", "rc-toy")
    log = Path(str(caught.value).rpartition("The whole log is ")[2])
    assert "install" in log.read_text()
    assert not [p for p in log.parent.iterdir() if p.is_dir()]


def _build(place: tuple[Path, Path]) -> list[str]:
    said: list[str] = []
    environment("toy", place[0], said.append)
    return said


def test_two_processes_do_not_both_build(tmp_path: Path, wheels: Path) -> None:
    wanted = requirements(tmp_path, "rc-toy\n")
    with ProcessPoolExecutor(2) as pool:
        said = [line for lines in pool.map(_build, [(wanted, tmp_path)] * 2) for line in lines]
    assert sum("building" in line for line in said) == 1


def test_a_python_that_is_not_here_is_named(tmp_path: Path) -> None:
    assert interpreter("toy", requirements(tmp_path, "rc-toy\n")) == sys.executable
    here = "{}.{}".format(*sys.version_info)
    assert interpreter("toy", requirements(tmp_path, f"# python: {here}\n")) == sys.executable
    with pytest.raises(ReportCardError, match=r"toy needs Python 3\.98 or 3\.99, and this machine"):
        interpreter("toy", requirements(tmp_path, "# python: 3.98 3.99\n"))
