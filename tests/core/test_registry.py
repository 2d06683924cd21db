"""Plugins: one rule for built-in files, installed packages, and a file from anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from reportcard.api import ReportCardError
from reportcard.config import compose as config
from reportcard.core import registry
from reportcard.core.registry import Registry

TOY = """
from reportcard.api import ModelCard, Prediction, Report


class {name}:
    card = ModelCard("Says hello")

    def generate(self, requests):
        return [Prediction(r.study_id, Report(findings="Hello.")) for r in requests]
"""


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The models registry, whose extra files are forgotten after the test."""
    monkeypatch.setattr(registry.models, "_files", {})
    return registry.models


def test_built_in_plugins_come_through_entry_points(models: Registry) -> None:
    assert {"reference_oracle", "replay"} <= set(models.names())
    assert models.get("empty_report").__name__ == "EmptyReport"
    assert {"bleu", "rouge"} <= set(registry.metrics.names())
    assert "openi" in registry.datasets.names()


def test_helper_modules_are_not_plugins() -> None:
    assert not {"ngrams", "baselines", "images", "label_f1"} & set(
        registry.metrics.names() + registry.models.names() + registry.datasets.names()
    )


def test_a_file_is_found_by_its_stem(tmp_path: Path, models: Registry) -> None:
    path = tmp_path / "hello.py"
    path.write_text(TOY.format(name="Hello"))
    run = config.load([f"plugin={path}", "model=hello"])
    assert run.models[0].plugin == "hello"
    assert models.get("hello").__name__ == "Hello"


def test_a_new_file_in_the_package_needs_no_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "toy_adapters"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "hello.py").write_text(TOY.format(name="Hello"))
    (package / "helper.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    toys = Registry("model", "toy_adapters", "generate")
    monkeypatch.setattr(registry, "KINDS", (*registry.KINDS, toys))
    assert "hello" in toys.names()
    assert "helper" not in toys.names()
    assert toys.get("hello").__name__ == "Hello"


def test_unknown_name_gets_a_suggestion(models: Registry) -> None:
    with pytest.raises(ReportCardError, match="Did you mean empty_report"):
        models.get("empty_reprt")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (TOY.format(name="A") + TOY.format(name="B"), "exactly one public class.*A, B"),
        ("def generate(): pass", "exactly one public class.*none"),
        ("import nonsense_module\n\n\ndef generate(): ...", "failed to import.*nonsense_module"),
        ("x = 1", "is no plugin"),
    ],
)
def test_bad_plugin_files(tmp_path: Path, models: Registry, source: str, message: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(source)

    def load() -> None:
        registry.add_plugin_file(path)
        models.get("bad")

    with pytest.raises(ReportCardError, match=message):
        load()
