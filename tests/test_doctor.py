"""`reportcard doctor` says which judge was chosen, where text goes and whose text may go there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness import config, registry
from harness.doctor import report

CREDENTIALED = """
from harness.api import DatasetCard, Selection

class Private:
    card = DatasetCard("Private reports", "credentialed", "agreement-1")

    def missing(self):
        return None

    def select(self):
        return Selection((), (), ())
"""


@pytest.fixture(autouse=True)
def own_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.datasets, "_files", {})


def judge_lines(mini_data: Path, tmp_path: Path, overrides: Sequence[str]) -> dict[str, list[str]]:
    plugin = tmp_path / "private.py"
    plugin.write_text(CREDENTIALED)
    chosen = [f"plugin={plugin}", "dataset=openi_findings,private", f"data_dir={mini_data}"]
    lines, able = report(config.load([*chosen, "model=empty_report", "metrics=bleu", *overrides]))
    assert able  # the other metrics run without a judge
    return {area: [state, text] for area, state, text in lines if area.endswith("judge")}


def test_without_a_judge_it_says_how_to_choose_one(mini_data: Path, tmp_path: Path) -> None:
    [[area, [state, text]]] = judge_lines(mini_data, tmp_path, []).items()
    assert (area, state) == ("judge", "--")
    assert "make judge" in text


def test_a_local_judge_may_read_everything(mini_data: Path, tmp_path: Path) -> None:
    lines = judge_lines(
        mini_data, tmp_path, ["judge=local", "judge.base_url=http://127.0.0.1:9/v1"]
    )
    assert lines["judge"][0] == "ok"
    assert "text goes to http://127.0.0.1:9" in lines["judge"][1]
    assert lines["openi_findings → judge"] == ["ok", "open data may go anywhere"]
    assert lines["private → judge"] == ["ok", "it stays on this machine"]


def test_a_judge_elsewhere_may_read_open_data_only(
    mini_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    address = "judge.base_url=https://192.0.2.1/v1"
    elsewhere = ["judge=openai", "judge.model=m", address]
    lines = judge_lines(mini_data, tmp_path, elsewhere)
    assert lines["judge"][0] == lines["openi_findings → judge"][0] == "ok"
    state, text = lines["private → judge"]
    assert state == "missing"
    assert "agreement-1" in text
    assert "egress.yaml" in text
    monkeypatch.delenv("OPENAI_API_KEY")
    state, text = judge_lines(mini_data, tmp_path, elsewhere)["judge"]
    assert state == "missing"
    assert "environment variable OPENAI_API_KEY" in text


def test_recorded_verdicts_need_their_file(mini_data: Path, tmp_path: Path) -> None:
    verdicts = tmp_path / "v.jsonl"
    recorded = ["judge=recorded", f"judge.verdicts={verdicts}"]
    assert judge_lines(mini_data, tmp_path, recorded)["judge"][0] == "missing"
    verdicts.touch()
    state, text = judge_lines(mini_data, tmp_path, recorded)["judge"]
    assert state == "ok"
    assert "text goes nowhere" in text


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["judge=openai"], "judge.model is not set"),
        (["judge=azure"], "judge.base_url is not set"),
        (["judge=recorded"], "no recorded verdicts given"),
        (["judge=local", "judge.budget_usd=3"], "judge.prices"),
    ],
)
def test_what_a_judge_still_needs_is_told(
    overrides: list[str], says: str, mini_data: Path, tmp_path: Path
) -> None:
    state, text = judge_lines(mini_data, tmp_path, overrides)["judge"]
    assert state == "missing"
    assert says in text
    assert "None" not in text


def test_the_judges_client_is_among_the_extras(mini_data: Path) -> None:
    lines, _ = report(config.load([f"data_dir={mini_data}", "metrics=bleu", "model=empty_report"]))
    assert "extra [judge]" in {area for area, _, _ in lines}


def test_an_address_that_is_none_is_told(mini_data: Path, tmp_path: Path) -> None:
    lines = judge_lines(mini_data, tmp_path, ["judge=local", "judge.base_url=127.0.0.1"])
    assert lines["judge"][0] == "missing"
    assert "http(s)://" in lines["judge"][1]
