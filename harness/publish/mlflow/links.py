"""leaderboard/mlflow.html: from the leaderboard to each run in MLflow.

MLflow numbers its runs at random, so the links stand in a file of their own and the leaderboard's
files stay the same bytes. The way back is in each run's description.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from reportcard.core.files import write_atomic

Places = dict[str, dict[str, str]]  # "cohort/protocol/model" → {"experiment", "run"}
DASHBOARD = "http://127.0.0.1:5000"  # where `reportcard dashboard` serves the local store

HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Runs in MLflow</title>
<meta name="viewport" content="width=device-width">
<style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;
margin:2rem auto;padding:0 1rem}td,th{text-align:left;padding:.15rem 1rem .15rem 0}</style>
"""


def run_path(place: dict[str, str], artifact: str = "") -> str:
    """A run's page, below the server's address."""
    path = f"#/experiments/{place['experiment']}/runs/{place['run']}"
    return f"{path}/artifacts/{artifact}" if artifact else path


def write_links(folder: Path, uri: str, places: Places) -> Path:
    """One line per run. The local store's links work while `make dashboard` runs."""
    local = not uri.startswith(("http://", "https://"))
    server = DASHBOARD if local else uri.rstrip("/")
    rows = []
    for name, place in sorted(places.items()):
        cohort, protocol, model = name.split("/", 2)
        link = escape(f"{server}/{run_path(place)}", quote=True)
        cells = [escape(cohort), escape(protocol), f'<a href="{link}">{escape(model)}</a>']
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    hint = "<p>Start the server first: <code>make dashboard</code></p>" if local else ""
    table = "<tr><th>cohort</th><th>protocol</th><th>run</th></tr>\n" + "\n".join(rows)
    page = (
        f'{HEAD}<h1>Runs in MLflow</h1><p><a href="index.html">Leaderboard</a></p>{hint}\n'
        f"<table>\n{table}\n</table></html>\n"
    )
    path = folder / "mlflow.html"
    write_atomic(path, page.encode("utf-8", "backslashreplace"))
    return path
