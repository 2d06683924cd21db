"""The command as a user meets it: help, exit codes, one-sentence errors, the whole path."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from reportcard.cli.arguments import split_words
from reportcard.cli.main import main
from reportcard.cli.parser import (
    GROUPS,
    command_names,
    command_parser,
    help_page,
    load_command,
    parse,
    summary,
)


def options(mini_data: Path, results: Path, *more: str) -> list[str]:
    return [
        *("dataset=openi_findings", f"data_dir={mini_data}", f"results_dir={results}"),
        *("tracking=none", "stats.resamples=50", *more),
    ]


@pytest.mark.parametrize("name", command_names())
def test_a_command_is_a_module_with_two_functions(name: str) -> None:
    command = load_command(name)
    assert callable(command.add_arguments)
    assert callable(command.run)
    assert command.GROUP in GROUPS
    assert summary(command).endswith(".")
    assert len(summary(command)) <= 65  # the page of reportcard --help fits into 80 columns
    assert f"  {name} " in help_page()
    page = command_parser(command).format_help()
    assert f"  reportcard {name} " in page  # an example
    for action in command_parser(command)._actions:
        assert action.help, f"{name}: {action.dest} has no help"


def test_the_package_lists_every_command() -> None:
    listed = import_module("reportcard.cli.commands").__doc__ or ""
    words = set(listed.partition("Run a benchmark:")[2].replace(",", " ").replace("_", "-").split())
    assert set(command_names()) <= words


def test_options_and_settings_stand_in_any_order() -> None:
    words = ["limit=2", "A", "--metric", "rouge", "B", "--json", "-", "suite=s"]
    given = parse(load_command("compare"), words)
    assert split_words(given.words) == (["A", "B"], ["limit=2", "suite=s"])
    assert (given.metric, given.json) == ("rouge", Path("-"))
    given = parse(load_command("evaluate"), ["--seed", "7", "p.csv", "judge=local"])
    assert (given.pairs, given.overrides) == (Path("p.csv"), ["judge=local"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["comapre", "a", "b"], "there is no command 'comapre'. Did you mean compare?"),
        (["xyz"], "See: reportcard --help"),
        (["run", "--fetsh"], "did you mean --fetch?"),
        (["run", "--zzz"], "see reportcard run --help"),
        (["list", "modles"], "'models'"),
        (["fetch"], "required: what\n"),
        (["--versoin"], "unrecognized arguments: --versoin"),
    ],
)
def test_a_mistyped_word_is_named(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_python_m_runs_the_command() -> None:
    command = [sys.executable, "-m", "reportcard.cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.startswith("reportcard ")


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, time; t = time.perf_counter()\n"
        "from reportcard.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'numpy', 'mlflow', 'hydra', 'sklearn', 'scipy', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
    assert "Benchmark chest X-ray report generation" in done.stdout


def test_help_of_every_command_names_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in command_names():
        with pytest.raises(SystemExit) as stop:
            main([verb, "--help"])
        assert stop.value.code == 0
        text = capsys.readouterr().out
        assert len(text) > 150
        if verb in ("run", "predict", "score"):
            assert "results_dir=DIR" in text


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "reportcard run --fetch" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["models", "datasets", "metrics", "protocols", "suites"])
def test_list(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", what]) == 0
    expected = {
        "models": ("replay", "Floor: an empty report"),
        "datasets": ("openi_r2gen_test", "590"),
        "metrics": ("bleu_radcliq", "pycocoevalcap"),
        "protocols": ("r2gen", "reportcard"),
        "suites": ("default", "lexical_variants"),
    }[what]
    out = capsys.readouterr().out
    assert all(word in out for word in expected)


def test_the_whole_path_then_nothing_again(
    tmp_path: Path, mini_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = options(mini_data, tmp_path / "r", "model=reference_oracle,empty_report")
    assert main(["run", *chosen]) == 0
    out = capsys.readouterr().out
    assert "reference_oracle" in out
    assert "index.html" in out
    assert main(["run", *chosen]) == 0
    assert "nothing was re-done" in capsys.readouterr().out
    board = json.loads((tmp_path / "r" / "leaderboard" / "leaderboard.json").read_text())
    assert len(board["boards"]) == 1


def test_stages_one_by_one(tmp_path: Path, mini_data: Path) -> None:
    chosen = options(mini_data, tmp_path / "r", "model=empty_report")
    assert main(["predict", *chosen]) == 0
    assert main(["score", *chosen]) == 0
    assert main(["leaderboard", *chosen]) == 0
    assert (tmp_path / "r" / "leaderboard" / "index.html").is_file()


def test_score_without_predictions_says_what_to_run(
    tmp_path: Path, mini_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", *options(mini_data, tmp_path / "r", "model=empty_report")]) == 2
    assert "reportcard predict" in capsys.readouterr().err


def test_one_model_that_cannot_run_does_not_stop_the_others(
    tmp_path: Path, mini_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.csv").write_text("study_id,candidate\nCXR1,a\n")
    chosen = options(mini_data, tmp_path / "r", "model=empty_report,replay", "model.predictions=x")
    # model.predictions goes to the model that has the option; the other runs without it
    assert main(["run", *chosen]) == 2
    assert "replay: x: unknown ending" in capsys.readouterr().err
    assert list((tmp_path / "r").glob("predictions/*/empty_report@*/DONE"))
    single = options(
        mini_data, tmp_path / "r", "model=replay", f"model.predictions={tmp_path / 'p.csv'}"
    )
    assert main(["run", *single]) == 2
    assert "no prediction for 4 of 5 studies: CXR2" in capsys.readouterr().err


def test_limit_is_a_cohort_of_its_own(tmp_path: Path, mini_data: Path) -> None:
    assert main(["run", *options(mini_data, tmp_path / "r", "model=empty_report")]) == 0
    limited = options(mini_data, tmp_path / "r", "model=empty_report", "limit=2")
    assert main(["run", *limited]) == 0
    names = sorted(p.name.split("@")[0] for p in (tmp_path / "r" / "predictions").iterdir())
    assert names == ["openi_findings", "openi_findings-first2"]


def test_missing_data_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", f"data_dir={tmp_path}", f"results_dir={tmp_path / 'r'}"]) == 2
    error = capsys.readouterr().err
    assert "Open-I reports not found" in error
    assert "reportcard fetch openi" in error
    assert not (tmp_path / "r").exists()


def test_compare_prints_both_and_the_adjusted_p(
    tmp_path: Path, mini_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = options(mini_data, tmp_path / "r")
    models = "model=reference_oracle,random_train_report"
    assert main(["run", *chosen, models]) == 0
    capsys.readouterr()
    compare = ["compare", "reference_oracle", "random_train_report", "--trials", "200"]
    assert main([*compare, *chosen]) == 0
    out = capsys.readouterr().out
    assert "p (Holm)" in out
    assert "rouge.rouge_l" in out
    assert main([*compare, "--metric", "bleu.bleu_4", *chosen]) == 0
    assert "rouge" not in capsys.readouterr().out
    assert main([*compare, "--metric", "bleu.blue_4", *chosen]) == 2
    assert "Did you mean bleu.bleu_4" in capsys.readouterr().err
    assert main(["compare", "empty_report", "reference_oracle", *chosen]) == 2
    assert "No row" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["compare", "a", "b"], ["compare", "--all"], ["power", "a", "b"], ["explain", "a", "b"]],
)
def test_without_scores_it_says_what_to_run(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, f"results_dir={tmp_path}"]) == 2
    assert "Nothing was scored" in capsys.readouterr().err


def test_doctor_names_what_is_missing(
    tmp_path: Path, mini_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", f"data_dir={mini_data}"]) == 0
    assert "data in place" in capsys.readouterr().out
    assert main(["doctor", f"data_dir={tmp_path / 'nowhere'}"]) == 2
    assert "missing" in capsys.readouterr().out


def test_two_processes_on_one_run(tmp_path: Path, mini_data: Path) -> None:
    """The second is refused with a sentence; the first is not disturbed."""
    from tests.predict.test_predict import SLOW_MODEL

    slow = SLOW_MODEL.replace("0.02", "60")  # longer than any start of the second process
    (tmp_path / "slow.py").write_text(slow)
    command = [
        *(sys.executable, "-m", "reportcard.cli.main", "predict", f"plugin={tmp_path / 'slow.py'}"),
        *("model=slow", "engine.batch_size=1", *options(mini_data, tmp_path / "r")),
    ]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "r").glob("predictions/*/*/predictions.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 2
    assert "is being written by process" in second.stderr
    assert first.poll() is None
    first.kill()
    first.wait()


def test_a_replay_is_compared_by_its_label(
    tmp_path: Path, mini_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.csv"
    path.write_text("study_id,candidate\n" + "".join(f"CXR{i},Clear.\n" for i in range(1, 6)))
    chosen = options(mini_data, tmp_path / "r")
    assert main(["run", *chosen, "model=empty_report"]) == 0
    mine = ["model=replay", f"model.predictions={path}", "model.label=my model"]
    assert main(["run", *chosen, *mine]) == 0
    capsys.readouterr()
    assert main(["compare", "my model", "empty_report", *chosen, "--trials", "50"]) == 0
    assert "my model − empty_report" in capsys.readouterr().out
    assert main(["compare", "my model", "my model", *chosen]) == 2
    assert main(["compare", "my model", "empty_report", "--trials", "0", *chosen]) == 2


def test_files_in_the_way_are_one_sentence(
    tmp_path: Path, mini_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    assert main(["run", *options(mini_data, tmp_path / "file", "model=empty_report")]) == 2
    assert "Not a directory" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["", "{}", "{", "[]"])
def test_a_damaged_current_json_is_made_again(tmp_path: Path, mini_data: Path, damage: str) -> None:
    chosen = options(mini_data, tmp_path / "r", "model=empty_report", "metrics=rouge")
    assert main(["run", *chosen]) == 0
    path = tmp_path / "r" / "current.json"
    whole = path.read_text()
    path.write_text(damage)
    next((tmp_path / "r").rglob("scores.json")).write_text(damage)
    assert main(["run", *chosen]) == 0
    assert path.read_text() == whole
