"""MLflow as a view of the files: experiment per cohort, parent run per invocation, child per model.

Nothing is read back from MLflow, and its failure never fails a run. What has been logged is noted
in `results/tracking.json`, so an unchanged run does not even import mlflow (six seconds).

    told.py       what is said of a run: names, parameters, metrics, tags (no mlflow)
    note.py       its description: the score table in markdown
    forest.py     the forest plot of a board, an SVG
    evidence.py   predictions and judged pairs; text of open data only
    store.py      the MLflow client: runs and traces, updated in place
    links.py      leaderboard/mlflow.html: from the leaderboard to the runs
    server.py     `reportcard dashboard`
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from reportcard.api import Json, ReportCardError
from reportcard.config.settings import RunConfig
from reportcard.core.files import digest, file_digest, read_json, write_json
from reportcard.data.cohort import Cohort
from reportcard.predict.system import System
from reportcard.publish.mlflow.links import Places, write_links
from reportcard.publish.mlflow.run_fields import LAYOUT, score_files

Say = Callable[[str], None]
Board = tuple[Cohort, Sequence[System]]
# Quick to give up on a server that is away, quiet, and without usage reports.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


def tracking_uri(config: RunConfig) -> str:
    """The configured store, else MLFLOW_TRACKING_URI, else a SQLite file in results_dir."""
    default = f"sqlite:///{(config.results_dir / 'mlflow.db').resolve()}"
    return config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or default


def log(config: RunConfig, boards: Sequence[Board], artifacts: Sequence[Path], say: Say) -> bool:
    """Log everything that is not logged yet. Returns whether the store is up to date."""
    if not config.tracking.enabled:
        return False
    uri = tracking_uri(config)
    wanted = {f"{uri} {cohort.folder}": _digest(config, cohort, systems, artifacts)
              for cohort, systems in boards}  # fmt: skip
    memory = config.results_dir / "tracking.json"
    known, places = _remembered(memory, uri)
    if all(known.get(place) == value for place, value in wanted.items()):
        return True
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from reportcard.publish.mlflow.client import Store

        store = Store(uri, config)
        for cohort, systems in boards:
            places |= store.log_board(cohort, systems, artifacts)
        write_json(memory, {"logged": {**known, **wanted}, "runs": places})
        write_links(config.results_dir / "leaderboard", uri, places)
    except ImportError:
        say("MLflow is not installed, nothing logged: pip install 'cxr-reportcard[mlflow]'")
        return False
    except Exception as error:
        # Whatever a tracking server does, the run is complete and its files are written.
        reason = " ".join(str(error).split())[:300]
        say(f"Warning: MLflow at {uri} could not be written ({type(error).__name__}: {reason}).")
        say("  The run is complete in its files; the same command logs it when the server is back.")
        return False
    return True


def _remembered(memory: Path, uri: str) -> tuple[dict[str, str], Places]:
    """What has been logged, and where; nothing where the store or the memory is lost."""
    lost = uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file()
    try:
        saved: Json = {} if lost else read_json(memory)
        return dict(saved["logged"]), dict(saved["runs"])
    except (ReportCardError, KeyError, TypeError, ValueError):  # logged again, in place
        return {}, {}


def _digest(
    config: RunConfig, cohort: Cohort, systems: Sequence[System], artifacts: Sequence[Path]
) -> str:
    files = [path for system in systems for path in score_files(config, cohort, system)]
    amounts = [config.tracking.traces, config.tracking.predictions]
    return digest([LAYOUT, amounts, [file_digest(path) for path in [*files, *artifacts]]])
