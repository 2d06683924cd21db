"""`reportcard serve` gives what the page links to, to this machine, and nothing else."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reportcard.api import ReportCardError
from reportcard.publish.page.http_server import open_server, serve

FILES = (
    *("leaderboard/index.html", "scores/c@1/m@2/reportcard/bleu/scores.json"),
    *("scores/c@1/m@2/reportcard/bleu/rows.npz", "predictions/c@1/m@2/predictions.jsonl"),
    *("predictions/closed@1/m@2/predictions.jsonl", "mlflow.db", "current.json"),
)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "leaderboard" / "out").symlink_to(tmp_path / "mlflow.db")
    for cohort, data_class in (("c@1", "open"), ("closed@1", "credentialed")):
        path = tmp_path / "cohorts" / f"{cohort}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"data_class": data_class}))
    with open_server(tmp_path, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def get(port: int, path: str, host: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


@pytest.mark.parametrize("name", [FILES[0], FILES[1], FILES[3]])
def test_what_the_page_links_to_is_served(port: int, name: str) -> None:
    assert get(port, f"/{name}") == (200, name)


@pytest.mark.parametrize(
    "path",
    [
        *(f"/{name}" for name in (FILES[2], *FILES[4:])),
        *("/leaderboard/out", "/leaderboard/../mlflow.db", "/leaderboard/%2e%2e/mlflow.db"),
        *("/scores/", "/predictions", "/scores/c@1/m@2", "/../../etc/passwd", "//etc/passwd"),
    ],
)
def test_nothing_else_is(port: int, path: str) -> None:
    assert get(port, path)[0] == 404


def test_the_root_leads_to_the_page_and_other_names_are_refused(port: int) -> None:
    assert get(port, "/")[0] == 302
    assert get(port, f"/{FILES[0]}", host="evil.example:80")[0] == 403


def test_without_a_page_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ReportCardError, match="reportcard run"):
        serve(tmp_path, 0, print)
