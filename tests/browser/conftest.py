"""A real headless Chromium over pages as they lie on disk: `make test-browser`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reportcard.api import Json
from reportcard.publish.board.boards import Leaderboard
from reportcard.publish.page.page import render

pytest.importorskip("playwright.sync_api", reason="needs the browser extra: make test-browser")

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import Error, sync_playwright

    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    with sync_playwright() as playwright:
        try:
            # The tests' pages are our own and a container has no user namespace to be a sandbox.
            launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except Error as error:
            pytest.skip(f"no Chromium can be started here: {str(error).splitlines()[0]}")
        yield launched
        launched.close()


class Seen:
    """What a page did that it must not: requests that leave the disk, errors, dialogs."""

    def __init__(self, page: Any) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._message)
        page.on("dialog", self._dialog)

    def _message(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _dialog(self, dialog: Any) -> None:
        self.errors.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """visit(model or path, hash, **context options) → the open page; checked at the end."""
    contexts, seen = [], []

    def go(what: Json | Path, hash: str = "", **options: Any) -> Any:
        path = what if isinstance(what, Path) else tmp_path / "index.html"
        if not isinstance(what, Path):
            path.write_text(render(Leaderboard.from_json(what)), encoding="utf-8")
        options = {"viewport": {"width": 1400, "height": 900}, **options}
        context = browser.new_context(**options)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        seen.append(Seen(page))
        page.goto(f"{path.as_uri()}{hash}")
        return page

    yield go
    for context in contexts:
        context.close()
    for watched in seen:
        assert watched.errors == []
        assert all(url.startswith(("file:", "data:")) for url in watched.requests)
