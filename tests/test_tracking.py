"""MLflow is a view: readable, updated in place, and never a reason for a run to fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

mlflow = pytest.importorskip("mlflow", reason="the [mlflow] extra is not installed")

from harness.cli import main  # noqa: E402


def options(mini_data: Path, results: Path, *more: str) -> list[str]:
    return [
        *("run", "dataset=openi_findings", f"data_dir={mini_data}", f"results_dir={results}"),
        *("model=reference_oracle,random_train_report", "metrics=rouge", *more),
    ]


def runs(results: Path) -> tuple[object, list[object]]:
    client = mlflow.MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
    return client, client.search_runs([experiment.experiment_id])


def test_a_run_is_logged_and_updated_in_place(tmp_path: Path, mini_data: Path) -> None:
    results = tmp_path / "r"
    assert main(options(mini_data, results)) == 0
    client, found = runs(results)
    assert len(found) == 3
    (child,) = [r for r in found if r.info.run_name == "random_train_report"]  # type: ignore[attr-defined]
    (parent,) = [r for r in found if "mlflow.parentRunId" not in r.data.tags]  # type: ignore[attr-defined]
    metrics, tags = child.data.metrics, child.data.tags  # type: ignore[attr-defined]
    for suffix in ("", ".ci_low", ".ci_high", ".n", ".unscored"):
        assert f"rouge.rouge_l{suffix}" in metrics
    saved = json.loads(
        next(results.glob("scores/*/random*/reportcard/rouge/scores.json")).read_text()
    )
    assert metrics["rouge.rouge_l"] == pytest.approx(saved["keys"]["rouge.rouge_l"]["value"])
    assert tags["mlflow.parentRunId"] == parent.info.run_id  # type: ignore[attr-defined]
    assert tags["cohort.fingerprint"] == saved["cohort_fingerprint"]
    assert child.data.params["model.draws"] == "20"  # type: ignore[attr-defined]
    (data,) = child.inputs.dataset_inputs  # type: ignore[attr-defined]
    assert data.dataset.digest == saved["cohort_fingerprint"][:8]
    files = {f.path for f in client.list_artifacts(child.info.run_id)}  # type: ignore[attr-defined]
    assert {"card.json", "scores.json"} <= files
    boards = {f.path for f in client.list_artifacts(parent.info.run_id, "leaderboard")}  # type: ignore[attr-defined]
    assert "leaderboard/index.html" in boards

    (results / "tracking.json").unlink()  # forget that it is logged: everything is written again
    assert main(options(mini_data, results)) == 0
    _, again = runs(results)
    assert {r.info.run_id for r in again} == {r.info.run_id for r in found}  # type: ignore[attr-defined]


def test_an_unchanged_run_does_not_import_mlflow(tmp_path: Path, mini_data: Path) -> None:
    arguments = options(mini_data, tmp_path / "r")
    assert main(arguments) == 0
    code = (
        f"import sys; from harness.cli import main; code = main({arguments!r})\n"
        "sys.exit(code or 9 * ('mlflow' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "nothing was re-done" in done.stdout


def test_an_unreachable_server_warns_once_and_the_run_succeeds(
    tmp_path: Path, mini_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = options(mini_data, tmp_path / "r", "tracking.uri=http://127.0.0.1:9")
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.count("Warning: MLflow") == 1
    assert (tmp_path / "r" / "leaderboard" / "index.html").is_file()
    assert not (tmp_path / "r" / "tracking.json").exists()  # the next run tries again


def test_no_report_text_reaches_mlflow(tmp_path: Path, mini_data: Path) -> None:
    path = mini_data / "openi" / "ecgen-radiology" / "2.xml"
    path.write_text(path.read_text().replace("Large left", "ZQX-CANARY-2 left"))
    results = tmp_path / "r"
    assert main(options(mini_data, results)) == 0
    assert "ZQX-CANARY-2" in next(results.glob("predictions/*/ref*/predictions.jsonl")).read_text()
    for place in ("mlflow.db", "mlartifacts"):
        found = [results / place, *(results / place).rglob("*")]
        for file in found:
            if file.is_file():
                assert b"ZQX-CANARY-2" not in file.read_bytes(), file


def test_a_lost_store_is_written_again(tmp_path: Path, mini_data: Path) -> None:
    results = tmp_path / "r"
    assert main(options(mini_data, results)) == 0
    (results / "mlflow.db").unlink()
    assert main(options(mini_data, results)) == 0
    assert len(runs(results)[1]) == 3
