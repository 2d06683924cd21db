"""Checks this machine and the configured run for `reportcard doctor`.

Each line says what is in place, what is missing, and how to get it. With `dataset=NAME`,
cohort_description.py adds what the cohort contains.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from reportcard.api import ReportCardError
from reportcard.cli.cohort_description import DoctorLine, State, describe
from reportcard.config import paths
from reportcard.config.endpoint_settings import JudgeSettings
from reportcard.config.settings import Plugin, RunConfig
from reportcard.core import registry
from reportcard.core.environment import environment
from reportcard.data.cohort import open_dataset
from reportcard.llm.egress.policy import parse_origin, permit
from reportcard.llm.judge import open_judge
from reportcard.predict.engines import ray_cluster
from reportcard.publish.mlflow import tracking_uri
from reportcard.score.scorer import Scorer, open_metrics

EXTRAS = {
    "mlflow": "mlflow",
    "rules": "negspacy",
    "judge": "openai",
    "dicom": "pydicom",
    "gpu": "torch",
    "clinical": "radgraph",
    "ray": "ray",
}


def report(
    run: RunConfig, look_inside: bool = False, contact_sheet: Path | None = None
) -> tuple[list[DoctorLine], bool]:
    """Return the lines to show, and whether the configured run can start.

    Raises ReportCardError when a contact sheet is asked for and several datasets are configured.

    Args:
        run: the configured run.
        look_inside: select the cohort of each dataset and describe it.
        contact_sheet: describe the one configured dataset and draw it to this PNG.
    """
    if contact_sheet is not None and len(run.datasets) != 1:
        raise ReportCardError("--contact-sheet draws one dataset; choose it: dataset=NAME")
    lines = [*_machine(run)]
    can_start = True
    for plugin in run.datasets:
        found, fine = _dataset(plugin, run.limit, look_inside, contact_sheet)
        lines += found
        can_start &= fine
    for plugin in run.models:
        try:
            registry.models.get(plugin.plugin)
            lines.append(DoctorLine(plugin.label, "ok", f"plugin {plugin.plugin}"))
        except ReportCardError as error:
            can_start = False
            lines.append(DoctorLine(plugin.label, "missing", str(error)))
    lines += [_metric(scorer) for scorer in open_metrics(run.metrics, run.annotators)]
    lines += _judge(run)
    lines.append(DoctorLine("configuration", "ok", str(paths.conf_dir())))
    return lines, can_start


def _machine(run: RunConfig) -> list[DoctorLine]:
    """Check Python, GPUs, extras, the Ray cluster, the results folder and MLflow."""
    here = environment()
    gpus = ", ".join(here["gpus"])
    lines = [
        DoctorLine("python", "ok", f"{here['python']} at {sys.executable}"),
        DoctorLine("reportcard", "ok", f"{here['reportcard']}, {_git(here['git'])}"),
        DoctorLine("gpu", "ok" if gpus else "--", gpus or "none found; only some models need one"),
    ]
    for extra, module in EXTRAS.items():
        present = importlib.util.find_spec(module) is not None
        hint = "installed" if present else f"pip install 'cxr-reportcard[{extra}]'"
        hint += f", {ray_cluster.ray_version()}" if present and extra == "ray" else ""
        lines.append(DoctorLine(f"extra [{extra}]", "ok" if present else "--", hint))
    address = run.engine.address or os.environ.get("RAY_ADDRESS")
    if address and importlib.util.find_spec("ray") is not None:
        answers, text = ray_cluster.look_at(address)
        lines.append(DoctorLine("ray cluster", "ok" if answers else "missing", text))
    lines.append(_results_folder(run.results_dir))
    state: State = "ok" if run.tracking.enabled else "--"
    return [*lines, DoctorLine("mlflow", state, tracking_uri(run))]


def _dataset(
    plugin: Plugin, limit: int | None, look_inside: bool, contact_sheet: Path | None
) -> tuple[list[DoctorLine], bool]:
    """Check a dataset, describe it when asked to, and return whether a run could use it.

    Args:
        plugin: the dataset.
        limit: how many studies the run takes.
        look_inside: select the cohort and describe it.
        contact_sheet: describe the cohort and draw it to this PNG.
    """
    try:
        problem = open_dataset(plugin).missing()
    except ReportCardError as error:
        problem = str(error)
    if problem is not None:
        return [DoctorLine(plugin.label, "missing", problem)], False
    lines, fine = [DoctorLine(plugin.label, "ok", "data in place")], True
    if look_inside or contact_sheet:
        inside, fine = describe(plugin, limit, contact_sheet)
        lines += inside
    return lines, fine


def _metric(scorer: Scorer) -> DoctorLine:
    if scorer.not_run:
        return DoctorLine(scorer.label, "missing", scorer.not_run)
    weights = any(annotator.weights for annotator in scorer.annotators)
    text = "weights found; they are verified when they are loaded" if weights else "can run"
    return DoctorLine(scorer.label, "ok", text)


def _judge(run: RunConfig) -> list[DoctorLine]:
    """Say which judge is configured, where it sends text, and which datasets may be sent there."""
    try:
        judge = JudgeSettings.from_options(run.judge)
        problem = open_judge(run.judge).missing()
        if judge.kind == "none":
            return [DoctorLine("judge", "--", str(problem))]
        if judge.kind == "recorded":
            text = problem or f"recorded verdicts of {judge.verdicts}; no text is sent anywhere"
            return [DoctorLine("judge", "missing" if problem else "ok", text)]
        if problem and not judge.base_url:
            return [DoctorLine("judge", "missing", problem)]
        origin = parse_origin(judge.base_url or "")
    except ReportCardError as error:
        return [DoctorLine("judge", "missing", str(error))]
    text = problem or f"{judge.kind}, {judge.model}; text is sent to {origin}"
    line = DoctorLine("judge", "missing" if problem else "ok", text)
    return [line, *(_may_be_sent(plugin, str(judge.base_url)) for plugin in run.datasets)]


def _may_be_sent(plugin: Plugin, base_url: str) -> DoctorLine:
    """Say whether the judge may be sent text of a dataset, and why."""
    area = f"{plugin.label} → judge"
    try:
        return DoctorLine(area, "ok", permit(open_dataset(plugin).card, base_url).why)
    except ReportCardError as error:
        return DoctorLine(area, "missing", str(error))


def _git(state: dict[str, object] | None) -> str:
    if state is None:
        return "no git checkout"
    return f"commit {str(state['commit'])[:8]}" + (" with local changes" if state["dirty"] else "")


def _results_folder(folder: Path) -> DoctorLine:
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 2**30
    writable = os.access(place, os.W_OK)
    text = f"{folder.resolve()}: {free:,.0f} GiB free" + ("" if writable else ", not writable")
    return DoctorLine("results", "ok" if writable else "missing", text)
