"""engine=ray beyond faults: what travels, who gets which GPU, and what is left behind: nothing."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from reportcard.api import ModelCard, Prediction, Report, ReportCardError, Request, StopRunError
from reportcard.cli.main import main
from reportcard.config.settings import EngineSettings
from reportcard.predict.engines.job import ModelJob
from reportcard.predict.engines.local import LocalEngine
from reportcard.predict.engines.ray import RayEngine
from reportcard.predict.engines.ray_cluster import look_at
from reportcard.predict.engines.ray_tempdir import PrivateFolder
from tests.faulty_model import SOURCE
from tests.isolated.toy import Toy
from tests.models.test_isolated import alive, ask, gone
from tests.predict.test_predict import final_files
from tests.toy_staged import ToyStaged

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of one node with two processors and two GPUs that are none."""
    pytest.importorskip("ray", reason="the ray extra is not installed")
    changed = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": None}
    changed["RAY_raylet_start_wait_time_s"] = "180"
    before = {name: os.environ.get(name) for name in changed}
    _set(changed)
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "num_gpus": 2, "include_dashboard": False}
    cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
    _set(before)
    yield cluster.address
    cluster.shutdown()


def patiently(start: Callable[[], Any]) -> Any:
    """Ray gives a node 30 s to start, which a busy machine may not have."""
    for left in (2, 1, 0):
        try:
            return start()
        except Exception as error:
            if not left or "timed out" not in str(error):
                raise
    raise AssertionError


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture
def engine(address: str) -> Iterator[Any]:
    made: list[RayEngine] = []

    def of(**options: Any) -> RayEngine:
        made.append(RayEngine(EngineSettings("ray", address=address, **options)))
        return made[-1]

    yield of
    for each in made:
        each.close()


class Tells:
    """Answers with what its process was given."""

    card = ModelCard("tells")

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        time.sleep(0.3)
        names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
        told = " ".join([str(os.getpid()), os.getcwd(), *(os.environ[name] for name in names)])
        return [Prediction(r.study_id, Report(told)) for r in requests]


class Stops:
    """An endpoint that goes down in the middle of the second batch."""

    card = ModelCard("stops")

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        answers = [Prediction(r.study_id, Report("Clear.")) for r in requests]
        if requests[0].study_id == "s2":
            raise StopRunError("the endpoint is down", answers[:1])
        return answers


class Holds(Stops):
    """Holds what no other process can have."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def requests(n: int) -> list[Request]:
    return [Request(f"s{i}") for i in range(n)]


def told(engine: RayEngine, n: int = 8) -> list[list[str]]:
    """pid, folder, GPUs, threads per answer."""
    batches = engine.generate(ModelJob(Tells(), requests(n)), 1)
    return [str(p.report.findings).split() for batch in batches for p in batch]


@pytest.mark.slow
def test_a_share_of_a_gpu_lies_on_one_gpu(engine: Any) -> None:
    answers = told(engine(gpus_per_replica=0.5, cpus_per_replica=0.5), 16)
    gpus = {pid: gpu for pid, _, gpu, _ in answers}
    assert sorted(gpus.values()) == ["0", "0", "1", "1"]
    assert {folder for _, folder, *_ in answers} == {os.getcwd()}


@pytest.mark.slow
def test_a_replica_of_two_gpus_and_processors(engine: Any) -> None:
    answers = told(engine(gpus_per_replica=2, cpus_per_replica=2), 3)
    assert {tuple(answer[2:]) for answer in answers} == {("0,1", "2")}
    assert len({pid for pid, *_ in answers}) == 1


@pytest.mark.slow
def test_more_than_a_node_has_is_refused(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reportcard.predict.engines.ray.JOIN_S", 0.0)
    first, second = engine(gpus_per_replica=4), engine(cpus_per_replica=3)
    with pytest.raises(ReportCardError, match=r"engine.gpus_per_replica=4; no node .* 2 GPUs"):
        told(first)
    first.close()
    with pytest.raises(ReportCardError, match=r"engine.cpus_per_replica=3 .* than 2 CPUs"):
        told(second)


@pytest.mark.slow
def test_a_run_that_stops_brings_the_answers_that_it_had(engine: Any) -> None:
    batches = engine(replicas=1).generate(ModelJob(Stops(), requests(6)), 2)
    assert [[p.study_id for p in next(batches)] for _ in range(2)] == [["s0", "s1"], ["s2"]]
    with pytest.raises(StopRunError, match="the endpoint is down"):
        next(batches)


@pytest.mark.slow
def test_what_cannot_travel_is_said(engine: Any) -> None:
    message = r"Holds cannot be sent to another process \(it holds a _thread.lock\)"
    with pytest.raises(ReportCardError, match=message) as caught:
        list(engine().generate(ModelJob(Holds(), requests(2)), 2))
    assert "Request" not in str(caught.value)  # text of studies


@pytest.mark.slow
def test_auto_that_would_mean_two_devices_is_refused(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reportcard.predict.engines.ray.GPU_DRIVER", tmp_path / "none")
    with pytest.raises(ReportCardError, match=r"Give model\.device=cuda"):
        list(engine().generate(ModelJob(ToyStaged(device="auto"), requests(2)), 2))


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_said() -> None:
    pytest.importorskip("ray", reason="the ray extra is not installed")
    settings = EngineSettings("ray", address="127.0.0.1:9")
    with pytest.raises(ReportCardError, match=r"the cluster at 127.0.0.1:9 cannot be reached"):
        RayEngine(settings).connect()


@pytest.mark.slow
def test_doctor_says_what_a_cluster_has(address: str) -> None:
    assert look_at(address, 120) == (True, f"{address}: nodes 1, CPUs 2, GPUs 2")
    here, words = look_at("127.0.0.1:9", 3)
    assert not here
    assert words.startswith("127.0.0.1:9: ")


@pytest.mark.slow
def test_notes_are_made_on_replicas_and_equal(engine: Any) -> None:
    pytest.importorskip("negspacy", reason="the rules extra is not installed")
    from reportcard.metrics.annotators.chexpert_rules import CheXpertRules

    texts = ["Large left effusion.", "No pneumothorax.", "Heart size is normal.", "Edema?"]
    parts = [texts[:2], texts[2:]]
    local = dict(_notes(LocalEngine().annotate(CheXpertRules(), parts)))
    here = CheXpertRules()
    assert dict(_notes(engine().annotate(here, parts))) == local
    assert vars(here) == vars(CheXpertRules())  # nothing was loaded in this process


def _notes(pairs: Any) -> Iterator[tuple[str, Any]]:
    for part, notes in pairs:
        yield from zip(part, notes, strict=True)


class Raises:
    id, version, weights, scope = "raises", "1", None, "text"

    def annotate(self, texts: Sequence[str]) -> list[Any]:
        raise KeyError("no such label")

    def close(self) -> None: ...


@pytest.mark.slow
def test_what_an_annotator_raises_is_raised_here_as_locally(engine: Any) -> None:
    for each in (LocalEngine(), engine()):
        with pytest.raises(KeyError, match="no such label"):
            list(each.annotate(Raises(), [["a"], ["b"]]))


@pytest.mark.slow
def test_scores_of_either_engine_are_the_same_bytes(
    address: str, mini_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("negspacy", reason="the rules extra is not installed")
    common = [
        *("model=most_frequent_report", "dataset=openi_findings", f"data_dir={mini_data}"),
        *("tracking=none", "metrics=f1_chexpert_rules", "stats.resamples=20"),
    ]
    ray = ["engine=ray", f"engine.address={address}"]
    results = {"local": tmp_path / "local", "ray": tmp_path / "ray"}
    for where in results.values():
        assert main(["predict", *common, f"results_dir={where}"]) == 0
    assert main(["score", *common, f"results_dir={results['local']}"]) == 0
    assert main(["score", *common, f"results_dir={results['ray']}", *ray]) == 0
    files = final_files(results["ray"])
    assert any(name.endswith("scores.json") for name in files)
    assert files == final_files(results["local"])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["closed", "killed"])
def test_the_worker_of_an_isolated_model_ends_with_its_replica(
    engine: Any, tmp_path: Path, how: str
) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "config.json").write_text("{}")
    adapter = Toy(
        weights=str(tmp_path / "w"), env=sys.executable, marks=str(tmp_path), device="cpu"
    )
    batches = engine(replicas=1).generate(ModelJob(adapter, [ask("a"), ask("b"), ask("c")]), 1)
    first = next(batches)
    assert first[0].status == "ok"
    worker, replica = _process("toy_worker.py", "worker_main.py")
    assert alive(worker)
    if how == "killed":
        os.kill(replica, signal.SIGKILL)
        assert gone(worker, 15)
    rest = [p for batch in batches for p in batch]
    assert {p.status for p in rest} == {"ok"}
    assert len(rest) == 2
    assert gone(worker, 15)
    with pytest.raises(LookupError):
        _process("toy_worker.py", "worker_main.py")


def _process(*words: str) -> tuple[int, int]:
    """(pid, its parent) of the running process with these words in its command line."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode()
            if all(word in command for word in words) and alive(int(entry.name)):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                return int(entry.name), int(stat[1])
        except OSError:
            continue
    raise LookupError(words)


def _all(folder: Path) -> list[Path]:
    """Running processes that have a folder in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(entry)
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_ctrl_c_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    """Of a cluster that was started here: private, quiet, and telling nobody."""
    pytest.importorskip("ray", reason="the ray extra is not installed")
    place = Path(tempfile.mkdtemp(prefix="q", dir="/tmp"))
    (tmp_path / "faulty.py").write_text(SOURCE)
    (tmp_path / "fault.json").write_text('{"sleep": 1.0}')
    command = [
        *(
            sys.executable,
            "-m",
            "reportcard.cli.main",
            "predict",
            f"plugin={tmp_path / 'faulty.py'}",
        ),
        *("model=faulty", "dataset=phantom", "dataset.size=64", "engine=ray", "tracking=none"),
        *("engine.batch_size=1", f"results_dir={tmp_path / 'r'}"),
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(place)}
    env.pop("RAY_ADDRESS", None)
    env.pop("RAY_USAGE_STATS_ENABLED", None)
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env=env, cwd=tmp_path, start_new_session=True
        )
    try:
        until = time.monotonic() + 300
        while (
            not list((tmp_path / "r").glob("predictions/*/*/predictions.jsonl"))
            or not (tmp_path / "calls").exists()
        ):
            assert process.poll() is None, (tmp_path / "out").read_text()
            assert time.monotonic() < until
            time.sleep(0.1)
        (folder,) = place.glob("reportcard-ray-*")
        assert oct(folder.stat().st_mode)[-3:] == "700"
        running = _all(folder)
        assert any("raylet" in (p / "cmdline").read_text() for p in running)
        environments = [(p / "environ").read_bytes() for p in running]
        assert all(b"RAY_USAGE_STATS_ENABLED=0" in each for each in environments)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.wait(timeout=60) == 130
        said = (tmp_path / "out").read_text()
        assert "Stopped. Run the same command again" in said
        assert "ray" not in said.lower().replace("x-ray", "").replace(str(tmp_path).lower(), "")
        assert not list(place.glob("reportcard-ray-*"))
        until = time.monotonic() + 20
        while _all(folder) and time.monotonic() < until:
            time.sleep(0.1)
        assert not _all(folder)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(place, ignore_errors=True)


def test_what_a_killed_process_left_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(tempfile.mkdtemp(prefix="q", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    try:
        left = place / "reportcard-ray-left"
        left.mkdir()
        (left / ".lock").touch()
        with (left / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            held = PrivateFolder()
            assert left.exists()  # its process lives
        PrivateFolder().remove()
        assert not left.exists()
        assert held.path.exists()
        held.remove()
        assert not list(place.iterdir())
    finally:
        shutil.rmtree(place, ignore_errors=True)


def test_a_folder_whose_sockets_would_be_too_long_lies_in_tmp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("long" * 10)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    folder = PrivateFolder()
    assert folder.path.parent == Path("/tmp")
    folder.remove()


def test_the_local_engine_imports_no_ray(mini_data: Path, tmp_path: Path) -> None:
    arguments = [
        *("run", "model=empty_report", "dataset=openi_findings", f"data_dir={mini_data}"),
        *(f"results_dir={tmp_path / 'r'}", "metrics=bleu", "tracking=none"),
    ]
    code = (
        "import sys; from reportcard.cli.main import main\n"
        f"assert main({arguments!r}) == 0\n"
        "sys.exit('ray' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [("cpus_per_replica", 0), ("hang_s", 0), ("gpus_per_replica", 1.5), ("gpus_per_replica", -1)],
)
def test_settings_that_cannot_be_are_refused(option: str, value: float) -> None:
    with pytest.raises(ReportCardError, match=f"engine.{option}"):
        EngineSettings("ray", **{option: value})  # type: ignore[arg-type]
