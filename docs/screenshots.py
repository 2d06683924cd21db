"""Takes the pictures of MLflow's pages for docs/dashboard.md, with a real server and browser.

    .venv/bin/pip install playwright        # drives the system's Chromium, downloads none
    .venv/bin/python docs/screenshots.py results

`results` is a results folder whose runs are logged, some with judged pairs. The pictures are
docs/images/dashboard-{run,compare,trace}.png. Give `--chromium PATH` if Chromium is not on the
PATH.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from reportcard.publish.mlflow.server import SERVER, command  # noqa: E402

FLAGS = ("--headless=new", "--no-sandbox", "--no-proxy-server")
PATIENCE = 240  # seconds until the server answers, or a page shows something


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    arguments = parser.parse_args()
    if arguments.chromium is None:
        print("no chromium on the PATH: apt-get install chromium", file=sys.stderr)
        return 2
    runs = json.loads((arguments.results / "tracking.json").read_text())["runs"]
    with served(arguments.results / "mlflow.db") as base, browser(arguments.chromium) as page:
        for name, path, ready in pictures(runs, page, base):
            shot(page, f"{base}/{path}", ready, arguments.out / f"dashboard-{name}.png")
    return 0


def pictures(runs: dict[str, Any], page: Any, base: str) -> Iterator[tuple[str, str, str]]:
    """(name, address, a text that the ready page shows) of each picture."""
    judged = ((name, place, traces(base, **place)) for name, place in sorted(runs.items()))
    model, place, shown = next((n, p, t) for n, p, t in judged if t)
    board = model.rsplit("/", 1)[0]
    alike = [r["run"] for name, r in runs.items() if name.rsplit("/", 1)[0] == board][:4]
    experiment = place["experiment"]
    yield "run", f"#/experiments/{experiment}/runs/{place['run']}", "unscored"
    query = f"runs={json.dumps(alike)}&experiments={json.dumps([experiment])}".replace(" ", "")
    yield "compare", f"#/compare-runs?{query}", "Parallel Coordinates"
    address = f"#/experiments/{experiment}/traces?selectedEvaluationId={shown[0]}"
    yield "trace", address, "candidate"


def traces(base: str, experiment: str, run: str) -> list[str]:
    import mlflow

    client = mlflow.MlflowClient(base)
    found = client.search_traces(locations=[experiment], run_id=run, include_spans=False)
    return [trace.info.trace_id for trace in found]


@contextmanager
def served(database: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base, line = f"http://127.0.0.1:{port}", command(f"sqlite:///{database.resolve()}", port)
    server = subprocess.Popen(line, env={**os.environ, **SERVER}, stdout=subprocess.DEVNULL)
    try:
        wait(lambda: urllib.request.urlopen(f"{base}/health", timeout=5).status == 200)
        yield base
    finally:
        server.terminate()
        server.wait(30)


def wait(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with suppress(OSError):
            if ready():
                return
        time.sleep(1)
    raise SystemExit("the MLflow server did not answer")


@contextmanager
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        program = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = program.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(1000 * PATIENCE)
        yield page
        program.close()


def shot(page: Any, address: str, ready: str, path: Path) -> None:
    page.goto("about:blank")
    page.goto(address)
    page.get_by_text(ready).first.wait_for(state="attached")
    page.wait_for_timeout(4000)
    tidy(page)
    page.wait_for_timeout(1000)
    page.screenshot(path=path)
    print(f"{path} {path.stat().st_size / 1000:.0f} kB")


def tidy(page: Any) -> None:
    """Close the assistant's panel and the pop-ups in the way; unfold the note."""
    for words in ("Got it", "Close", "Dismiss", "Not now", "Skip"):
        for button in page.get_by_role("button", name=words).all():
            with suppress(Exception):
                button.click(timeout=1500)
    for link in page.get_by_text("Show more", exact=True).all():
        with suppress(Exception):
            link.click(timeout=1500)


if __name__ == "__main__":
    sys.exit(main())
