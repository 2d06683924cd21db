"""Serves the leaderboard to a browser on this machine, for `reportcard serve`.

It serves what the page links to: leaderboard/, the score files, and the predictions of open
cohorts. It lists no folder, finds nothing else of the results folder, and refuses a request that
does not name this machine as its host (a page elsewhere that rebinds its own name).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from reportcard.api import ReportCardError
from reportcard.core.files import read_json
from reportcard.core.layout import Results, ScoreFolder

HOME = f"/{Results(Path()).board.page.as_posix()}"
HOSTS = ("127.0.0.1", "localhost")


def serve(results_dir: Path, port: int, say: Callable[[str], None]) -> int:
    """Serve the page until interrupted. Raises ReportCardError when there is no page yet."""
    board = Results(results_dir).board
    if not board.page.is_file():
        raise ReportCardError(f"No page in {board.path}. Run: reportcard run")
    with open_server(results_dir, port) as server:
        say(f"The leaderboard on http://127.0.0.1:{server.server_port}{HOME} (Ctrl-C ends it)")
        server.serve_forever()
    return 0


def open_server(results_dir: Path, port: int) -> ThreadingHTTPServer:
    """Return a server on 127.0.0.1; port 0 takes a free one."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(_Pages, results_dir.resolve()))


class _Pages(SimpleHTTPRequestHandler):
    def __init__(self, results_dir: Path, *arguments: Any) -> None:
        self._results = results_dir
        super().__init__(*arguments, directory=str(results_dir))

    def send_head(self) -> Any:
        if (self.headers.get("Host") or "").rpartition(":")[0] not in HOSTS:
            self.send_error(HTTPStatus.FORBIDDEN, "Only by the name of this machine")
            return None
        path = urlsplit(self.path).path
        if path in ("/", "/leaderboard", "/leaderboard/"):
            self.send_response(HTTPStatus.FOUND)
            self.send_header("Location", HOME)
            self.end_headers()
            return None
        if not self._shown(path):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def _shown(self, path: str) -> bool:
        """Return whether a path is a file that the page links to, without a way out of these."""
        parts = unquote(path).strip("/").split("/")
        if ".." in parts or "\0" in path:
            return False
        file = self._results.joinpath(*parts)
        inside = (self._results / parts[0]).resolve()
        if not file.is_file() or not file.resolve().is_relative_to(inside):
            return False
        results = Results(self._results)
        if file.is_relative_to(results.all_predictions):
            return self._open(parts[1])
        if file.is_relative_to(results.all_scores):
            return file == ScoreFolder(file.parent).scores
        return file.is_relative_to(results.board.path)

    def _open(self, cohort: str) -> bool:
        try:
            found = read_json(Results(self._results).cohort(cohort))
        except ReportCardError:
            return False
        return found.get("data_class") == "open"

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing: a line per request would bury the address that was printed."""
