"""Every preset of a chat model composes, says what it lacks, and shows its prompt; no torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from reportcard.api import Image, Request
from reportcard.config import catalogue, paths
from reportcard.config import compose as config
from reportcard.core import registry
from reportcard.models.staged import Completion

PRESETS = [
    name
    for name in paths.names("model")
    if name != "huggingface" and catalogue.preset("model", name).get("plugin") == "huggingface"
]


def black() -> np.ndarray:
    return np.zeros((8, 8), np.uint8)


REQUEST = Request("s", (Image("i", "PA", read=black),), indication="cough", phrase="an effusion")


def built(name: str, *overrides: str):
    plugin = config.load([f"model={name}", *overrides]).models[0]
    return registry.models.build(plugin.plugin, plugin.options, plugin.label)


def test_there_are_the_presets_of_the_documentation() -> None:
    page = Path(__file__).parents[2] / "docs" / "models" / "huggingface.md"
    text = page.read_text(encoding="utf-8")
    assert len(PRESETS) >= 15
    assert [name for name in PRESETS if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_only_what_makes_the_model_itself(name: str) -> None:
    """It repeats no key of the preset that it inherits from, and is short."""
    own = yaml.safe_load((paths.conf_dir() / "model" / f"{name}.yaml").read_text("utf-8"))
    (parent,) = own.pop("defaults")
    inherited = catalogue.preset("model", parent)
    assert {key for key in own if key in inherited and own[key] == inherited[key]} <= {"weights"}
    assert len(own) <= 10


@pytest.mark.parametrize("name", paths.names("model"))
def test_the_listing_reads_a_preset_as_hydra_composes_it(name: str) -> None:
    node = catalogue.preset("model", name)
    required = [f"model.{key}=x" for key, value in node.items() if value == "???"]
    plugin = config.load([f"model={name}", *required]).models[0]
    options = {key: value for key, value in node.items() if key not in config.RESERVED}
    assert node["plugin"] == plugin.plugin
    assert options.keys() == plugin.options.keys()
    assert {k: v for k, v in options.items() if v != "???"}.items() <= plugin.options.items()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_shows_its_prompt_and_says_what_it_lacks(name: str) -> None:
    model = built(name)
    prompt = model.prompt(REQUEST)
    assert model.instruction["findings"] in prompt.text
    assert [image.image_id for image in prompt.images] == ["i"]
    assert model.card.weights
    assert model.card.needs_pixels
    said = model.missing()  # a pinned hub id that is not here yet is downloaded when it is loaded
    assert model.weights if said is None else "model.weights" in said or "not installed" in said
    assert model.identity["weights"] == (model.weights or "absent")
    marked = model.prompt(replace(REQUEST, marks=("1 left lung", "2 right lung")))
    assert "Marks: 1 left lung, 2 right lung" in marked.text
    assert "marks" in marked.used
    assert "Marks" not in prompt.text
    first = (paths.conf_dir() / "model" / f"{name}.yaml").read_text("utf-8").split("\n")[0]
    assert first.startswith("# ")
    assert "weights:" in first


@pytest.mark.parametrize("name", PRESETS)
def test_weights_and_decoding_can_be_overridden(name: str, tmp_path: Path) -> None:
    weights = "org/other-27b@" + "0" * 40
    model = built(name, f"model.weights={weights}", "model.max_new_tokens=7", "model.batch_size=1")
    assert (model.weights, model.card.revision) == (weights, "0" * 40)
    assert model.prompt(REQUEST).max_new_tokens == 7


@pytest.mark.parametrize(
    ("name", "text", "findings"),
    [
        ("medgemma_4b", "FINDINGS: Clear.", "Clear."),
        ("chexone", "Clear.", "Clear."),
        ("chexone_reasoning", r"First … so \boxed{Clear.}", "Clear."),
        ("nv_reason_cxr", "<think>…</think><answer>Clear.</answer>", "Clear."),
        ("qwen3_vl", "<think>…</think>\nClear.", "Clear."),
    ],
)
def test_an_answer_is_read_as_the_preset_says(name: str, text: str, findings: str) -> None:
    model = built(name)
    assert model.report(model.prepare(REQUEST), Completion(text)).findings == findings
