"""`fetch weights` through the real hub client, against a loopback server that imitates the hub."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", reason="the clinical extra is not installed")

from reportcard.api import ReportCardError
from reportcard.core import weights
from reportcard.core.weights import WeightFile, fetch_weights, weights_path

REVISION = "0123456789abcdef0123456789abcdef01234567"
CONTENT = bytes(range(256)) * 40


class Hub:
    """What the server holds and what happened to it."""

    def __init__(self) -> None:
        self.files = {"w.pth": CONTENT, "vocab.txt": b"[PAD]\n"}
        self.cut_at: int | None = None
        self.gets: list[str] = []
        self.url = ""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            state.gets.append(self.path)
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            prefix = f"/acme/scorers/resolve/{REVISION}/"
            data = state.files.get(self.path.removeprefix(prefix))
            if not self.path.startswith(prefix) or data is None:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = int(self.headers.get("Range", "bytes=0-")[6:].split("-")[0])
            self.send_response(206 if start else 200)
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("Content-Length", str(len(data) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            if body:
                self.wfile.write(data[start : state.cut_at])
                if state.cut_at is not None:
                    self.close_connection = True

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", state.url)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield state
    server.shutdown()
    server.server_close()


def table(monkeypatch: pytest.MonkeyPatch, *files: WeightFile) -> None:
    monkeypatch.setattr(weights, "SETS", {"chexbert": files})


def file(name: str = "w.pth", **more: Any) -> WeightFile:
    return WeightFile("acme/scorers", REVISION, name, name, **more)


def test_a_file_with_a_published_digest(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(monkeypatch, file(sha256=hashlib.sha256(CONTENT).hexdigest()))
    said: list[str] = []
    (path,) = fetch_weights(["chexbert"], tmp_path, said.append)
    assert path == tmp_path / "chexbert" / "w.pth"
    assert path.read_bytes() == CONTENT
    assert any("sha256 as published" in line for line in said)
    assert not (tmp_path / weights.LOCK).exists()

    before = len(hub.gets)
    fetch_weights(["chexbert"], tmp_path, said.append)
    assert len(hub.gets) == before  # in place: the hub is not asked

    path.write_bytes(b"damaged")
    fetch_weights(["chexbert"], tmp_path, said.append)
    assert path.read_bytes() == CONTENT


def test_a_file_without_one_is_locked_at_the_first_download(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(monkeypatch, file())
    said: list[str] = []
    (path,) = fetch_weights([], tmp_path, said.append)
    lock = json.loads((tmp_path / weights.LOCK).read_text())
    assert lock == {f"acme/scorers@{REVISION}/w.pth": hashlib.sha256(CONTENT).hexdigest()}

    path.unlink()
    hub.files["w.pth"] = b"something else"
    with pytest.raises(ReportCardError, match=r"weights\.lock\.json"):
        fetch_weights([], tmp_path, said.append)
    assert not path.exists()


def test_a_wrong_digest_is_refused_and_nothing_is_placed(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(monkeypatch, file(sha256="0" * 64))
    with pytest.raises(ReportCardError, match="expected 0000000000000000") as refused:
        fetch_weights(["chexbert"], tmp_path, print)
    assert "Nothing was put at" in str(refused.value)
    assert not (tmp_path / "chexbert").exists()


def test_a_cut_off_download_leaves_nothing_in_place(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    table(monkeypatch, file())
    hub.cut_at = 5000
    with pytest.raises(ReportCardError, match="Could not fetch acme/scorers"):
        fetch_weights(["chexbert"], tmp_path, print)
    assert not (tmp_path / "chexbert" / "w.pth").exists()
    assert not (tmp_path / weights.LOCK).exists()

    hub.cut_at = None
    (path,) = fetch_weights(["chexbert"], tmp_path, print)
    assert path.read_bytes() == CONTENT


def test_an_optional_file_may_be_absent_and_another_may_not(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(monkeypatch, file(), file("none.json", optional=True))
    assert len(fetch_weights(["chexbert"], tmp_path, print)) == 1
    table(monkeypatch, file("none.json"))
    with pytest.raises(ReportCardError, match=r"none\.json"):
        fetch_weights(["chexbert"], tmp_path, print)


def test_an_unreachable_hub_says_what_where_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Hub
) -> None:
    table(monkeypatch, file())
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ReportCardError) as refused:
        fetch_weights(["chexbert"], tmp_path, print)
    message = str(refused.value)
    for part in ("http://127.0.0.1:9", "w.pth", "HF_ENDPOINT", str(tmp_path / "chexbert")):
        assert part in message


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ReportCardError, match="there are chexbert, radgraph, bertscore"):
        fetch_weights(["bert"], Path("nowhere"), print)


def test_every_file_of_the_table_is_pinned() -> None:
    files = [f for group in weights.SETS.values() for f in group]
    assert all(len(f.revision) == 40 for f in files)
    assert all(f.sha256 is None or len(f.sha256) == 64 for f in files)
    for group in weights.SETS.values():
        assert len({f.to for f in group}) == len(group)


def test_the_cache_folder_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTCARD_CACHE", str(tmp_path))
    assert weights_path("chexbert", "chexbert.pth") == tmp_path / "weights/chexbert/chexbert.pth"
