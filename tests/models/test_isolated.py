"""A model in another process: whatever it does costs at most its own studies, and nothing stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest

from reportcard.api import (
    Custody,
    DatasetCard,
    Image,
    ImageError,
    Prediction,
    ReportCardError,
    Request,
    StopRunError,
)
from reportcard.cli.main import main
from reportcard.core import registry
from reportcard.models.isolated import environments
from reportcard.models.isolated.environments import worker_environment
from reportcard.models.isolated.frames import LIMIT, WorkerError
from reportcard.models.isolated.worker_process import (
    WorkerCrashError,
    WorkerProcess,
    WorkerTimeoutError,
)
from reportcard.predict.engines import local
from tests.isolated.toy import Toy


def installed(package: str) -> list[str]:
    try:
        return [f"{package} {version(package)}"]
    except PackageNotFoundError:
        return []


# The toys' workers run in this Python: with torch where the tests are run with it.
VERSIONS = [f"python {sys.version.split()[0]}", *installed("torch"), *installed("transformers")]
WORKER_NOTE = f"worker: {', '.join(VERSIONS)}"

OLD_PYTHONS = [Path(f"~/.pyenv/versions/{v}/bin/python").expanduser() for v in ("3.7.16",)]


def _grey() -> np.ndarray:
    return np.arange(64, dtype=np.uint8).reshape(8, 8)


def ask(study: str, word: str = "", image: bool = True) -> Request:
    images = (Image(study, "PA", read=_grey),) if image else ()
    return Request(study, images, indication=word)


def test_a_worker_may_think_aloud(toys: list[Toy], tmp_path: Path) -> None:
    said, none = toy(toys, tmp_path).generate([ask("a", "think"), ask("b", "only think")])
    assert (said.report.findings, said.status) == ("Clear.", "ok")
    assert said.raw == "<think>An effusion?</think> Clear."
    assert (none.report.findings, none.status, none.raw) == ("", "empty", "[THINK]An effusion?")


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def toys(tmp_path: Path) -> Iterator[list[Toy]]:
    made: list[Toy] = []
    yield made
    for toy in made:
        toy.close()


def toy(toys: list[Toy], tmp_path: Path, open_data: bool = True, **options: object) -> Toy:
    (tmp_path / "w").mkdir(exist_ok=True)
    (tmp_path / "w" / "config.json").write_text("{}")
    settings = {"env": sys.executable, "marks": str(tmp_path), "timeout_s": 1.5, **options}
    made = Toy(weights=str(tmp_path / "w"), **settings)  # type: ignore[arg-type]
    card = DatasetCard("t", data_class="open" if open_data else "credentialed")
    made.admit(Custody(card, tmp_path, lambda items, n, name: items, print))
    toys.append(made)
    return made


def run(adapter: Toy, requests: Sequence[Request], size: int = 4) -> dict[str, Prediction]:
    batches = local.generate(adapter, requests, size, quote_errors=True)
    return {answer.study_id: answer for batch in batches for answer in batch}


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def gone(pid: int, seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pid)


def test_answers_come_in_order_with_pixels_and_nothing_stays(
    toys: list[Toy], tmp_path: Path, scratch: Path
) -> None:
    adapter = toy(toys, tmp_path)
    answers = adapter.generate([ask("b"), ask("a"), ask("c", image=False)])
    assert [a.report.findings and a.report.findings.split()[0] for a in answers] == ["b", "a", "c"]
    assert len({a.raw.split()[1] for a in answers[:2]}) == 1  # the same pixels, the same file
    assert [list(folder.iterdir()) for folder in scratch.iterdir()] == [[]]
    assert [oct(folder.stat().st_mode)[-3:] for folder in scratch.iterdir()] == ["700"]
    assert adapter.notes == (WORKER_NOTE,)
    pid = adapter._supervised.pid  # type: ignore[union-attr]
    assert pid
    adapter.close()
    assert not alive(pid)
    assert not list(scratch.iterdir())
    logs = tmp_path / "reportcard-cache" / "workers"
    assert not list(logs.iterdir())  # nothing went wrong, so no log stays


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("crash", "the worker ended with exit code 3"),
        ("killed", "the worker was ended by SIGKILL (often by the kernel, when memory runs out)"),
        ("hang", "the worker gave no answer within 1.5 s"),
        ("mute", "the worker sent no heartbeat for 1 s"),
        ("raise", "the worker raised ValueError: cannot read CANARY"),
        ("garbage", f"over the limit of {LIMIT:,}"),
        ("nan", "holds NaN, which is not JSON"),
        ("latin", "is not UTF-8"),
        ("list", 'is not an object with a "kind"'),
        ("number", 'has no "text"'),
        ("not_a_number", "ValueError: Out of range float values are not JSON compliant"),
        ("ask", "EOFError"),
    ],
)
def test_a_study_that_ends_the_worker_costs_its_own_answer(
    toys: list[Toy], tmp_path: Path, word: str, reason: str, scratch: Path
) -> None:
    answers = run(toy(toys, tmp_path), [ask("a"), ask("b", word), ask("c")])
    assert [answers[s].status for s in "abc"] == ["ok", "failed", "ok"]
    assert reason in (answers["b"].error or "")
    assert answers["c"].raw.startswith("c ")


def test_too_few_or_swapped_answers_are_asked_for_one_by_one(
    toys: list[Toy], tmp_path: Path
) -> None:
    adapter = toy(toys, tmp_path)
    with pytest.raises(ReportCardError, match="was given 2 studies and returned 1 answers"):
        adapter.generate([ask("a"), ask("b", "few")])
    with pytest.raises(ReportCardError, match="not in the order of its tasks"):
        adapter.generate([ask("a"), ask("b", "order")])
    answers = run(adapter, [ask("a"), ask("b", "order"), ask("c", "few"), ask("d")])
    assert [answers[s].raw.split()[0] for s in "abcd"] == list("abcd")


def test_a_worker_that_dies_once_is_started_again_and_the_batch_is_whole(
    toys: list[Toy], tmp_path: Path
) -> None:
    for word in ("once", "lost"):
        answers = toy(toys, tmp_path).generate([ask("a"), ask("b", word), ask("c")])
        assert [a.raw.split()[0] for a in answers] == ["a", "b", "c"]
        assert all(len(a.raw.split()) == 2 for a in answers)  # the images were still there


def test_want_of_memory_halves_the_batch(toys: list[Toy], tmp_path: Path) -> None:
    adapter = toy(toys, tmp_path)
    sizes: list[int] = []
    generate = adapter.generate
    adapter.generate = lambda requests: (sizes.append(len(requests)), generate(requests))[1]  # type: ignore[method-assign]
    answers = run(adapter, [ask(s, "memory") for s in "abcd"])
    assert [a.status for a in answers.values()] == ["ok"] * 4
    assert sizes == [4, 2, 1, 1, 1, 1]


def test_a_worker_that_always_dies_ends_the_run_and_leaves_the_rest(
    toys: list[Toy], tmp_path: Path
) -> None:
    batches = local.generate(
        toy(toys, tmp_path), [ask(str(n), "crash") for n in range(9)], 1, quote_errors=True
    )
    got = []
    with pytest.raises(StopRunError, match="6 times in a row the worker gave no answer"):
        got.extend(answer for batch in batches for answer in batch)
    assert [a.status for a in got] == ["failed", "failed"]


@pytest.mark.parametrize(
    ("at_load", "reason"),
    [
        ("raise", "could not load its model: RuntimeError: no such weights: CANARY"),
        ("exit", "did not start: the worker ended with exit code 9"),
    ],
)
def test_a_model_that_does_not_load_is_told_before_the_first_batch(
    toys: list[Toy], tmp_path: Path, at_load: str, reason: str
) -> None:
    adapter = toy(toys, tmp_path, at_load=at_load)
    with pytest.raises(StopRunError, match=reason):
        adapter.plan([ask("a")])


def test_what_a_worker_says_is_not_quoted_where_the_data_is_closed(
    toys: list[Toy], tmp_path: Path
) -> None:
    adapter = toy(toys, tmp_path, open_data=False)
    with pytest.raises(ReportCardError, match="the worker raised ValueError") as caught:
        adapter.generate([ask("a", "raise")])
    assert "CANARY" not in str(caught.value)
    log = next((tmp_path / "reportcard-cache" / "workers").iterdir())
    assert str(log) in str(caught.value)
    assert "CANARY" in log.read_text()
    assert oct(log.stat().st_mode)[-3:] == "600"
    assert oct(log.parent.stat().st_mode)[-3:] == "700"
    with pytest.raises(WorkerError) as caught_crash:
        adapter.generate([ask("a", "crash")])
    assert "CANARY" not in str(caught_crash.value)


def test_a_worker_gets_neither_our_secrets_nor_our_modules(
    toys: list[Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = [
        *("OPENAI_API_KEY", "OPENAI_KEY", "AWS_SECRET_ACCESS_KEY", "MY_AZURE_KEY", "hf_token"),
        *("PGPASSWORD", "GOOGLE_APPLICATION_CREDENTIALS", "PROXY_AUTHORIZATION"),
    ]
    for name in (*secrets, "PYTHONPATH"):
        monkeypatch.setenv(name, "/somewhere")
    for name in ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX"):
        monkeypatch.setenv(name, "https://me:word@index.example/simple")
        secrets.append(name)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://index.example/simple")
    words = toy(toys, tmp_path).generate([ask("a", "env")])[0].raw.split()
    assert not {*secrets, "PYTHONPATH"} & set(words)
    assert {"PATH", "PIP_EXTRA_INDEX_URL", "TOKENIZERS_PARALLELISM"} <= set(words)
    build = environments._installer_environment(dict(os.environ))
    assert build["PIP_INDEX_URL"].startswith("https://me:word@")


@pytest.mark.parametrize(
    ("word", "problem"),
    [("unfinished", '"finished"'), ("counted", '"tokens_in"'), ("below", '"tokens_in"')],
)
def test_an_answer_of_other_types_is_refused_in_a_sentence(
    word: str, problem: str, toys: list[Toy], tmp_path: Path
) -> None:
    answers = run(toy(toys, tmp_path), [ask("a", word), ask("b")])
    assert (answers["a"].status, answers["b"].status) == ("failed", "ok")
    assert problem in str(answers["a"].error)


def test_a_report_that_was_cut_short_is_truncated(toys: list[Toy], tmp_path: Path) -> None:
    answer = toy(toys, tmp_path).generate([ask("a", "cut")])[0]
    assert (answer.status, answer.tokens_out, answer.used) == ("truncated", 3, ("frontal",))


def test_an_image_that_cannot_be_had_costs_its_own_study(toys: list[Toy], tmp_path: Path) -> None:
    broken = Request("b", (Image("b.png", "PA", tmp_path / "b.png"),))
    adapter = toy(toys, tmp_path)
    with pytest.raises(ImageError):
        adapter.generate([broken])
    answers = run(adapter, [ask("a"), broken, ask("c")])
    assert [answers[s].status for s in "abc"] == ["ok", "failed", "ok"]
    assert (answers["b"].error or "").startswith("image missing: ")


@pytest.mark.parametrize("word", ["child", ""])
def test_close_ends_a_worker_that_ignores_sigterm_and_its_children(
    toys: list[Toy], tmp_path: Path, word: str
) -> None:
    adapter = toy(toys, tmp_path, at_load="ignore_sigterm")
    raw = adapter.generate([ask("a", word)])[0].raw
    pids = [adapter._supervised.pid, *([int(raw)] if word else [])]  # type: ignore[union-attr]
    assert all(pid and alive(pid) for pid in pids)
    adapter.close()
    assert all(pid and gone(pid) for pid in pids)


PARENT = """
import sys
from pathlib import Path
from tests.models.test_isolated import Toy, ask
toy = Toy(weights={weights!r}, env=sys.executable)
toy.plan([])
print(toy._supervised.pid, toy._supervised._scratch, flush=True)
toy.generate([ask("a", {word!r})])
print("answered", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("word", ["", "hang"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_worker_and_no_image_outlives_the_harness(
    tmp_path: Path, how: signal.Signals, word: str
) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "config.json").write_text("{}")
    code = PARENT.format(weights=str(tmp_path / "w"), word=word)
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.getcwd()}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=-1, stdout=-1, stderr=-3, env=env, text=True
    ) as parent:
        assert parent.stdout
        pid, folder = parent.stdout.readline().split()
        if word == "":
            assert parent.stdout.readline() == "answered\n"
        else:
            while not list(Path(folder).rglob("*.png")):
                time.sleep(0.01)
        assert alive(int(pid))
        parent.send_signal(how)
        parent.wait(10)
    assert gone(int(pid))
    assert not Path(folder).exists()


def test_a_program_that_is_no_worker_is_told_by_its_first_bytes(tmp_path: Path) -> None:
    cases = {
        "print('Welcome to Python, dear reader')": "over the limit",
        "import sys; sys.exit(4)": "exit code 4",
        "import time; time.sleep(100)": "no heartbeat",
        "import os, time; os.close(1); time.sleep(100)": "closed its stream",
    }
    for code, reason in cases.items():
        process = WorkerProcess(
            [sys.executable, "-c", code], worker_environment(), tmp_path / "log", silence_s=0.5
        )
        with pytest.raises(WorkerError, match=reason):
            process.hello(5)
        process.kill()
        assert not alive(process.pid)
    with pytest.raises(WorkerCrashError, match="cannot be started: No such file"):
        WorkerProcess([str(tmp_path / "python")], {}, tmp_path / "log")


def test_a_worker_that_does_not_read_is_not_waited_for_forever(tmp_path: Path) -> None:
    code = "import time; time.sleep(100)"
    process = WorkerProcess([sys.executable, "-c", code], {}, tmp_path / "log", silence_s=9)
    with pytest.raises(WorkerTimeoutError, match=r"within 0.3 s"):
        process.ask({"kind": "batch", "tasks": "x" * 2**20}, "answers", 0.3)
    process.kill()


@pytest.mark.parametrize("python", OLD_PYTHONS, ids=str)
def test_the_workers_side_runs_on_old_pythons(
    toys: list[Toy], tmp_path: Path, python: Path
) -> None:
    if not python.exists():
        pytest.skip(f"no {python} here")
    adapter = toy(toys, tmp_path, env=str(python))
    answers = run(adapter, [ask("a"), ask("b", "raise"), ask("c")])
    assert [answers[s].status for s in "abc"] == ["ok", "failed", "ok"]
    assert adapter.notes == ("worker: python 3.7.16",)


def test_preflight_and_options_speak_in_sentences(toys: list[Toy], tmp_path: Path) -> None:
    assert toy(toys, tmp_path).missing() is None
    assert "no weights given" in (Toy().missing() or "")
    assert "is no Python interpreter" in (toy(toys, tmp_path, env=str(tmp_path)).missing() or "")
    for options, said in (
        ({"colour": 1}, "Toy has no option 'colour'; it has marks, at_load"),
        ({"dtype": "int8"}, "dtype is one of"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"timeout_s": 0}, "timeout_s must be above 0"),
    ):
        with pytest.raises(ReportCardError, match=said):
            Toy(**options)  # type: ignore[arg-type]


def test_identity_follows_what_decides_the_answers(toys: list[Toy], tmp_path: Path) -> None:
    before = dict(toy(toys, tmp_path).identity)
    assert dict(toy(toys, tmp_path, timeout_s=9, batch_size=2).identity) == before
    assert dict(toy(toys, tmp_path, device="cuda").identity) == {**before, "dtype": "bfloat16"}
    assert dict(toy(toys, tmp_path, max_new_tokens=9).identity) != before
    assert dict(toy(toys, tmp_path, at_load="x").identity) != before
    adapter = toy(toys, tmp_path)
    (tmp_path / "w" / "config.json").write_text('{"other": 1}')
    assert dict(adapter.identity) != before


def test_a_run_over_the_phantom_loses_only_the_study_that_crashes_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in registry.KINDS:
        monkeypatch.setattr(kind, "_offered", {})
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "config.json").write_text("{}")
    source = Path(__file__).parents[1] / "isolated"
    text = (source / "toy.py").read_text()
    text = text.replace("Path(__file__).parent", f"Path({str(source)!r})")
    text = text.replace('request.indication or ""', '"crash" if request.study_id in BAD else ""')
    (tmp_path / "toy.py").write_text(text + '\n\nBAD = ("phantom-test-003-3",)\n')
    results = tmp_path / "r"
    arguments = [
        *("run", f"plugin={tmp_path / 'toy.py'}", "model=toy", "dataset=phantom"),
        *(f"+model.weights={tmp_path / 'w'}", f"+model.env={sys.executable}", "limit=6"),
        *("dataset.size=64", "dataset.train=4", "+model.batch_size=4", "metrics=rouge"),
        *(f"results_dir={results}", "tracking=none", "stats.resamples=20"),
    ]
    assert main(arguments) == 0, capsys.readouterr()
    lines = next(results.glob("predictions/*/*/predictions.jsonl")).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["status"] for row in rows].count("failed") == 1, rows
    assert len(rows) == 6
    failed = next(row for row in rows if row["status"] == "failed")
    assert failed["study_id"] == "phantom-test-003-3"
    assert "exit code 3" in failed["error"]
    card = json.loads(next(results.glob("predictions/*/*/card.json")).read_text())
    assert card["notes"] == [WORKER_NOTE]
