"""`reportcard prompt`: exactly what a model is given, without weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reportcard.api import ModelCard, Request
from reportcard.cli.main import main
from reportcard.core import registry
from reportcard.predict.show_prompt import shown
from tests.toy_staged import ToyStaged

TOY = Path(__file__).parents[1] / "toy_staged.py"
SMALL = ("dataset.test=3", "dataset.train=0", "dataset.size=64")


@pytest.fixture(autouse=True)
def _own_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.models, "_offered", {})


def prompt(*words: str) -> int:
    return main(["prompt", f"plugin={TOY}", *words, *SMALL])


def test_the_prompt_of_a_study_is_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert prompt("model=toy_staged", "+model.greeting='  Say'") == 0
    said = capsys.readouterr().out
    assert said.startswith("toy_staged on phantom, study phantom-test-000-")
    assert "  image 1: PA phantom" in said
    assert "  used: frontal, indication" in said
    assert "  left out: age: it was not trained with it" in said
    assert "  max new tokens: 60" in said
    text = said.split("────────\n")[1]
    assert text.startswith("<image>")
    assert ">  Say: " in text
    ids = said.split(" token ids: ")[1].split("\n")[0].split()
    assert list(map(int, ids)) == list(map(ord, text.rstrip("\n")))


def test_a_study_is_chosen_by_its_id_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompt", "model=fixed_normal_report", *SMALL, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert first["takes_no_prompt"] == "it takes no prompt"
    assert prompt("model=toy_staged,empty_report", "study=" + first["study"], "--json") == 0
    toy, empty = json.loads(capsys.readouterr().out)
    assert toy["study"] == empty["study"] == first["study"]
    assert toy["token_ids"] == list(map(ord, toy["prompt"]))
    assert prompt("model=toy_staged", "study=" + first["study"][:-1] + "x") == 2
    assert f"Did you mean {first['study'][:-2]}" in capsys.readouterr().err


def test_weights_are_not_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prompt("model=toy_staged", f"+model.weights={tmp_path / 'nowhere'}") == 0
    assert "prompt, " in capsys.readouterr().out


def test_a_model_that_cannot_be_asked_costs_its_own_entry(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["prompt", "model=fixed_normal_report", *SMALL, "--json"]) == 0
    study = json.loads(capsys.readouterr().out)[0]["study"]
    assert prompt("model=toy_staged", f"+model.bad_prompt={study}") == 2
    assert "cannot be asked: TypeError: not a ReportCardError" in capsys.readouterr().out
    assert prompt() == 2
    assert "prompt needs a model" in capsys.readouterr().err


def test_an_adapter_without_stages_may_show_what_it_sends() -> None:
    class Talks:
        card = ModelCard("talks")

        def generate(self, requests):  # type: ignore[no-untyped-def]
            return []

        def shown(self, request: Request) -> dict[str, object]:
            return {"prompt": f"Tell me of {request.study_id}", "temperature": 0}

    assert shown(Talks(), Request("s1")) == {"prompt": "Tell me of s1", "temperature": 0}


def test_without_a_tokenizer_the_reason_is_given() -> None:
    class Bare(ToyStaged):
        def prompt(self, request):  # type: ignore[no-untyped-def]
            from dataclasses import replace

            return replace(super().prompt(request), ids=None)

        def missing(self) -> str:
            return "no weights given: model.weights=FOLDER"

    found = shown(Bare(), Request("s1", indication="Cough."))
    assert found["token_ids"] is None
    assert found["no_token_ids"] == "no weights given: model.weights=FOLDER"
