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
from harness.egress import parse_endpoint, permit
from harness.judge import open_judge, settings_of
from harness.score import open_metrics
from harness.settings import Plugin, RunConfig
from harness.tracking import tracking_uri

EXTRAS = {
    "mlflow": "mlflow",
    "rules": "negspacy",
    "judge": "openai",
    "gpu": "torch",
    "clinical": "radgraph",
    "ray": "ray",
}


Line = tuple[str, str, str]


def report(run: RunConfig) -> tuple[list[Line], bool]:
    """(area, "ok" | "--" | "missing", sentence) lines, and whether the configured run can start."""
    lines: list[Line] = []
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
    lines += _judge_lines(run)
    lines.append(("configuration", "ok", str(config.conf_dir())))
    return lines, able


def _judge_lines(run: RunConfig) -> list[Line]:
    """Which judge was chosen, where text goes, and whether each dataset's text may go there."""
    try:
        options = config.load_judge(run.overrides)
        judge, problem = settings_of(options), open_judge(options).missing()
        if judge.kind == "none":
            return [("judge", "--", str(problem))]
        if judge.kind == "recorded":
            text = problem or f"recorded verdicts of {judge.verdicts}; text goes nowhere"
            return [("judge", "missing" if problem else "ok", text)]
        if problem and not judge.base_url:
            return [("judge", "missing", problem)]
        endpoint = parse_endpoint(judge.base_url or "")
    except ReportCardError as error:
        return [("judge", "missing", str(error))]
    text = problem or f"{judge.kind}, {judge.model}; text goes to {endpoint}"
    lines = [("judge", "missing" if problem else "ok", text)]
    return lines + [_may_go(plugin, str(judge.base_url)) for plugin in run.datasets]


def _may_go(plugin: Plugin, base_url: str) -> Line:
    """Whether text of a dataset may go to the judge, and on what grounds."""
    area = f"{plugin.label} → judge"
    try:
        return (area, "ok", permit(open_dataset(plugin).card, base_url).why)
    except ReportCardError as error:
        return (area, "missing", str(error))


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
