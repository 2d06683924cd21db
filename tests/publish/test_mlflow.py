"""MLflow is a view: readable, updated in place, and never a reason for a run to fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

mlflow = pytest.importorskip("mlflow", reason="the [mlflow] extra is not installed")

from reportcard.cli.main import main  # noqa: E402
from tests.scripted_judge import ScriptedJudge  # noqa: E402


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
    name = "random_train_report on openi_findings (reportcard)"
    (child,) = [r for r in found if r.info.run_name == name]  # type: ignore[attr-defined]
    (parent,) = [r for r in found if "mlflow.parentRunId" not in r.data.tags]  # type: ignore[attr-defined]
    metrics, tags = child.data.metrics, child.data.tags  # type: ignore[attr-defined]
    for suffix in ("", "_ci_low", "_ci_high"):
        assert f"lexical/rouge.rouge_l{suffix}" in metrics
    assert metrics["studies/rouge.rouge_l_unscored"] == 0
    assert metrics["studies/rouge.rouge_l_n"] == metrics["studies/evaluated"]
    saved = json.loads(
        next(results.glob("scores/*/random*/reportcard/rouge/scores.json")).read_text()
    )
    entry = saved["keys"]["rouge.rouge_l"]
    assert metrics["lexical/rouge.rouge_l"] == pytest.approx(
        saved["keys"]["rouge.rouge_l"]["value"]
    )
    assert tags["mlflow.parentRunId"] == parent.info.run_id  # type: ignore[attr-defined]
    assert tags["cohort.fingerprint"] == saved["cohort_fingerprint"]
    assert child.data.params["option.draws"] == "20"  # type: ignore[attr-defined]
    (data,) = child.inputs.dataset_inputs  # type: ignore[attr-defined]
    assert data.dataset.digest == saved["cohort_fingerprint"][:8]
    files = {f.path for f in client.list_artifacts(child.info.run_id)}  # type: ignore[attr-defined]
    assert {"card.json", "scores.json", "predictions.json"} <= files
    note = tags["mlflow.note.content"]
    assert f"**{entry['value']:.3f}** [{entry['ci_low']:.3f}, {entry['ci_high']:.3f}]" in note
    assert entry["signature"] in note
    experiment = child.info.experiment_id  # type: ignore[attr-defined]
    page = f"#/experiments/{experiment}/runs/{parent.info.run_id}/artifacts/leaderboard/index.html"  # type: ignore[attr-defined]
    assert f"[Leaderboard]({page})" in note
    links = (results / "leaderboard" / "mlflow.html").read_text()
    assert f"#/experiments/{experiment}/runs/{child.info.run_id}" in links  # type: ignore[attr-defined]
    boards = {f.path for f in client.list_artifacts(parent.info.run_id, "leaderboard")}  # type: ignore[attr-defined]
    assert {"leaderboard/index.html", "leaderboard/forest.svg"} <= boards

    (results / "tracking.json").unlink()  # forget that it is logged: everything is written again
    assert main(options(mini_data, results)) == 0
    _, again = runs(results)
    assert {r.info.run_id for r in again} == {r.info.run_id for r in found}  # type: ignore[attr-defined]


def test_an_unchanged_run_does_not_import_mlflow(tmp_path: Path, mini_data: Path) -> None:
    arguments = options(mini_data, tmp_path / "r")
    assert main(arguments) == 0
    code = (
        f"import sys; from reportcard.cli.main import main; code = main({arguments!r})\n"
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


def test_predictions_of_open_data_stand_beside_their_references(
    tmp_path: Path, mini_data: Path
) -> None:
    results = tmp_path / "r"
    assert main(options(mini_data, results, "tracking.predictions=2")) == 0
    tables = [json.loads(p.read_text()) for p in results.glob("mlartifacts/**/predictions.json")]
    assert len(tables) == 2
    for table in tables:
        assert table["columns"] == ["study_id", "candidate", "reference"]
        assert len(table["data"]) == 2
    oracle = next(t for t in tables if all(c == r for _, c, r in t["data"]))
    assert all(reference for _, _, reference in oracle["data"])


def test_predictions_can_be_left_out(tmp_path: Path, mini_data: Path) -> None:
    results = tmp_path / "r"
    assert main(options(mini_data, results, "tracking.predictions=0")) == 0
    assert not list(results.glob("mlartifacts/**/predictions.json"))


def rating(request: dict[str, Any]) -> str:
    counts = dict.fromkeys("ABCDEF", 0)
    return json.dumps({"significant": counts | {"B": 2}, "insignificant": counts})


def test_judged_pairs_are_traces_of_their_run(tmp_path: Path, mini_data: Path) -> None:
    results = tmp_path / "r"
    with ScriptedJudge(rating) as server:
        judged = ["judge=local", f"judge.base_url={server.base_url}", "tracking.traces=2"]
        arguments = [a for a in options(mini_data, results, *judged) if a != "metrics=rouge"]
        assert main([*arguments, "metrics=chexprompt"]) == 0
        asked = len(server.requests)
    (results / "tracking.json").unlink()
    # The judge is gone: what is shown comes out of what it left, and nothing is shown twice.
    assert main([*arguments, "metrics=chexprompt"]) == 0
    client, found = runs(results)
    (child,) = [r for r in found if r.info.run_name.startswith("random")]  # type: ignore[attr-defined]
    assert "Judged pairs" in child.data.tags["mlflow.note.content"]  # type: ignore[attr-defined]
    traces = client.search_traces(  # type: ignore[attr-defined]
        locations=[child.info.experiment_id],  # type: ignore[attr-defined]
        run_id=child.info.run_id,  # type: ignore[attr-defined]
    )
    assert asked > 2
    assert len(traces) == 2
    for trace in traces:
        pair, question = sorted(trace.data.spans, key=lambda span: span.parent_id is not None)
        assert pair.inputs["candidate"]
        assert pair.inputs["reference"]
        assert pair.outputs["significant"]["B"] == 2
        assert question.outputs["answers"] == [rating({})]
        assert trace.info.token_usage["output_tokens"] == 10


def test_a_lost_store_is_written_again(tmp_path: Path, mini_data: Path) -> None:
    results = tmp_path / "r"
    assert main(options(mini_data, results)) == 0
    (results / "mlflow.db").unlink()
    assert main(options(mini_data, results)) == 0
    assert len(runs(results)[1]) == 3
