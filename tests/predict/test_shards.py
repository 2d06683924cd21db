"""predict shard=K/N: parts that know nothing of each other end in the files of one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from reportcard.api import ModelCard, Prediction, Report, ReportCardError, Request
from reportcard.cli.main import main
from reportcard.config.settings import EngineSettings, Plugin, Shard
from reportcard.core.layout import Results
from reportcard.core.progress import quiet
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.predict.engines.local import LocalEngine
from reportcard.predict.prediction_stage import predict
from reportcard.predict.shards import predict_shard
from reportcard.predict.system import System

ENGINE = LocalEngine(EngineSettings(batch_size=2))
ASKED: list[list[str]] = []


class Neighbours:
    """Says who shares its batch, dearest first: what moves between batches changes the text."""

    card = ModelCard("neighbours", draws=2)

    def cost(self, request: Request) -> tuple[int, int, int]:
        return (0, 0, sum(map(ord, request.study_id)) % 9)

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        batch = " ".join(f"{r.study_id}.{r.draw}" for r in requests)
        ASKED.append(batch.split())
        return [Prediction(r.study_id, Report(f"Among {batch}."), draw=r.draw) for r in requests]


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return load_cohort(Plugin("phantom", "phantom", {"test": 19, "train": 0, "size": 64}))


@pytest.fixture
def system() -> System:
    ASKED.clear()
    return System("neighbours", Plugin("n", "n", {}), Neighbours(), "b" * 64)


def finished(results: Path, cohort: Cohort, system: System) -> dict[str, bytes]:
    folder, new = predict(results, cohort, system, 2, quiet, ENGINE)
    assert new
    assert not (folder / "shards").exists()
    names = ("predictions.jsonl", "card.json", "DONE")
    return {name: (folder / name).read_bytes() for name in names}


def shard(results: Path, cohort: Cohort, system: System, number: int, of: int) -> int:
    return predict_shard(results, cohort, system, Shard(number, of), quiet, ENGINE)


@pytest.mark.parametrize("of", [1, 16])
def test_shards_give_the_bytes_of_one_process(
    tmp_path: Path, cohort: Cohort, system: System, of: int
) -> None:
    whole = finished(tmp_path / "whole", cohort, system)
    ASKED.clear()
    answered = [shard(tmp_path / "parts", cohort, system, k, of) for k in range(of, 0, -1)]
    assert sum(answered) == 2 * 19
    assert finished(tmp_path / "parts", cohort, system) == whole
    asked = [study for batch in ASKED for study in batch]
    assert len(asked) == len(set(asked)) == 2 * 19  # nothing was asked twice
    folder = Results(tmp_path / "parts").predictions(cohort.folder, system.folder).path
    timing = [json.loads(line) for line in (folder / "timing.jsonl").open()]
    assert sum(line["studies"] for line in timing) == 2 * 19
    assert shard(tmp_path / "parts", cohort, system, 1, of) == 0  # the run is over


def test_half_shards_of_other_numbers_and_a_torn_line_are_taken_for_what_they_hold(
    tmp_path: Path, cohort: Cohort, system: System
) -> None:
    whole = finished(tmp_path / "whole", cohort, system)
    parts = tmp_path / "parts"
    shard(parts, cohort, system, 2, 3)
    shard(parts, cohort, system, 1, 4)
    log = next(parts.glob("**/2-of-3/predictions.jsonl"))
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:3]) + lines[3][:20])
    ASKED.clear()
    assert finished(parts, cohort, system) == whole
    assert 0 < len(ASKED) < 19
    # A shard that was stopped answers what it lacks.
    shard(tmp_path / "again", cohort, system, 2, 3)
    log = next((tmp_path / "again").glob("**/2-of-3/predictions.jsonl"))
    complete = log.read_bytes()
    log.write_bytes(b"".join(lines[:2]) + lines[2][:20])
    shard(tmp_path / "again", cohort, system, 2, 3)
    assert sorted(log.read_bytes().splitlines()) == sorted(complete.splitlines())


def test_a_shard_of_closed_data_is_private(tmp_path: Path, cohort: Cohort, system: System) -> None:
    from dataclasses import replace

    closed = replace(cohort, card=replace(cohort.card, data_class="credentialed"))
    shard(tmp_path, closed, system, 1, 4)
    shard(tmp_path, closed, system, 2, 4)
    for path in Results(tmp_path).predictions(closed.folder, system.folder).path.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
    finished(tmp_path, closed, system)


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "3/0", "-1/4", "a/b"])
def test_what_is_no_shard_is_a_sentence(text: str) -> None:
    with pytest.raises(ReportCardError, match="K/N with K from 1 to N, like 3/16"):
        Shard.parse(text)


SLOW = """
import os
import time

from reportcard.api import ModelCard, Prediction, Report


class Slow:
    card = ModelCard("slow")

    def generate(self, requests):
        time.sleep(float(os.environ.get("SLOW_S", 0)))
        return [Prediction(r.study_id, Report(f"Report of {r.study_id}.")) for r in requests]
"""


@pytest.mark.slow
def test_a_killed_shard_goes_on_and_a_second_writer_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)

    def words(results: str, *more: str) -> list[str]:
        return [
            *(f"plugin={tmp_path / 'slow.py'}", "model=slow", "dataset=phantom", "limit=12"),
            *("dataset.size=64", f"results_dir={tmp_path / results}", "engine.batch_size=1", *more),
        ]

    assert main(["predict", *words("calm")]) == 0
    part = ["predict", *words("shaken", "shard=1/2")]
    command = [sys.executable, "-m", "reportcard.cli.main", *part]
    slow = {**os.environ, "SLOW_S": "5"}
    process = subprocess.Popen(command, env=slow, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        logs = list(tmp_path.glob("shaken/**/1-of-2/predictions.jsonl"))
        if logs and logs[0].stat().st_size:
            break
        time.sleep(0.02)
    assert main(part) == 2  # while the first one writes
    assert "1-of-2 is being written by process" in capsys.readouterr().err
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    held = len(logs[0].read_bytes().splitlines())
    assert 0 < held < 6
    assert main(part) == 0
    assert len(logs[0].read_bytes().splitlines()) == 6
    assert main(["predict", *words("shaken")]) == 0
    calm, shaken = (
        next(tmp_path.glob(f"{name}/predictions/*/*/predictions.jsonl")).read_bytes()
        for name in ("calm", "shaken")
    )
    assert shaken == calm
    assert shaken.count(b'"status":"ok"') == 12
    assert main(["run", *words("shaken", "shard=1/2")]) == 2
    assert "shard=1/2 is for `reportcard predict`" in capsys.readouterr().err
