"""The study viewer: one page per cohort on which reports are read beside their references.

leaderboard/studies/<cohort>@<fp8>/
    index.html   the studies as JSON within the page, drawn by viewer.js: it works from disk
    <i>-<j>.png  image j of study i, where images are on this machine

A cohort of thousands of studies would make a page of hundreds of megabytes: it shows the `WORST`
studies by the board's primary key, meaned over its models (over its floors where there is no
model), and `RANDOM` of the rest, drawn with the cohort's fingerprint. Report text of a cohort that
is not open is written only under text=on, and then for its owner's eyes (mode 0600).
"""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from reportcard.api import ImageError, Json, Phrase, ReportCardError, Study
from reportcard.config.settings import Protocol, RunConfig
from reportcard.core.files import make_private, write_atomic
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.predict.predictions_file import read_reports
from reportcard.publish.page.page import HERE, embedded, script_hash, template
from reportcard.publish.page.per_report import Reports, per_report
from reportcard.score.normalise import report_text
from reportcard.score.scorer import Scorer

WORST, RANDOM = 200, 100
IMAGES, PIXELS = 2, 384
LETTERS = 20_000  # of one report: a runaway answer does not fill the page
SCRIPTS = ("dom.js", "viewer.js")


def write_viewers(
    model: Json,
    cohorts: Sequence[tuple[Cohort, Protocol]],
    results_dir: Path,
    text: str = "open",
    scorers: Sequence[Scorer] = (),
) -> dict[str, str]:
    """Write the page of every board whose cohort is given; cohort folder → page, as a link.

    text: "open", "on" (also of data that is not open) or "off". Pages of cohorts that are not
    given stay and are linked: the data may be on this machine tomorrow again.
    """
    root = results_dir / "leaderboard" / "studies"
    known = {cohort.folder: (cohort, protocol) for cohort, protocol in cohorts}
    found: dict[str, str] = {}
    for board in model["boards"]:
        name = board["cohort_folder"]
        page = root / name / "index.html"
        given = known.get(name)
        if given and board["protocol"] == given[1].name:
            closed = given[0].card.data_class != "open"
            shutil.rmtree(root / name, ignore_errors=True)
            if text == "on" or (text == "open" and not closed):
                _write(page, board, *given, results_dir, scorers)
                if closed:
                    make_private(root / name)
        if page.is_file():
            found[name] = f"studies/{name.replace('@', '%40')}/index.html"
    return found


def load_cohorts(config: RunConfig, model: Json) -> list[Cohort]:
    """The configured cohorts that have a board and whose data is on this machine."""
    wanted = {board["cohort"]["name"] for board in model["boards"]}
    found = []
    for plugin in config.datasets:
        try:
            cohort = load_cohort(plugin, config.limit)
        except ReportCardError:
            continue
        if cohort.name in wanted:
            found.append(cohort)
    return found


def _write(
    page: Path,
    board: Json,
    cohort: Cohort,
    protocol: Protocol,
    results_dir: Path,
    scorers: Sequence[Scorer],
) -> None:
    private = cohort.card.data_class != "open"
    if private:
        make_private(page.parent)
    reports = per_report(board, results_dir, scorers)
    values, keys = reports.values, reports.keys
    studies = {study.study_id: (i, study) for i, study in enumerate(cohort.test)}
    shown = _chosen(board, reports, cohort)
    answers = {row["model"]: _answers(results_dir, board, row, protocol) for row in board["rows"]}
    data = {
        "keys": keys,
        "primary": reports.primary,
        "systems": [
            {"label": row["label"], "kind": row["kind"], "fingerprint": row["fingerprint"]}
            for row in board["rows"]
        ],
        "studies": [
            {
                **_study(studies[name][1], protocol),
                "images": _images(page.parent, *studies[name]),
                "answers": [
                    {
                        **answers[row["model"]].get(name, {"text": "", "status": "missing"}),
                        "values": [values[row["model"]].get(k["key"], {}).get(name) for k in keys],
                        **reports.labels.get((row["model"], name), {}),
                    }
                    for row in board["rows"]
                ],
            }
            for name in shown
        ],
    }
    script = "".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    html = template("viewer.html.j2").render(
        title=board["cohort"]["name"],
        n=len(shown),
        total=len(cohort.test),
        data=embedded(data),
        css=(HERE / "page.css").read_text(encoding="utf-8")
        + (HERE / "viewer.css").read_text(encoding="utf-8"),
        js=script,
        allowed=script_hash(script),
    )
    write_atomic(page, html.encode("utf-8", "backslashreplace"), 0o600 if private else 0o644)


def _chosen(board: Json, reports: Reports, cohort: Cohort) -> list[str]:
    """Study ids: all where they are few; else the worst, then some of the others at random."""
    ids = [study.study_id for study in cohort.test]
    if len(ids) <= WORST + RANDOM:
        return ids
    key = reports.primary or ""
    sign = -1.0 if {"key": key, "direction": "lower"} in reports.keys else 1.0
    values = reports.values
    for kind in ("model", "floor"):
        judged = [values[row["model"]].get(key, {}) for row in board["rows"] if row["kind"] == kind]
        if any(judged):
            break
    means: dict[str, float] = {}
    for name in ids:
        known = [of[name] for of in judged if name in of]
        if known:
            means[name] = sign * sum(known) / len(known)
    worst = sorted(means, key=lambda name: (means[name], name))[:WORST]
    taken = set(worst)
    rest = [name for name in ids if name not in taken]
    some = random.Random(cohort.fingerprint).sample(rest, min(RANDOM, len(rest)))
    return [*worst, *sorted(some)]


def _answers(results_dir: Path, board: Json, row: Json, protocol: Protocol) -> dict[str, Json]:
    """Study → the first draw's report and status; empty where the predictions are gone."""
    folder = results_dir / "predictions" / board["cohort_folder"] / row["model"]
    try:
        draws = read_reports(folder)
    except (OSError, ReportCardError):
        return {}
    return {
        name: {
            "text": _cut(report_text(protocol, report)),
            **({"status": status} if status != "ok" else {}),
            **_phrases(report.phrases),
        }
        for name, (report, status) in (draws[0] if draws else {}).items()
    }


def _study(study: Study, protocol: Protocol) -> Json:
    request, reference = study.request, study.reference
    return {
        "id": study.study_id,
        "given": [
            [name, _cut(value)]
            for name in ("indication", "technique", "comparison", "phrase")
            if (value := getattr(request, name))
        ],
        "prior": request.prior is not None,
        "reference": _cut(report_text(protocol, reference, missing="")),
        **_phrases(reference.phrases),
    }


def _phrases(phrases: Sequence[Phrase]) -> Json:
    if not phrases:
        return {}
    return {
        "phrases": [
            {"text": _cut(p.text), "boxes": [list(asdict(box).values()) for box in p.boxes]}
            for p in phrases
        ]
    }


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[:LETTERS]} … ({len(text):,} characters)"


def _images(folder: Path, index: int, study: Study) -> list[Json]:
    """Its first images as PNG files of at most `PIXELS` a side; one that cannot be read is not."""
    from PIL import Image

    found: list[Json] = []
    for j, image in enumerate(study.request.images[:IMAGES]):
        if not image.available:
            continue
        try:
            picture = Image.fromarray(image.pixels())
        except ImageError:
            continue
        picture.thumbnail((PIXELS, PIXELS), Image.Resampling.BILINEAR)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        name = f"{index}-{j}.png"
        write_atomic(folder / name, buffer.getvalue())
        found.append({"file": name, "view": image.view, "size": list(picture.size)})
    return found
