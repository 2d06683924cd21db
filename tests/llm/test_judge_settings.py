"""A judge's settings are given on the command line and checked before anything is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reportcard.api import ReportCardError
from reportcard.cli.main import main
from reportcard.config import compose as config
from reportcard.config.endpoint_settings import ChatSettings, JudgeSettings
from tests.scripted_judge import ScriptedJudge

ZEROS = dict.fromkeys("ABCDEF", 0)
RATING = {"significant": ZEROS, "insignificant": ZEROS}


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        '{"study_id": "s", "candidate": "The lungs are clear.", "reference": "Clear lungs."}\n'
    )
    return str(path)


@pytest.mark.parametrize("model", ["gpt-4o-2024-08-06", "gpt-4.1", "llama3.1:8b", "org/model"])
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_prices_are_given_on_the_command_line(model: str, quote: str) -> None:
    price = "{input: 2.5, cached_input: 1.25, output: 10}"
    override = f"judge.prices={{{quote}{model}{quote}: {price}}}"
    wanted = {model: {"input": 2.5, "cached_input": 1.25, "output": 10}}
    chosen = ["judge=vllm", f"judge.model={model}", override]
    for judge in (
        config.load(chosen).judge,
        config.load(chosen).annotators["chexprompt"].options["judge"],
        config.load_annotators(chosen)["chexprompt"].options["judge"],
    ):
        assert JudgeSettings.from_options(judge).prices == wanted


def test_a_price_and_a_budget_work_to_the_end(
    pairs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openai")
    with ScriptedJudge(lambda request: json.dumps(RATING)) as server:
        code = main(
            [
                *("evaluate", pairs, "--metrics", "chexprompt", "--judge", "vllm"),
                *("judge.model=llama3.1:8b", f"judge.base_url={server.base_url}"),
                "judge.prices={llama3.1:8b: {input: 2.5, cached_input: 1.25, output: 10}}",
                "judge.budget_usd=5",
            ]
        )
    printed = capsys.readouterr()
    assert code == 0, printed
    assert "$0.0003" in printed.err or "$0.0004" in printed.err  # 100 tokens in, 10 out


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("judge.nosuch=1", "conf/judge/none.yaml"),
        ("judge.pricse={}", "Did you mean prices?"),
        ("judge.model=4", "judge.model must be text"),
        ("judge.base_url=8103", "judge.base_url must be text"),
        ("judge.record=5", "judge.record must be a path"),
        ("judge.caveat=7", "judge.caveat must be text"),
        ("judge.api_key_env=5", "judge.api_key_env must be text"),
        ("judge.prices=3", "judge.prices must be"),
        ("judge.prices={m", "judge.prices must be"),
        ("judge.timeout_s=nan", "judge.timeout_s must be a number above 0"),
        ("judge.patience_s=inf", "judge.patience_s must be a number above 0"),
        ("judge.verdicts=v.jsonl", "read by judge=recorded only"),
        ("judge.verdicts=5", "judge.verdicts must be a path"),
    ],
)
def test_a_setting_of_the_wrong_kind_is_a_sentence(
    override: str, says: str, pairs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", pairs, "--metrics", "chexprompt", "--judge", "local", override]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error


def test_a_live_judge_takes_no_verdicts(
    pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "v.jsonl").touch()
    words = ["--metrics", "chexprompt", "--judge", "local", "--verdicts", str(tmp_path / "v.jsonl")]
    assert main(["evaluate", pairs, *words]) == 2
    assert "recorded only" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["2026", "null", "1e5", "true", "it's, odd.jsonl"])
def test_files_may_have_any_name(
    name: str, pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = {"kind": "chexprompt", "reference": "Clear lungs.", "candidate": "The lungs are clear."}
    Path(name).write_text(json.dumps({**line, **RATING}) + "\n")
    words = ["--metrics", "chexprompt", "--verdicts", name, "--record", f"{name}2", "--json", "out"]
    assert main(["evaluate", pairs, *words]) == 0
    assert json.loads(Path("out").read_text())["metrics"]["chexprompt.mean_total"]["value"] == 0
    assert Path(f"{name}2").is_file()


def test_a_path_stays_a_path() -> None:
    recorded = JudgeSettings.from_options({"kind": "recorded", "verdicts": "a/b"})
    assert recorded.verdicts == Path("a/b")
    assert JudgeSettings.from_options({"verdicts": None, "record": ""}) == JudgeSettings()
    with pytest.raises(ReportCardError, match="nosuch"):
        JudgeSettings.from_options({"nosuch": 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [("structured", "none"), ("attempts", 2), ("verdicts", "v"), ("record", "r"), ("caveat", "c")],
)
def test_a_judges_option_has_no_effect_for_a_chat_model_and_is_refused(
    name: str, value: Any
) -> None:
    options = {"base_url": "http://127.0.0.1:9/v1", "model": "m"}
    assert ChatSettings.from_options(options).model == "m"
    assert JudgeSettings.from_options({"kind": "openai", **options}).model == "m"
    with pytest.raises(ReportCardError, match=rf"model\.{name} has no effect.*base_url"):
        ChatSettings.from_options({**options, name: value})


@pytest.mark.parametrize("kind", ["none", "recorded", "nosuch"])
def test_a_chat_model_is_behind_an_endpoint(kind: str) -> None:
    with pytest.raises(ReportCardError, match=rf"model\.kind '{kind}'; there are openai, azure\."):
        ChatSettings(kind)
