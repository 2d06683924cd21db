"""Plugins are classes that have or inherit a method: built in, installed, or a user's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from reportcard.api import ReportCardError
from reportcard.config import compose as config
from reportcard.core import python_source, registry
from reportcard.core.registry import Registry, snake_case

TOY = """
from reportcard.api import ModelCard, Prediction, Report


class {name}:
    card = ModelCard("Says hello")

    def generate(self, requests):
        return [Prediction(r.study_id, Report(findings="Hello.")) for r in requests]
"""
# What each of these inherits its method from is in another module.
INHERITED = {
    "from_adapter": """
from reportcard.model_adapters.huggingface import HuggingFace


class MyMedGemma(HuggingFace):
    \"\"\"A preset in code.\"\"\"
""",
    "from_module_attribute": """
from reportcard.models import staged


class MyPort(staged.StagedAdapter):
    \"\"\"A preset in code.\"\"\"

    card = identity = None

    def missing(self): ...
    def prompt(self, request): ...
    def pixels(self, grey): ...
    def load(self): ...
    def complete(self, batch): ...
""",
    "from_long_name": """
import reportcard.model_adapters.baselines
import reportcard.model_adapters.baselines as floors

Base = floors.EmptyReport


class MyFloor(Base):
    \"\"\"A preset in code.\"\"\"
""",
    "from_several_files": """
from ._middle import Renamed as Middle


class Leaf(Middle):
    \"\"\"A preset in code.\"\"\"
""",
    "from_the_metrics": """
from reportcard.metrics import LabelF1


class MyF1(LabelF1):
    \"\"\"A preset in code.\"\"\"
""",
}
MIDDLE = """
try:
    from reportcard.model_adapters.baselines import *
except ImportError:
    raise


class Middle(EmptyReport):
    pass


Renamed = Middle
"""


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry of models; what is offered to any registry is forgotten after the test."""
    for kind in registry.KINDS:
        monkeypatch.setattr(kind, "_offered", {})
    return registry.models


def kind_of(name: str) -> Registry:
    return registry.metrics if name == "from_the_metrics" else registry.models


def toy_package(folder: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of its own name, which can be imported; returns the name."""
    name = f"toys_{abs(hash(str(folder))):x}"
    (folder / name).mkdir()
    for stem, text in {"__init__": "", **files}.items():
        (folder / name / f"{stem}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    return name


def test_no_built_in_plugin_has_an_entry_point(models: Registry) -> None:
    """They are found in their folders: one rule for all, in a plain checkout too."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert "[project.entry-points" not in text
    assert {"reference_oracle", "replay"} <= set(models.names())
    assert models.get("empty_report").__name__ == "EmptyReport"
    assert {"bleu", "rouge", "f1_chexbert"} <= set(registry.metrics.names())
    assert "openi" in registry.datasets.names()


def test_every_public_file_of_the_plugin_folders_has_a_plugin_or_is_known() -> None:
    """A helper's name begins with _, so whoever opens a folder sees which files are plugins."""
    for kind in registry.KINDS:
        init = python_source.find_module(kind.package)
        assert init is not None
        stems = {path.stem for path in init.parent.glob("[a-z]*.py")}
        plugins = {target.module.rpartition(".")[2] for target in kind._built_in().values()}
        assert stems - plugins <= {"report_sections"}, kind.kind


@pytest.mark.parametrize("kind", registry.KINDS, ids=lambda kind: kind.kind)
def test_reading_files_finds_what_importing_them_finds(kind: Registry) -> None:
    for target in kind._built_in().values():
        module = registry._import_module(target.module)
        assert target.attribute in [one.__name__ for one in kind._classes_in(module)]
    by_module = {target.module for target in kind._built_in().values()}
    for module_name in by_module:
        found = kind._classes_in(registry._import_module(module_name))
        listed = [t for t in kind._built_in().values() if t.module == module_name]
        assert len(found) == len(listed)


def test_a_file_is_found_by_its_stem(tmp_path: Path, models: Registry) -> None:
    path = tmp_path / "hello.py"
    path.write_text(TOY.format(name="Hello"))
    run = config.load([f"plugin={path}", "model=hello"])
    assert run.models[0].plugin == "hello"
    assert models.get("hello").__name__ == "Hello"


@pytest.mark.parametrize("stem", INHERITED)
def test_a_class_that_inherits_its_method_is_a_plugin_as_a_file(
    tmp_path: Path, models: Registry, stem: str
) -> None:
    (tmp_path / f"{stem}.py").write_text(INHERITED[stem])
    (tmp_path / "_middle.py").write_text(MIDDLE)
    registry.offer(tmp_path / f"{stem}.py")
    assert kind_of(stem).get(stem).__doc__ == "A preset in code."
    assert kind_of(stem).describe(stem) == "A preset in code."


def test_a_folder_offers_each_of_its_plugins(tmp_path: Path, models: Registry) -> None:
    for stem, text in INHERITED.items():
        (tmp_path / f"{stem}.py").write_text(text)
    (tmp_path / "_middle.py").write_text(MIDDLE)
    (tmp_path / "train.py").write_text("raise SystemExit('a program, not a plugin')")
    registry.offer(tmp_path)
    offered = {name for kind in registry.KINDS for name in kind._offered}
    assert offered == set(INHERITED)


@pytest.mark.parametrize("stem", INHERITED)
def test_a_class_that_inherits_its_method_is_a_plugin_in_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stem: str
) -> None:
    """As a file of `model_adapters/` is found, by reading it alone."""
    name = toy_package(tmp_path, {stem: INHERITED[stem], "_middle": MIDDLE}, monkeypatch)
    toys = Registry("model", name, kind_of(stem).method)
    assert toys.names() == sorted({stem, *registry._entry_points("model")})
    assert toys.describe(stem) == "A preset in code."
    assert f"{name}.{stem}" not in sys.modules
    assert toys.get(stem).__doc__ == "A preset in code."


def test_a_module_is_offered_by_its_dotted_name(
    tmp_path: Path, models: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = TOY.format(name="One") + TOY.format(name="Two")
    name = toy_package(tmp_path, {"hello": TOY.format(name="Hello"), "two": two}, monkeypatch)
    registry.offer(f"{name}.hello")
    assert models.get("hello").__name__ == "Hello"
    registry.offer(f"{name}.two:Two")
    assert models.get("two").__name__ == "Two"
    with pytest.raises(ReportCardError, match="no module of this name"):
        registry.offer(f"{name}.nothing")


def test_a_plugin_of_an_installed_distribution_is_found_by_its_entry_point(
    tmp_path: Path, models: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = toy_package(tmp_path, {"port": INHERITED["from_adapter"]}, monkeypatch)
    points = [EntryPoint("foreign", f"{name}.port:MyMedGemma", "reportcard.models")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    registry._entry_points.cache_clear()
    try:
        assert "foreign" in models.names()
        assert models.describe("foreign") == "A preset in code."
        assert models.get("foreign").__name__ == "MyMedGemma"
    finally:
        registry._entry_points.cache_clear()


def test_a_file_of_several_plugins_says_how_to_choose(tmp_path: Path, models: Registry) -> None:
    path = tmp_path / "two.py"
    path.write_text(TOY.format(name="FirstModel") + TOY.format(name="SecondModel"))
    with pytest.raises(ReportCardError, match=r"FirstModel, SecondModel.*two\.py:SecondModel"):
        registry.offer(path)
    run = config.load([f"plugin={path}:FirstModel", "model=first_model"])
    assert run.models[0].plugin == "first_model"
    assert models.get("first_model").__name__ == "FirstModel"
    with pytest.raises(ReportCardError, match=r"no plugin class FirstMode.*mean FirstModel"):
        registry.offer(f"{path}:FirstMode")


def test_a_new_file_in_the_package_needs_no_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"hello": TOY.format(name="Hello"), "helper": "x = 1\n", "broken": "def"}
    toys = Registry("model", toy_package(tmp_path, files, monkeypatch), "generate")
    assert "hello" in toys.names()
    assert "helper" not in toys.names()
    assert toys.get("hello").__name__ == "Hello"
    with pytest.raises(ReportCardError, match=r"broken\.py, line 1: SyntaxError"):
        toys.get("broken")


def test_a_file_that_was_edited_is_imported_again(tmp_path: Path, models: Registry) -> None:
    """As in a notebook: the answers must be those of the code that the fingerprint covers."""
    path = tmp_path / "hello.py"
    path.write_text(TOY.format(name="Hello"))
    registry.offer(path)
    first = models.get("hello")
    registry.offer(path)
    assert models.get("hello") is first
    path.write_text(TOY.format(name="Bye"))
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    registry.offer(path)
    assert models.get("hello").__name__ == "Bye"


def test_unknown_name_gets_a_suggestion(models: Registry) -> None:
    with pytest.raises(ReportCardError, match="Did you mean empty_report"):
        models.get("empty_reprt")


ABSTRACT = """
from reportcard.models.staged import StagedAdapter


class HalfDone(StagedAdapter):
    def load(self): ...
"""


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (TOY.format(name="A") + TOY.format(name="B"), "exactly one public class.*A, B"),
        ("def generate(): pass", r"is no plugin: no public class.*generate\(\)"),
        (TOY.format(name="_Hidden"), "_Hidden has generate.*does not begin with _"),
        (ABSTRACT, "HalfDone does not define .*complete.*of its base class"),
        ("from reportcard.model_adapters.replay import Replay", "Replay is imported from.*extend"),
        ("import nonsense_module", "failed to import: ModuleNotFoundError.*nonsense_module"),
        ("from harness.api import ModelCard", "import name is now reportcard"),
        ("import metrics.bleu", "import name is now reportcard"),
        ("import _helper", r"beside the plugin: write from \._helper import"),
        ("x = 1", "is no plugin"),
        ("def f(:\n", r"bad\.py, line 1: SyntaxError: .*def f\(:"),
        ("import sys\nsys.exit('bye')", "ends Python while it is imported.*bye.*__main__"),
        ("raise ValueError('no')", "failed to import: ValueError: no"),
        ("é = 'é'".encode("latin-1"), "is not UTF-8.*Save the file as UTF-8"),
        (b"x = 1\0", "bad.py"),
    ],
)
def test_bad_plugin_files(
    tmp_path: Path, models: Registry, source: str | bytes, message: str
) -> None:
    path = tmp_path / "bad.py"
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    (tmp_path / "_helper.py").write_text("")
    code = (
        "import sys\nfrom reportcard.api import ReportCardError\n"
        "from reportcard.core import registry\n"
        "try:\n    registry.offer(sys.argv[1])\n"
        "except ReportCardError as error:\n    print(error)\n"
    )
    # In a process of its own: pytest's has the checkout on its path, with folders called harness.
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=tmp_path / "elsewhere",
        capture_output=True,
        text=True,
    )
    assert re.search(message, done.stdout, re.DOTALL), done.stdout + done.stderr
    assert len(done.stdout.strip().splitlines()) == 1, done.stdout


def test_places_without_a_plugin(tmp_path: Path, models: Registry) -> None:
    with pytest.raises(ReportCardError, match=r"No plugin file at .*absent\.py"):
        registry.offer(tmp_path / "absent.py")
    with pytest.raises(ReportCardError, match=r"No plugin file at .*no/such/folder"):
        registry.offer(tmp_path / "no/such/folder")
    (tmp_path / "notes.txt").write_text("class A: ...")
    with pytest.raises(ReportCardError, match="is not a Python file"):
        registry.offer(tmp_path / "notes.txt")
    (tmp_path / "helper.py").write_text("x = 1")
    with pytest.raises(ReportCardError, match="has no plugin: no public class in its 1"):
        registry.offer(tmp_path)


def test_names_of_classes() -> None:
    names = ["EmptyReport", "OpenAIChat", "F1CheXbert", "Bleu", "R2Gen"]
    assert [snake_case(n) for n in names] == [
        *("empty_report", "open_ai_chat", "f1_che_xbert", "bleu", "r2_gen")
    ]
