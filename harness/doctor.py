"""`reportcard doctor`: what is here, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from harness import config, registry
from harness.api import ReportCardError
from harness.card import environment
from harness.cohort import open_dataset
from harness.score import open_metrics
from harness.settings import RunConfig
from harness.tracking import tracking_uri

EXTRAS = {
    "mlflow": "mlflow",
    "rules": "negspacy",
    "gpu": "torch",
    "clinical": "radgraph",
    "ray": "ray",
}


def report(run: RunConfig) -> tuple[list[tuple[str, str, str]], bool]:
    """(area, "ok" | "--" | "missing", sentence) lines, and whether the configured run can start."""
    lines: list[tuple[str, str, str]] = []
    here = environment()
    lines.append(("python", "ok", f"{here['python']} at {sys.executable}"))
    lines.append(("reportcard", "ok", f"{here['reportcard']}, {_git(here['git'])}"))
    gpus = ", ".join(here["gpus"]) or "none found; models that need one will say so"
    lines.append(("gpu", "ok" if here["gpus"] else "--", gpus))
    for extra, module in EXTRAS.items():
        present = importlib.util.find_spec(module) is not None
        hint = "installed" if present else f"pip install 'cxr-reportcard[{extra}]'"
        lines.append((f"extra [{extra}]", "ok" if present else "--", hint))
    lines.append(("results", *_writable(run.results_dir)))
    lines.append(("mlflow", "ok" if run.track else "--", tracking_uri(run)))
    able = True
    for plugin in run.datasets:
        try:
            problem = open_dataset(plugin).missing()
        except ReportCardError as error:
            problem = str(error)
        able &= problem is None
        lines.append((plugin.label, "missing" if problem else "ok", problem or "data in place"))
    for plugin in run.models:
        try:
            registry.models.get(plugin.plugin)
            lines.append((plugin.label, "ok", f"plugin {plugin.plugin}"))
        except ReportCardError as error:
            able = False
            lines.append((plugin.label, "missing", str(error)))
    for scorer in open_metrics(run.metrics, run.overrides):
        reason = scorer.not_run
        weights = any(annotator.weights for annotator in scorer.annotators) if not reason else False
        able_text = "weights found; they are checked when they are read" if weights else "can run"
        lines.append((scorer.label, "missing" if reason else "ok", reason or able_text))
    lines.append(("configuration", "ok", str(config.conf_dir())))
    return lines, able


def _git(state: dict[str, object] | None) -> str:
    if state is None:
        return "no git checkout"
    return f"commit {str(state['commit'])[:8]}" + (" with local changes" if state["dirty"] else "")


def _writable(folder: Path) -> tuple[str, str]:
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 2**30
    fine = os.access(place, os.W_OK)
    text = f"{folder.resolve()}: {free:,.0f} GiB free" + ("" if fine else ", not writable")
    return ("ok" if fine else "missing"), text
