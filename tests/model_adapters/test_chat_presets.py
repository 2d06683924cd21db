"""Every preset of a chat model composes, says what it lacks, and shows its prompt; no torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reportcard.api import Image, Request
from reportcard.config import compose as config
from reportcard.config import paths
from reportcard.core import registry
from reportcard.models.staged import Completion

PRESETS = [
    name
    for name in paths.names("model")
    if "plugin: huggingface" in (paths.conf_dir() / "model" / f"{name}.yaml").read_text("utf-8")
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
