"""`reportcard` is our only import name: beside a user's own modules, and in what is built.

A user's folder often holds a `metrics.py` or a `models/` of its own, and Python imports those
first. docs/decisions/0011 says how the folders of the repository become one package.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What a build reads. Private files of the folders are left out by the build itself.
SOURCES = (
    *("reportcard", "harness", "metrics", "model_adapters", "conf", "results/published"),
    *("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", ".gitignore"),
)
PAIR = {"study_id": "s1", "candidate": "No effusion.", "reference": "No effusion."}
API = """
from reportcard import evaluate
from reportcard.api import ModelCard
import reportcard
pairs = [{"study_id": "s1", "candidate": "No effusion.", "reference": "No effusion."}]
found = evaluate(pairs, metrics=["bleu", "rouge"])["metrics"]
assert round(found["rouge.rouge_l"]["value"], 6) == 1.0
print(reportcard.__file__)
"""
HOSTILE = 'raise RuntimeError("a module of the user was imported")\n'


def run(folder: Path, *words: str, path: Path | None = None) -> str:
    """Run a command in `folder`, with `path` as PYTHONPATH, and return what it printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment |= {"PYTHONPATH": str(path)} if path else {}
    result = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, f"{' '.join(words)}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def write_pairs(folder: Path) -> None:
    (folder / "pairs.jsonl").write_text(json.dumps(PAIR), encoding="utf-8")


def users_folder(folder: Path, packages: bool) -> Path:
    """A folder with modules of the user's own under every name that our folders have.

    As packages (`metrics/__init__.py` with `metrics/bleu.py`) or as files (`metrics.py`); each
    raises when it is imported. `conf/` holds a configuration of the user's own.
    """
    ours = {path.name.removesuffix(".py") for path in (ROOT / "reportcard").iterdir()}
    names = (ours | {"harness", "benchmarks", "tests"}) - {"__init__", "__pycache__"}
    for name in names:
        if packages:
            (folder / name).mkdir()
            for module in ("__init__", "bleu", "baselines", "compose", "openi"):
                (folder / name / f"{module}.py").write_text(HOSTILE, encoding="utf-8")
        else:
            (folder / f"{name}.py").write_text(HOSTILE, encoding="utf-8")
    (folder / "conf").mkdir(exist_ok=True)
    (folder / "conf" / "config.yaml").write_text("theirs: true\n", encoding="utf-8")
    write_pairs(folder)
    return folder


COMMANDS = (
    ("evaluate", "pairs.jsonl", "--metrics", "bleu,rouge", "--json", "out.json"),
    ("list", "models"),
    ("run", "dataset=phantom", "model=fixed_normal_report", "metrics=bleu", "limit=4"),
)


@pytest.mark.parametrize("packages", [False, True], ids=["files", "packages"])
def test_a_checkout_works_beside_the_users_own_modules(tmp_path: Path, packages: bool) -> None:
    """Python looks into the working folder first, and then into the checkout."""
    folder = users_folder(tmp_path, packages)
    assert str(ROOT) in run(folder, sys.executable, "-c", API, path=ROOT)
    for words in COMMANDS:
        more = ("tracking=none",) if words[0] == "run" else ()
        run(folder, sys.executable, "-m", "reportcard.cli.main", *words, *more, path=ROOT)
    assert "rouge.rouge_l" in (folder / "out.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def hatchling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build backend in a folder of its own."""
    folder = tmp_path_factory.mktemp("hatchling")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder))
    result = subprocess.run(
        [*pip, "hatchling>=1.27"], capture_output=True, text=True, check=False, timeout=300
    )
    if result.returncode:
        pytest.skip(f"hatchling cannot be installed here: {result.stderr.strip()[-200:]}")
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, with a private configuration that no archive may hold."""
    folder = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(ROOT / name, folder / name)
    (folder / "conf" / "local").mkdir(exist_ok=True)
    (folder / "conf" / "local" / "hospital.yaml").write_text("key: secret\n", encoding="utf-8")
    return folder


def build(source: Path, target: str, hatchling: Path, into: Path) -> Path:
    """Build a wheel or an sdist of `source` and return the archive."""
    words = (sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into))
    run(source, *words, path=hatchling)
    (archive,) = into.iterdir()
    return archive


@pytest.fixture(scope="module")
def wheel(checkout: Path, hatchling: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(checkout, "wheel", hatchling, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment: our wheel, and this one's dependencies.

    A line of a .pth file adds a folder without its own .pth files, so the editable install that
    runs this test cannot be seen from there.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = (sys.executable, "-m", "pip", "--python", str(programs / "python"), "--quiet")
    run(folder, *pip, "install", "--no-deps", "--no-index", str(wheel))
    (site,) = folder.glob("lib/python*/site-packages")
    places = [entry for entry in sys.path if entry.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(places), encoding="utf-8")
    return programs


def contents(wheel: Path) -> dict[str, str]:
    """Every file of a wheel with its digest, without the list that holds the digests."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            name: hashlib.sha256(archive.read(name)).hexdigest()
            for name in archive.namelist()
            if not name.endswith("/RECORD")
        }


@pytest.mark.network
def test_a_wheel_has_one_import_name(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in contents(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"reportcard"}


@pytest.mark.network
def test_a_wheel_holds_every_file_of_the_repository(wheel: Path) -> None:
    """Every tracked file below reportcard/, whichever folder it really lies in."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    tracked = run(ROOT, "git", "ls-files", "-z", "--", *SOURCES[1:6]).split("\0")
    names = {
        f"reportcard/{name.removeprefix('harness/').removeprefix('results/')}"
        for name in tracked
        if name and (ROOT / name).is_file()
    }
    assert names <= set(contents(wheel))


@pytest.mark.network
def test_archives_hold_no_private_configuration(wheel: Path) -> None:
    local = {name for name in contents(wheel) if name.startswith("reportcard/conf/local/")}
    assert local == {"reportcard/conf/local/README.md"}


@pytest.mark.network
def test_a_wheel_built_from_an_sdist_is_the_wheel_of_the_checkout(
    checkout: Path, wheel: Path, hatchling: Path, tmp_path: Path
) -> None:
    sdist = build(checkout, "sdist", hatchling, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        assert all(member.isfile() for member in archive.getmembers()), "links may lead nowhere"
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert contents(build(unpacked, "wheel", hatchling, tmp_path / "wheel")) == contents(wheel)


@pytest.mark.network
def test_an_installed_wheel_runs_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path)
    place = Path(run(tmp_path, str(installed / "python"), "-c", API).strip())
    assert place.is_relative_to(installed.parent)
    for words in COMMANDS[:2]:
        run(tmp_path, str(installed / "reportcard"), *words)
    run(
        tmp_path,
        str(installed / "reportcard"),
        "run",
        "dataset=phantom",
        "limit=4",
        "tracking=none",
    )
    assert (tmp_path / "results" / "leaderboard" / "index.html").is_file()


@pytest.mark.network
def test_an_installed_wheel_works_beside_the_users_own_modules(
    installed: Path, tmp_path: Path
) -> None:
    folder = users_folder(tmp_path, packages=True)
    place = Path(run(folder, str(installed / "python"), "-c", API).strip())
    assert place.is_relative_to(installed.parent)
    run(folder, str(installed / "reportcard"), *COMMANDS[0])
