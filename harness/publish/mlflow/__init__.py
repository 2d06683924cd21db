"""Logs finished runs to MLflow: an experiment per cohort, with one run per system.

The runs of one command have a parent run, which holds the leaderboard. Results are never read back
from MLflow, and a failure of MLflow never fails a run. `results/tracking.json` records what was
logged, so that an unchanged run does not import mlflow, which takes six seconds.

    client.py        writes runs and traces to MLflow, and updates them in place
    run_fields.py    the names, parameters, metrics and tags of a run; needs no mlflow
    description.py   the description of a run: its score table in Markdown
    forest_plot.py   the forest plot of a board, as SVG
    examples.py      predictions and judged pairs to look at; text of open data only
    replay_judge.py  a judge that answers from the verdict cache and records each question
    links.py         writes leaderboard/mlflow.html, which leads from the leaderboard to the runs
    server.py        `reportcard dashboard`
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reportcard.api import ReportCardError
from reportcard.config.settings import RunConfig
from reportcard.core.files import digest, file_digest, read_json, write_json
from reportcard.core.layout import Results
from reportcard.core.records import from_json, to_json
from reportcard.data.cohort import Cohort
from reportcard.predict.system import System
from reportcard.publish.mlflow.links import RunPlace, write_links
from reportcard.publish.mlflow.run_fields import LAYOUT, score_files

Say = Callable[[str], None]
CohortRuns = tuple[Cohort, Sequence[System]]
# MLflow gives up quickly on a server that is away, prints little, and sends no usage reports.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclass(frozen=True, slots=True)
class Logged:
    """The content of tracking.json.

    `logged` has a digest of what was logged for each store and cohort; `runs` says where MLflow
    keeps each run, which is named "cohort/protocol/system".
    """

    logged: Mapping[str, str]
    runs: Mapping[str, RunPlace]


def tracking_uri(config: RunConfig) -> str:
    """Return the configured store, else MLFLOW_TRACKING_URI, else a SQLite file in results_dir."""
    default = f"sqlite:///{Results(config.results_dir).mlflow_db.resolve()}"
    return config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or default


def log(config: RunConfig, runs: Sequence[CohortRuns], artifacts: Sequence[Path], say: Say) -> bool:
    """Log everything that is not logged yet. Returns whether the store is up to date.

    Args:
        config: the configuration of the run.
        runs: each cohort with the systems that were run on it.
        artifacts: the leaderboard's files, which the parent run holds.
        say: prints a line for the user.
    """
    if not config.tracking.enabled:
        return False
    uri = tracking_uri(config)
    wanted = {f"{uri} {cohort.folder}": _digest(config, cohort, systems, artifacts)
              for cohort, systems in runs}  # fmt: skip
    results = Results(config.results_dir)
    known, places = _logged(results.tracking, uri)
    if all(known.get(name) == value for name, value in wanted.items()):
        return True
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from reportcard.publish.mlflow.client import TrackingClient

        client = TrackingClient(uri, config)
        for cohort, systems in runs:
            places |= client.log_cohort(cohort, systems, artifacts)
        write_json(results.tracking, to_json(Logged({**known, **wanted}, places)))
        write_links(results.board.mlflow_links, uri, places)
    except ImportError:
        say("MLflow is not installed, nothing logged: pip install 'cxr-reportcard[mlflow]'")
        return False
    except Exception as error:
        # Whatever a tracking server does, the run is complete: its files are written.
        reason = " ".join(str(error).split())[:300]
        say(f"Warning: MLflow at {uri} could not be written ({type(error).__name__}: {reason}).")
        say("  The run is complete in its files; the same command logs it when the server is back.")
        return False
    return True


def _logged(tracking: Path, uri: str) -> tuple[dict[str, str], dict[str, RunPlace]]:
    """Read what has been logged and where it is. Both are empty where store or file is lost."""
    lost = uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file()
    try:
        saved = from_json(Logged, {} if lost else read_json(tracking))
    except (ReportCardError, ValueError):
        # Everything is logged again, and MLflow's runs are updated in place.
        return {}, {}
    return dict(saved.logged), dict(saved.runs)


def _digest(
    config: RunConfig, cohort: Cohort, systems: Sequence[System], artifacts: Sequence[Path]
) -> str:
    """Digest everything that is logged for the runs of one cohort."""
    files = [path for system in systems for path in score_files(config, cohort, system)]
    amounts = [config.tracking.traces, config.tracking.predictions]
    return digest([LAYOUT, amounts, [file_digest(path) for path in [*files, *artifacts]]])
