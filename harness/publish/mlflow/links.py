"""Writes leaderboard/mlflow.html, a table of links from the leaderboard to each run in MLflow.

MLflow gives its runs random ids. The links are in a file of their own, so that the same scores give
the same bytes in the leaderboard's files. Each run's description links back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from reportcard.core.files import write_atomic

DASHBOARD = "http://127.0.0.1:5000"  # where `reportcard dashboard` serves the local store

HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Runs in MLflow</title>
<meta name="viewport" content="width=device-width">
<style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;
margin:2rem auto;padding:0 1rem}td,th{text-align:left;padding:.15rem 1rem .15rem 0}</style>
"""


@dataclass(frozen=True, slots=True)
class RunPlace:
    """Where MLflow keeps a run: the ids of its experiment and of the run."""

    experiment: str
    run: str

    def path(self, artifact: str = "") -> str:
        """Return the page of the run, or of one of its files, below the server's address."""
        path = f"#/experiments/{self.experiment}/runs/{self.run}"
        return f"{path}/artifacts/{artifact}" if artifact else path


def write_links(path: Path, uri: str, places: Mapping[str, RunPlace]) -> None:
    """Write one line per run. Links to the local store work while `make dashboard` runs.

    Args:
        path: the file to write.
        uri: the MLflow store.
        places: "cohort/protocol/system" → where MLflow keeps that run.
    """
    local = not uri.startswith(("http://", "https://"))
    server = DASHBOARD if local else uri.rstrip("/")
    rows = []
    for name, place in sorted(places.items()):
        cohort, protocol, model = name.split("/", 2)
        link = escape(f"{server}/{place.path()}", quote=True)
        cells = [escape(cohort), escape(protocol), f'<a href="{link}">{escape(model)}</a>']
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    hint = "<p>Start the server first: <code>make dashboard</code></p>" if local else ""
    table = "<tr><th>cohort</th><th>protocol</th><th>run</th></tr>\n" + "\n".join(rows)
    page = (
        f'{HEAD}<h1>Runs in MLflow</h1><p><a href="index.html">Leaderboard</a></p>{hint}\n'
        f"<table>\n{table}\n</table></html>\n"
    )
    write_atomic(path, page.encode("utf-8", "backslashreplace"))
