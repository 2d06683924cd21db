"""Faults, injected for real, in either engine: afterwards the same command completes, and the files
are those of a run that nothing happened to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faulty_model import SOURCE
from tests.predict.test_predict import final_files
from tests.predict.test_ray import patiently

ROOT = Path(__file__).parents[2]
ENGINES = ("local", "ray")
HERE = "in the local engine the model runs in the driver: see 'the driver is killed'"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    """Two nodes with one processor each; the driver's node has none."""
    pytest.importorskip("ray", reason="the ray extra is not installed")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)  # its nodes run this checkout
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False}
    made = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
    patiently(lambda: made.add_node(num_cpus=1))
    made.second = patiently(lambda: made.add_node(num_cpus=1))
    yield made
    made.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


class Bench:
    """A plugin folder, and runs of the whole command over 12 phantom studies × 2 draws."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.place = folder, folder / "plugin"
        self.place.mkdir()
        (self.place / "faulty.py").write_text(SOURCE)
        # Cards name the commit; other work on this checkout is none of the run.
        self.env = {**os.environ, "PYTHONPATH": str(ROOT), "GIT_DIR": "/nonexistent"}

    def reset(self) -> None:
        for name in ("fault.json", "happened", "calls"):
            (self.place / name).unlink(missing_ok=True)

    def fault(self, **fault: object) -> None:
        (self.place / "fault.json").write_text(json.dumps(fault))

    def start(self, results: Path, engine: str, *more: str, **env: str) -> subprocess.Popen[bytes]:
        command = [
            *(sys.executable, "-m", "reportcard.cli.main", "run"),
            f"plugin={self.place / 'faulty.py'}",
            *("model=faulty", "dataset=phantom", "dataset.test=12", "dataset.size=64"),
            *(f"results_dir={results}", "tracking=none"),
            *("engine.batch_size=3", "stats.resamples=20", "metrics=bleu", f"engine={engine}"),
            *more,
        ]  # fmt: skip
        out = (self.folder / "out").open("wb")
        return subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**self.env, **env},
            cwd=self.folder,
            start_new_session=True,
        )

    def run(self, results: Path, engine: str, *more: str, **env: str) -> tuple[int, str]:
        code = self.start(results, engine, *more, **env).wait(timeout=300)
        return code, self.said()

    def said(self) -> str:
        return (self.folder / "out").read_text()

    def lines(self, results: Path) -> list[bytes]:
        found = list(results.glob("predictions/*/*/predictions.jsonl"))
        return found[0].read_bytes().splitlines(keepends=True) if found else []

    def rows(self, results: Path) -> dict[tuple[str, int], dict[str, object]]:
        rows = [json.loads(line) for line in self.lines(results)]
        return {(row["study_id"], row["draw"]): row for row in rows}

    def study(self, n: int) -> str:
        return sorted({study for study, _ in self.rows(self.folder / "calm")})[n]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = Bench(tmp_path_factory.mktemp("engines"))
    code, said = made.run(made.folder / "calm", "local")
    assert code == 0, said
    return made


@pytest.fixture
def bench(made: Bench) -> Bench:
    made.reset()
    return made


@pytest.fixture
def undisturbed(made: Bench) -> dict[str, bytes]:
    files = final_files(made.folder / "calm")
    assert {Path(name).name for name in files} >= {
        *("predictions.jsonl", "card.json", "DONE", "rows.npz", "scores.json"),
    }
    return files


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def on(engine: str, request: pytest.FixtureRequest) -> dict[str, str]:
    return joined(request) if engine == "ray" else {}


def joined(request: pytest.FixtureRequest) -> dict[str, str]:
    return {"RAY_ADDRESS": request.getfixturevalue("cluster").address}


def until(condition: object, process: subprocess.Popen[bytes], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None:  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_nothing_happens(
    bench: Bench, tmp_path: Path, undisturbed: dict[str, bytes], engine: str, on: dict[str, str]
) -> None:
    code, said = bench.run(tmp_path / "r", engine, **on)
    assert code == 0, said
    assert final_files(tmp_path / "r") == undisturbed
    assert "raylet" not in said
    assert len(bench.lines(tmp_path / "r")) == 24


def test_a_replica_is_killed_in_a_batch(
    bench: Bench, tmp_path: Path, undisturbed: dict[str, bytes], engine: str, on: dict[str, str]
) -> None:
    if engine == "local":
        pytest.skip(HERE)
    bench.fault(kind="killed", studies=[bench.study(4)])
    code, said = bench.run(tmp_path / "r", engine, **on)
    assert code == 0, said
    assert (bench.place / "happened").exists()
    assert final_files(tmp_path / "r") == undisturbed
    assert "raylet" not in said


def test_a_replica_hangs(
    bench: Bench, tmp_path: Path, undisturbed: dict[str, bytes], engine: str, on: dict[str, str]
) -> None:
    if engine == "local":
        pytest.skip("the local engine has no second process that could see a hang")
    bench.fault(kind="hang", studies=[bench.study(7)])
    code, said = bench.run(tmp_path / "r", engine, "engine.hang_s=3", **on)
    assert code == 0, said
    assert (bench.place / "happened").exists()
    assert final_files(tmp_path / "r") == undisturbed


def test_a_study_raises(
    bench: Bench, tmp_path: Path, undisturbed: dict[str, bytes], engine: str, on: dict[str, str]
) -> None:
    study = bench.study(5)
    bench.fault(kind="raise", studies=[study])
    code, said = bench.run(tmp_path / "r", engine, **on)
    assert code == 0, said
    only_these_failed(bench, tmp_path / "r", {study})
    assert bench.rows(tmp_path / "r")[study, 0]["error"].startswith(  # type: ignore[attr-defined]
        "RuntimeError: no forward pass (faulty.py:"
    )


def only_these_failed(bench: Bench, results: Path, studies: set[str]) -> None:
    """Each study is there once per draw, in order; these failed in the first, and all else has its
    answer."""
    whole, rows = bench.rows(bench.folder / "calm"), bench.rows(results)
    assert list(rows) == list(whole)
    assert len(bench.lines(results)) == len(whole)
    failed = {key for key, row in rows.items() if row["status"] == "failed"}
    assert failed == {(study, 0) for study in studies}
    assert all(rows[key] == row for key, row in whole.items() if key not in failed)


def test_studies_that_kill_every_replica_cost_their_own_answers(
    bench: Bench, tmp_path: Path, engine: str, on: dict[str, str]
) -> None:
    """Two, side by side."""
    if engine == "local":
        pytest.skip("such a study kills the driver each time: engine=ray is what there is for it")
    studies = {bench.study(3), bench.study(4)}
    bench.fault(kind="poison", studies=sorted(studies))
    code, said = bench.run(tmp_path / "r", engine, **on)
    assert code == 0, said
    only_these_failed(bench, tmp_path / "r", studies)
    row = bench.rows(tmp_path / "r")[min(studies), 0]
    assert row["error"] == "the replica died (ActorDiedError)"


def test_replicas_that_die_at_start_end_the_run(
    bench: Bench, tmp_path: Path, undisturbed: dict[str, bytes], engine: str, on: dict[str, str]
) -> None:
    """And no study is blamed for it, also where a batch is one study."""
    bench.fault(kind="start")
    code, said = bench.run(tmp_path / "r", engine, "engine.batch_size=1", **on)
    assert code == (-signal.SIGKILL if engine == "local" else 2), said
    if engine == "ray":
        assert "replicas were lost in a row without an answer; the last: the replica died" in said
        assert "Traceback" not in said
    assert bench.lines(tmp_path / "r") == []
    bench.reset()
    code, said = bench.run(tmp_path / "r", engine, **on)
    assert code == 0, said
    assert final_files(tmp_path / "r") == undisturbed


@pytest.mark.parametrize("then", ENGINES)
def test_the_driver_is_killed(
    bench: Bench,
    tmp_path: Path,
    undisturbed: dict[str, bytes],
    engine: str,
    then: str,
    request: pytest.FixtureRequest,
) -> None:
    env = joined(request) if "ray" in (engine, then) else {}
    bench.fault(sleep=0.5)
    process = bench.start(tmp_path / "r", engine, **env)
    until(lambda: bench.lines(tmp_path / "r"), process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = bench.lines(tmp_path / "r")
    assert 0 < len(kept) < 24
    bench.reset()
    code, said = bench.run(tmp_path / "r", then, **env)
    assert code == 0, said
    timing = next((tmp_path / "r").rglob("timing.jsonl")).read_text()
    assert final_files(tmp_path / "r") == undisturbed  # which drops the timing
    assert json.loads(timing)["studies"] == 24 - sum(line.endswith(b"\n") for line in kept)


def test_the_driver_is_killed_after_the_last_answer(
    bench: Bench, tmp_path: Path, undisturbed: dict[str, bytes], engine: str, on: dict[str, str]
) -> None:
    """Nothing is left to ask; the card still tells of the model's start."""
    results = tmp_path / "r"
    for name, content in undisturbed.items():
        if Path(name).name == "predictions.jsonl":
            (results / name).parent.mkdir(parents=True)
            (results / name).write_bytes(content)
    code, said = bench.run(results, engine, **on)
    assert code == 0, said
    assert final_files(results) == undisturbed
    assert not (bench.place / "calls").exists()


@pytest.mark.parametrize("stays_away", [False, True])
def test_a_node_is_lost(
    bench: Bench,
    tmp_path: Path,
    undisturbed: dict[str, bytes],
    engine: str,
    stays_away: bool,
    request: pytest.FixtureRequest,
) -> None:
    if engine == "local":
        pytest.skip("one machine, one process: its loss is that of the driver")
    env, cluster = joined(request), request.getfixturevalue("cluster")
    bench.fault(sleep=1.5)
    process = bench.start(tmp_path / "r", engine, "engine.batch_size=2", **env)
    calls = bench.place / "calls"
    until(
        lambda: (
            calls.exists()
            and len({line.split()[0] for line in calls.read_text().splitlines()}) == 2
        ),
        process,
    )
    cluster.remove_node(cluster.second, allow_graceful=False)
    try:
        if not stays_away:
            cluster.second = patiently(lambda: cluster.add_node(num_cpus=1))
        assert process.wait(timeout=300) == 0, bench.said()
    finally:
        if stays_away:
            cluster.second = patiently(lambda: cluster.add_node(num_cpus=1))
    assert final_files(tmp_path / "r") == undisturbed
    assert "raylet" not in bench.said()


def test_the_disk_is_full(
    bench: Bench, tmp_path: Path, undisturbed: dict[str, bytes], engine: str, on: dict[str, str]
) -> None:
    results = tmp_path / "small"
    results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(results)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small tmpfs cannot be mounted here (not root)")
    try:
        code, said = bench.run(results, engine, **on)
        assert code == 2, said
        assert "No space left on device" in said
        assert "run the same command again to continue" in said
        assert "Traceback" not in said
        assert 0 < len(bench.lines(results)) < 24
        subprocess.run(["mount", "-o", "remount,size=8m", str(results)], check=True)
        code, said = bench.run(results, engine, **on)
        assert code == 0, said
        assert final_files(results) == undisturbed
    finally:
        subprocess.run(["umount", str(results)], check=True)


JUMPING = '''
import time

_time, _calls = time.time, [0]


def jumping():
    """A day forth and a day back, at every tenth call."""
    _calls[0] += 1
    return _time() + 86400 * ((_calls[0] // 10) % 3 - 1)


time.time = jumping
'''


def test_the_clock_jumps(
    bench: Bench, tmp_path: Path, undisturbed: dict[str, bytes], engine: str, on: dict[str, str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(JUMPING)
    paths = f"{tmp_path}{os.pathsep}{ROOT}"
    hang = ["engine.hang_s=60"] if engine == "ray" else []
    code, said = bench.run(tmp_path / "r", engine, *hang, PYTHONPATH=paths, **on)
    assert code == 0, said
    assert final_files(tmp_path / "r") == undisturbed


def test_a_second_driver_on_one_run_is_refused(
    bench: Bench, tmp_path: Path, undisturbed: dict[str, bytes], engine: str, on: dict[str, str]
) -> None:
    bench.fault(sleep=0.7)
    first = bench.start(tmp_path / "r", engine, **on)
    until(lambda: bench.lines(tmp_path / "r"), first)
    code, said = bench.run(tmp_path / "r", "local")
    assert code == 2
    assert f"is being written by process {first.pid}" in said
    assert first.wait(timeout=300) == 0
    assert final_files(tmp_path / "r") == undisturbed
