"""The list of systems: whole, true to conf/model, quick, and the same on its page."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from reportcard.cli.main import main
from reportcard.cli.systems import STATUSES, rows, systems
from reportcard.config import paths
from reportcard.core import registry

ROOT = Path(__file__).parents[2]
# Each in another family of adapters. Where all are there, so must be every key that is named.
FAMILIES = {"maira2", "llava_rad", "cxr_llava", "huggingface", "openai_chat", "chexagent2"}
CLOSED = {"MAIRA-Seg", "Med-PaLM M", "Flamingo-CXR"}
TEMPLATES = {"RGRG", "M4CXR", "MedVersa", "BiomedGPT", "XrayGPT", "Phi-3-Vision"}


def test_every_model_of_conf_belongs_to_a_system() -> None:
    named = [pattern for system in systems() for pattern in system.models]
    lost = [k for k in paths.names("model") if not any(fnmatchcase(k, p) for p in named)]
    assert not lost, f"conf/systems.yaml names no system for {lost}"


def test_every_key_that_a_system_names_exists() -> None:
    known = paths.names("model")
    named = {pattern for system in systems() for pattern in system.models}
    absent = {p for p in named if not any(fnmatchcase(k, p) for k in known)}
    if not set(known) >= FAMILIES:
        # Families of adapters come one by one; what needs none of them is there already.
        absent &= {m for s in systems() if s.status == "baseline" for m in s.models} | {"replay"}
    assert not absent, f"conf/systems.yaml names {absent}, and conf/model has no such file"


def test_each_system_stands_once_with_a_status_and_a_reason() -> None:
    found = systems()
    assert [n for n, count in Counter(s.name for s in found).items() if count > 1] == []
    by_name = {system.name: system for system in found}
    assert {by_name[name].status for name in CLOSED} == {"replay only"}
    assert {by_name[name].status for name in TEMPLATES} == {"documented template only"}
    for system in found:
        assert system.status in STATUSES
        assert system.reason.strip()
        assert system.weights.strip()
        # What can be run is reached by a key; what is a template has none.
        runnable = system.status not in ("documented template only", "replay only")
        assert bool(system.models) == runnable or system.models == ("replay",), system.name


def test_the_listing_says_what_is_ready_and_what_a_model_needs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list", "models", "--json"]) == 0
    found = {row["model"]: row for row in json.loads(capsys.readouterr().out) if row["model"]}
    assert found["empty_report"]["here"] == "ready"
    assert found["replay"]["here"] == "needs: model.predictions=…"
    assert main(["list", "models"]) == 0
    table = capsys.readouterr().out
    assert "Flamingo-CXR" in table
    assert "documented template only" in table


@pytest.mark.parametrize("what", ["models", "datasets", "metrics", "protocols", "suites"])
def test_listing_imports_no_large_package(what: str, tmp_path: Path) -> None:
    """Listing is quick, also where torch is installed; here an empty one that records its import.

    maira2 comes to the check of its device, which needs torch, once it has weights.
    """
    large = ("torch", "transformers", "hydra", "omegaconf", "pandas", "scipy", "sklearn", "mlflow")
    for name in ("torch", "transformers", "safetensors", "sentencepiece"):
        (tmp_path / f"{name}.py").write_text(f"raise ValueError('{name} was imported')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r});"
        " from reportcard.cli.main import main;"
        f" code = main(['list', '{what}', '--json']);"
        f" print(*(set({large}) & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert "was imported" not in done.stdout
    if what == "models":
        found = {row["model"]: row["here"] for row in json.loads(done.stdout)}
        assert found["medgemma_4b"].startswith("needs: no weights given")


def test_a_model_with_weights_is_ready_before_its_device_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`missing()` imports torch to look at the device; a listing says "ready" at that point."""
    from reportcard.cli.systems import large_packages_unimported

    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    (tmp_path / "transformers.py").write_text("raise ValueError('transformers was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for kind in registry.KINDS:
        monkeypatch.setattr(kind, "_offered", {})
    (tmp_path / "needs_it.py").write_text(
        "from importlib.util import find_spec\n"
        "from reportcard.api import ModelCard\n\n\n"
        "class NeedsIt:\n"
        "    card = ModelCard('Toy')\n\n"
        "    def missing(self):\n"
        "        if find_spec('transformers') is None:\n"
        "            return 'transformers is not installed'\n"
        "        import transformers\n\n"
        "    def generate(self, requests):\n"
        "        return []\n"
    )
    registry.offer(tmp_path / "needs_it.py")
    (own,) = [row for row in rows() if row.status == "plugin"]
    assert (own.model, own.here) == ("needs_it", "ready")
    with large_packages_unimported(), pytest.raises(ImportError, match="not imported"):
        import transformers
    with pytest.raises(ValueError, match="was imported"):
        import transformers  # noqa: F401


def test_a_model_that_needs_torch_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same sentence for each of them, told without importing its adapter."""
    from importlib import util

    from reportcard.cli import systems as module

    real = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "torch" else real(name))
    for status in ("native port", "chat preset"):
        said = module._here(status, "no_such_model")
        assert said == "needs: pip install 'cxr-reportcard[gpu]' (make setup-gpu)"
    assert module._here("baseline", "empty_report") == "ready"


def test_a_plugin_of_the_user_is_listed_beside_the_known_systems(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry.models, "_offered", {})
    registry.offer(ROOT / "tests" / "toy_staged.py")
    (own,) = [row for row in rows() if row.status == "plugin"]
    assert (own.model, own.here) == ("toy_staged", "ready")
    assert own.line.startswith("`fits`: requests that the device has memory for")


def test_the_page_of_models_has_the_same_table() -> None:
    page = (ROOT / "docs" / "models" / "README.md").read_text("utf-8")
    lines = [line.replace("`", "") for line in page.splitlines()]
    for system in systems():
        keys = ", ".join(system.models) or "–"
        cells = (system.name, system.status, keys, system.weights, system.licence, system.reason)
        assert f"| {' | '.join(cells)} |" in lines, system.name
    table = [line for line in lines if line.startswith("| ") and line.count(" | ") == 5]
    assert len(table) == len(systems()) + 1


def shown(*words: str) -> list[str]:
    """What make would run; without its lines about folders, which stand there under `make test`."""
    command = ["make", "--no-print-directory", "-n", "benchmark", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_make_passes_words_with_a_dot_as_overrides() -> None:
    words = ("MODEL=maira2", "DATASET=phantom", "model.weights=/w/x", "model.batch_size=4")
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "benchmark", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    (command,) = [line for line in done.stdout.splitlines() if "reportcard run" in line]
    assert set(command.split()[3:]) == {
        *("model=maira2", "dataset=phantom", "'model.weights=/w/x'", "'model.batch_size=4'")
    }
    plain = subprocess.run(
        ["make", "--no-print-directory", "-n", "benchmark"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert plain.stdout.splitlines()[-1].split() == [".venv/bin/reportcard", "run", "--fetch"]
