"""`reportcard doctor`: what is here, what is missing, and what to do about it.

With `dataset=NAME` it also selects the cohort and says what was found: studies per filter, files,
views, lengths of texts. Nothing is decoded unless a contact sheet is asked for.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from reportcard.api import Image, ReportCardError
from reportcard.config import paths
from reportcard.config.settings import Plugin, RunConfig
from reportcard.core import registry
from reportcard.core.environment import environment
from reportcard.data.cohort import Cohort, load_cohort, open_dataset
from reportcard.data.contact_sheet import write_contact_sheet
from reportcard.data.sources._inside import is_refused
from reportcard.llm.egress.policy import parse_origin, permit
from reportcard.llm.judge.open_judge import open_judge, settings_of
from reportcard.predict.engines import ray_cluster as cluster
from reportcard.publish.mlflow import tracking_uri
from reportcard.score.scorer import open_metrics

EXTRAS = {
    "mlflow": "mlflow",
    "rules": "negspacy",
    "judge": "openai",
    "dicom": "pydicom",
    "gpu": "torch",
    "clinical": "radgraph",
    "ray": "ray",
}
Line = tuple[str, str, str]


def report(
    run: RunConfig, look_inside: bool = False, contact_sheet: Path | None = None
) -> tuple[list[Line], bool]:
    """(area, "ok" | "--" | "missing", sentence) lines, and whether the configured run can start.

    look_inside: select each dataset's cohort and describe it. contact_sheet: do so, and draw the
    one dataset that is configured to this PNG. Raises ReportCardError when there are several.
    """
    if contact_sheet is not None and len(run.datasets) != 1:
        raise ReportCardError("--contact-sheet draws one dataset: say dataset=NAME")
    lines: list[Line] = []
    here = environment()
    lines.append(("python", "ok", f"{here['python']} at {sys.executable}"))
    lines.append(("reportcard", "ok", f"{here['reportcard']}, {_git(here['git'])}"))
    gpus = ", ".join(here["gpus"]) or "none found; models that need one will say so"
    lines.append(("gpu", "ok" if here["gpus"] else "--", gpus))
    for extra, module in EXTRAS.items():
        present = importlib.util.find_spec(module) is not None
        hint = "installed" if present else f"pip install 'cxr-reportcard[{extra}]'"
        hint += f", {cluster.ray_version()}" if present and extra == "ray" else ""
        lines.append((f"extra [{extra}]", "ok" if present else "--", hint))
    address = run.engine.address or os.environ.get("RAY_ADDRESS")
    if address and importlib.util.find_spec("ray") is not None:
        answers, words = cluster.look_at(address)
        lines.append(("ray cluster", "ok" if answers else "missing", words))
    lines.append(("results", *_writable(run.results_dir)))
    lines.append(("mlflow", "ok" if run.tracking.enabled else "--", tracking_uri(run)))
    able = True
    for plugin in run.datasets:
        try:
            problem = open_dataset(plugin).missing()
        except ReportCardError as error:
            problem = str(error)
        able &= problem is None
        lines.append((plugin.label, "missing" if problem else "ok", problem or "data in place"))
        if problem is None and (look_inside or contact_sheet):
            inside, fine = _inside(plugin, run.limit, contact_sheet)
            lines += inside
            able &= fine
    for plugin in run.models:
        try:
            registry.models.get(plugin.plugin)
            lines.append((plugin.label, "ok", f"plugin {plugin.plugin}"))
        except ReportCardError as error:
            able = False
            lines.append((plugin.label, "missing", str(error)))
    for scorer in open_metrics(run.metrics, run.annotators):
        reason = scorer.not_run
        weights = any(annotator.weights for annotator in scorer.annotators) if not reason else False
        able_text = "weights found; they are checked when they are read" if weights else "can run"
        lines.append((scorer.label, "missing" if reason else "ok", reason or able_text))
    lines += _judge_lines(run)
    lines.append(("configuration", "ok", str(paths.conf_dir())))
    return lines, able


def _inside(plugin: Plugin, limit: int | None, sheet: Path | None) -> tuple[list[Line], bool]:
    """What a cohort holds, and whether it could be selected."""
    try:
        cohort = load_cohort(plugin, limit)
    except ReportCardError as error:
        return [("  cohort", "missing", str(error))], False
    lines = [*_origin(cohort), *_steps(cohort), *_contents(cohort)]
    lines += [("  note", "--", note) for note in cohort.notes]
    if sheet is not None:
        seen = write_contact_sheet(cohort, sheet)
        constant = seen.pop("constant", 0)
        told = [f"{count} {kind}" for kind, count in sorted(seen.items())]
        told += [f"{constant} constant"] if constant else []
        whole = not set(seen) - {"read"} and not constant
        state = "ok" if whole else "missing"
        lines.append(("  contact sheet", state, f"{sheet}: images {', '.join(told) or 'none'}"))
    return lines, True


def _origin(cohort: Cohort) -> list[Line]:
    card = cohort.card
    parts = [card.title, card.data_class, card.dua_id, card.licence]
    return [("  source", "ok", "; ".join(part for part in parts if part))]


def _steps(cohort: Cohort) -> list[Line]:
    """The attrition table, a line per filter."""
    lines: list[Line] = [
        ("  filter", "ok", f"{s.after:,} kept, {s.dropped:,} dropped: {s.rule}")
        for s in cohort.attrition
    ]
    patients = len({study.patient_id for study in cohort.test})
    text = f"{cohort.size} of {patients:,} patients"
    text += f"; train part {len(cohort.train):,}" if cohort.train else "; no train part"
    return [*lines, ("  test", "ok", f"{cohort.folder}: {text}")]


def _contents(cohort: Cohort) -> list[Line]:
    """Images that are there, and how long the texts are."""
    requests = [study.request for study in cohort.test]
    present = [image for request in requests for image in request.images]
    prior = [image for r in requests if r.prior for image in r.prior.images]
    lines = [_images("images", present)]
    if any(request.prior for request in requests):
        with_prior = sum(request.prior is not None for request in requests)
        area, state, text = _images("priors", prior)
        lines.append((area, state, f"{with_prior:,} studies have one; images: {text}"))
    references = [study.reference for study in cohort.test]
    texts = {
        "findings": [reference.findings for reference in references],
        "impression": [reference.impression for reference in references],
        "indication": [request.indication for request in requests],
    }
    lines += [(f"  {name}", "ok", _lengths(found)) for name, found in texts.items()]
    phrases = [phrase for reference in references for phrase in reference.phrases]
    if phrases:
        boxes = sum(len(phrase.boxes) for phrase in phrases)
        lines.append(("  phrases", "ok", f"{len(phrases):,}, with {boxes:,} boxes"))
    policies = Counter(
        f"{key}={value}" for request in requests for key, value in request.provenance.items()
    )
    if policies:
        told = [f"{name} ({count:,})" for name, count in sorted(policies.items())]
        lines.append(("  policies", "ok", ", ".join(told)))
    return lines


def _images(area: str, images: Sequence[Image]) -> Line:
    """How many images can be had, without opening one."""
    drawn = (image for image in images if image.path is None and image.read is not None)
    here = sum(image.path is not None and image.path.is_file() for image in images)
    here += sum(not is_refused(image) for image in drawn)
    views = Counter(image.view or "view unknown" for image in images)
    told = ", ".join(f"{view} {count:,}" for view, count in sorted(views.items()))
    state = "ok" if here == len(images) else "missing" if here else "--"
    return (f"  {area}", state, f"{here:,} of {len(images):,} are here ({told or 'none listed'})")


def _lengths(texts: Sequence[str | None]) -> str:
    """Median and range of the words of the texts that are there, and how many are not."""
    words = [len(text.split()) for text in texts if text and text.strip()]
    absent = len(texts) - len(words)
    if not words:
        return "none"
    spread = f"{median(words):g} words ({min(words):,} to {max(words):,})"
    return f"{len(words):,} studies, {spread}" + (f"; {absent:,} have none" if absent else "")


def _judge_lines(run: RunConfig) -> list[Line]:
    """Which judge was chosen, where text goes, and whether each dataset's text may go there."""
    try:
        judge, problem = settings_of(run.judge), open_judge(run.judge).missing()
        if judge.kind == "none":
            return [("judge", "--", str(problem))]
        if judge.kind == "recorded":
            text = problem or f"recorded verdicts of {judge.verdicts}; text goes nowhere"
            return [("judge", "missing" if problem else "ok", text)]
        if problem and not judge.base_url:
            return [("judge", "missing", problem)]
        endpoint = parse_origin(judge.base_url or "")
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
