"""The predict stage: failures cost one study, resumes cost nothing, kills lose nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from reportcard.api import ModelCard, Prediction, Report, ReportCardError, Request
from reportcard.config.compose import load_metrics, load_protocol
from reportcard.config.settings import Plugin, Stats
from reportcard.core import registry
from reportcard.data.cohort import Cohort
from reportcard.predict.prediction_stage import predict
from reportcard.predict.predictions_file import is_done, read_reports
from reportcard.predict.system import System, open_model
from reportcard.publish.page.write import write
from reportcard.score.scorer import open_metrics
from reportcard.score.scoring_stage import Scoring

CALLS: list[list[str]] = []


def progress(batches: Iterable[Any], total: int, label: str) -> Iterable[Any]:
    return batches


class Fake:
    """An adapter of the test: raises on the studies that it is told to."""

    def __init__(self, bad: Sequence[str] = (), short: bool = False, pixels: bool = False) -> None:
        self.card = ModelCard("fake", needs_pixels=pixels)
        self.bad, self.short = bad, short

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        CALLS.append([r.study_id for r in requests])
        for request in requests:
            if request.study_id in self.bad:
                raise RuntimeError(f"CUDA error on {request.study_id}")
        answers = [Prediction(r.study_id, Report(f"Seen {r.study_id}.")) for r in requests]
        return answers[:-1] if self.short and len(requests) > 1 else answers


@pytest.fixture(autouse=True)
def _forget() -> None:
    CALLS.clear()


def fake(cohort: Cohort, **options: Any) -> System:
    return System("fake", Plugin("fake", "fake", options), Fake(**options), "f" * 64)


def test_a_failing_study_costs_its_own_answer_only(tmp_path: Path, mini_cohort: Cohort) -> None:
    folder, new = predict(tmp_path, mini_cohort, fake(mini_cohort, bad=["CXR3"]), 2, progress)
    assert new
    (draw,) = read_reports(folder)
    assert draw["CXR3"] == (Report(), "failed")
    assert draw["CXR4"][0].findings == "Seen CXR4."
    done = json.loads((folder / "DONE").read_text())
    assert done["status"] == {"failed": 1, "ok": 4}
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").open()]
    assert rows[2]["error"].startswith("RuntimeError: CUDA error on CXR3 (test_predict.py:")


def test_errors_of_closed_data_are_not_quoted(tmp_path: Path, mini_cohort: Cohort) -> None:
    import dataclasses

    card = dataclasses.replace(mini_cohort.card, data_class="credentialed")
    closed = dataclasses.replace(mini_cohort, card=card)
    folder, _ = predict(tmp_path, closed, fake(closed, bad=["CXR3"]), 2, progress)
    assert "CUDA error" not in (folder / "predictions.jsonl").read_text()


def test_a_model_that_answers_too_few_is_caught(tmp_path: Path, mini_cohort: Cohort) -> None:
    folder, _ = predict(tmp_path, mini_cohort, fake(mini_cohort, short=True), 5, progress)
    assert len(read_reports(folder)[0]) == 5
    assert CALLS[0] == ["CXR1", "CXR2", "CXR3", "CXR4", "CXR5"]
    assert all(len(call) == 1 for call in CALLS[1:])


def test_a_failed_study_is_scored_as_empty(tmp_path: Path, mini_cohort: Cohort) -> None:
    system = fake(mini_cohort, bad=["CXR3"])
    predict(tmp_path, mini_cohort, system, 2, progress)
    protocol = load_protocol("reportcard")
    scorers = open_metrics(load_metrics(["rouge"], protocol))
    scoring = Scoring(tmp_path, mini_cohort, protocol, Stats(50), scorers)
    assert scoring.run(system) == 1
    assert scoring.run(system) == 0  # up to date
    saved = json.loads(next(tmp_path.glob("scores/**/scores.json")).read_text())
    assert saved["counts"] == {
        "cohort": 5,
        "excluded_empty_reference": 0,
        "evaluated": 5,
        "failed": 1,
        "empty_candidates": 1,
        "unique_candidates": 5,
        "draws": 1,
    }
    assert saved["keys"]["rouge.rouge_l"]["n"] == 5


def test_a_finished_run_generates_nothing(tmp_path: Path, mini_cohort: Cohort) -> None:
    predict(tmp_path, mini_cohort, fake(mini_cohort), 2, progress)
    CALLS.clear()
    _, new = predict(tmp_path, mini_cohort, fake(mini_cohort), 2, progress)
    assert not new
    assert CALLS == []


def test_a_stopped_run_generates_the_rest_only(tmp_path: Path, mini_cohort: Cohort) -> None:
    def stop_after_two(batches: Iterable[Any], total: int, label: str) -> Iterable[Any]:
        for number, batch in enumerate(batches):
            yield batch
            if number == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(tmp_path, mini_cohort, fake(mini_cohort), 2, stop_after_two)
    CALLS.clear()
    folder, new = predict(tmp_path, mini_cohort, fake(mini_cohort), 2, progress)
    assert new
    assert CALLS == [["CXR5"]]
    assert is_done(folder)


def test_predictions_changed_afterwards_are_noticed(tmp_path: Path, mini_cohort: Cohort) -> None:
    folder, _ = predict(tmp_path, mini_cohort, fake(mini_cohort), 2, progress)
    path = folder / "predictions.jsonl"
    path.write_text(path.read_text().replace("Seen", "Saw"))
    with pytest.raises(ReportCardError, match="not the file that the run completed with"):
        predict(tmp_path, mini_cohort, fake(mini_cohort), 2, progress)


def test_lines_out_of_order_are_put_in_cohort_order(tmp_path: Path, mini_cohort: Cohort) -> None:
    folder, _ = predict(tmp_path, mini_cohort, fake(mini_cohort), 2, progress)
    path = folder / "predictions.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[::-1]))
    (folder / "DONE").unlink()
    predict(tmp_path, mini_cohort, fake(mini_cohort), 2, progress)
    assert path.read_bytes() == whole


def test_preflight_refuses_pixels_on_a_text_only_cohort(
    tmp_path: Path, mini_cohort: Cohort
) -> None:
    with pytest.raises(ReportCardError, match="needs images and mini is text only"):
        predict(tmp_path, mini_cohort, fake(mini_cohort, pixels=True), 2, progress)
    assert not list(tmp_path.glob("predictions/**/*.jsonl"))


def test_fingerprint_follows_what_decides_the_output(mini_cohort: Cohort) -> None:
    def of(**options: Any) -> str:
        plugin = Plugin("random_train_report", "r", options)
        return open_model(plugin, mini_cohort).fingerprint

    assert of(seed=0) == of(seed=0) != of(seed=1)
    assert of(draws=3) != of(draws=4)


def test_unknown_option_is_named(mini_cohort: Cohort) -> None:
    with pytest.raises(ReportCardError, match=r"model r: .*sed"):
        open_model(Plugin("random_train_report", "r", {"sed": 1}), mini_cohort)


SLOW_MODEL = '''
import time

from reportcard.api import ModelCard, Prediction, Report


class Slow:
    """Answers after a moment, so that a kill can hit it anywhere."""

    card = ModelCard("slow", draws=2)

    def generate(self, requests):
        time.sleep(0.02)
        return [
            Prediction(r.study_id, Report(f"Report of {r.study_id}, draw {r.draw}."), draw=r.draw)
            for r in requests
        ]
'''


def final_files(results: Path) -> dict[str, bytes]:
    """What must not depend on how often a run was killed: predictions, cards, scores, page.

    A killed session leaves no time, so the tables are built without the times.
    """
    for path in results.rglob("timing.jsonl"):
        path.unlink()
    write(results)
    names = {"predictions.jsonl", "card.json", "DONE", "rows.npz", "scores.json", "current.json"}
    names.add("details.json")
    names |= {"index.html", "leaderboard.json", "leaderboard.csv"}
    return {
        str(path.relative_to(results)): path.read_bytes()
        for path in sorted(results.rglob("*"))
        if path.name in names
    }


@pytest.mark.slow
def test_ten_kills_end_in_the_same_files(tmp_path: Path, mini_data: Path) -> None:
    """kill -9 of the whole command at ten random moments, then one run to the end.

    A moment is counted from the command's first file, so a busy machine does not spoil it: the
    model sleeps three seconds in all, and most kills fall while predictions are written.
    """
    (tmp_path / "slow.py").write_text(SLOW_MODEL.replace("0.02", "0.3"))

    def start(results: Path) -> subprocess.Popen[bytes]:
        command = [
            *(sys.executable, "-m", "reportcard.cli.main", "run", f"plugin={tmp_path / 'slow.py'}"),
            *("model=slow,empty_report", "dataset=openi_findings", f"data_dir={mini_data}"),
            *(f"results_dir={results}", "engine.batch_size=1", "tracking=none"),
            *("stats.resamples=50", "metrics=bleu,rouge"),
        ]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    calm, shaken = tmp_path / "calm", tmp_path / "shaken"
    assert start(calm).wait() == 0
    undisturbed = final_files(calm)
    # Of each run 3, 2 per metric and details; the cohort, current.json, the page and the viewer.
    assert len(undisturbed) == 2 * 3 + 2 * 2 * 2 + 2 + 5, sorted(undisturbed)

    rng, killed = random.Random(0), 0
    for _ in range(10):
        before = time.time_ns()
        process = start(shaken)
        while process.poll() is None and not any(
            path.stat().st_mtime_ns > before for path in shaken.glob("cohorts/*.json")
        ):
            time.sleep(0.01)
        try:
            process.wait(timeout=rng.uniform(0.0, 1.2))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
            process.wait()
    assert start(shaken).wait() == 0
    assert killed >= 4
    assert final_files(shaken) == undisturbed


def test_registry_sees_the_plugin_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.models, "_offered", {})
    (tmp_path / "slow.py").write_text(SLOW_MODEL)
    registry.offer(tmp_path / "slow.py")
    assert registry.models.get("slow")().card.draws == 2


BROKEN = {
    "model": """
from reportcard.api import ModelCard


class Broken:
    card = ModelCard("raises when it is built")

    def __init__(self):
        raise OSError("no weights at /nowhere")

    def generate(self, requests): ...
""",
    "types": """
from reportcard.api import ModelCard, Prediction, Report


class Broken:
    card = ModelCard("answers with a number")

    def generate(self, requests):
        return [Prediction(r.study_id, Report(findings=3), draw=r.draw) for r in requests]
""",
    "metric": """
from reportcard.api import MetricSpec, Key


class Broken:
    spec = MetricSpec("1", {"x": Key()}, "broken")

    def rows(self, pairs):
        return 1 / 0

    def scores(self, total): ...
""",
}


def test_somebodys_broken_plugin_costs_its_own_row_only(
    tmp_path: Path,
    mini_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from reportcard.cli.main import main

    for kind in registry.KINDS:
        monkeypatch.setattr(kind, "_offered", {})
    for name, source in BROKEN.items():
        (tmp_path / f"bad_{name}.py").write_text(source)
    files = ",".join(str(tmp_path / f"bad_{name}.py") for name in BROKEN)
    results = tmp_path / "r"
    arguments = [
        *("run", f"plugin={files}", "model=bad_model,bad_types,empty_report", "tracking=none"),
        *("metrics=bad_metric,rouge", "dataset=openi_findings", f"data_dir={mini_data}"),
        *(f"results_dir={results}", "stats.resamples=20"),
    ]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "bad_model: OSError: no weights at /nowhere (bad_model.py:9)" in error
    assert "Traceback" not in error
    saved = json.loads(next(results.glob("scores/*/empty*/*/bad_metric/scores.json")).read_text())
    assert saved["not_run"].startswith("ZeroDivisionError")
    counts = json.loads(next(results.glob("scores/*/bad_types*/*/rouge/scores.json")).read_text())
    assert counts["counts"]["failed"] == 5


def test_a_run_without_predictions_does_not_stop_the_scores_of_others(
    tmp_path: Path, mini_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from reportcard.cli.main import main

    common = [
        *("dataset=openi_findings", f"data_dir={mini_data}", f"results_dir={tmp_path / 'r'}"),
        "tracking=none",
    ]
    assert main(["predict", "model=empty_report", *common]) == 0
    assert main(["score", "model=reference_oracle,empty_report", *common]) == 2
    assert "reference_oracle has no finished predictions" in capsys.readouterr().err
    assert len(list((tmp_path / "r").glob("scores/*/empty*/*/*/scores.json"))) == 3
