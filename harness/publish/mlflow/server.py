"""Serves the pages of the local MLflow store on 127.0.0.1 (`reportcard dashboard`)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from reportcard.api import ReportCardError
from reportcard.config.settings import RunConfig
from reportcard.publish.mlflow import ENVIRONMENT, tracking_uri

# MLflow's job runner is off: with it the server takes ten processes and 2.5 GB, without it two
# processes and 0.5 GB.
SERVER = {**ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
HOST = "127.0.0.1"


def command(uri: str, port: int) -> list[str]:
    """Return the command that starts the server with one worker, on loopback only."""
    return [
        *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri),
        *("--host", HOST, "--port", str(port), "--workers", "1"),
    ]


def serve(config: RunConfig, port: int, say: Callable[[str], None]) -> int:
    """Serve until the user presses Ctrl-C.

    Raises ReportCardError where there is nothing to serve.
    """
    uri = tracking_uri(config)
    if not uri.startswith("sqlite:"):
        raise ReportCardError(f"The runs are on the server {uri}; open that in a browser.")
    if not Path(uri.removeprefix("sqlite:///")).is_file():
        raise ReportCardError(f"No runs at {uri} yet. Run: make benchmark")
    say(f"MLflow on http://{HOST}:{port} (Ctrl-C ends it)")
    return subprocess.run(  # noqa: S603
        command(uri, port), env={**os.environ, **SERVER}, check=False
    ).returncode
