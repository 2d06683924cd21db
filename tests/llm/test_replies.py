"""Of what a server says, only ids and known codes are shown, never text."""

from __future__ import annotations

import json

import pytest

from reportcard.config.endpoint_settings import JudgeSettings
from reportcard.llm.client.replies import failure_of, safe_id

TEXT = "CANARYLARK shows a small effusion."


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o-2024-08-06",
        "llama3.1:8b",
        "org/Model_7B@main",
        "/models/x.gguf",
        "SmolLM2-135M-Instruct.Q4_1@1a2b3c4d",
    ],
)
def test_ids_of_models_are_shown_as_they_are(model: str) -> None:
    assert safe_id(model, [TEXT]) == model


@pytest.mark.parametrize(
    "model",
    [TEXT, "CANARYLARK", "m|prompt:x", "m\nn", "m" * 101, "модель", "\ud800", "small"],
)
def test_what_is_no_id_or_an_echo_is_shown_by_its_digest(model: str) -> None:
    shown = safe_id(model, [TEXT])
    assert shown.startswith("sha256:")
    assert len(shown) == 15
    assert shown == safe_id(model, [TEXT])


def test_the_name_that_was_asked_for_is_no_echo() -> None:
    assert safe_id("small", [TEXT], "small") == "small"


@pytest.mark.parametrize("field", ["code", "type", "param"])
@pytest.mark.parametrize("echo", ["JOHNDOE19500101", "john_doe", TEXT, "messages.[0].john"])
def test_codes_and_parameters_that_nobody_knows_are_not_shown(field: str, echo: str) -> None:
    body = json.dumps({"error": {field: echo}}).encode()
    settings = JudgeSettings(kind="openai", base_url="http://127.0.0.1:9/v1", model="m")
    for status in (400, 401, 429, 500):
        shown = str(failure_of(status, {}, body, settings))
        assert f"HTTP {status}" in shown
        assert echo not in shown


def test_known_codes_are_shown() -> None:
    body = json.dumps({"error": {"code": "unsupported_value", "param": "temperature"}}).encode()
    settings = JudgeSettings(kind="openai", base_url="http://127.0.0.1:9/v1", model="m")
    assert "HTTP 400 unsupported_value temperature" in str(failure_of(400, {}, body, settings))
