"""Writes the study viewer: a page per cohort that shows reports beside their references.

leaderboard/studies/<cohort>@<fp8>/
    index.html   the studies as JSON within the page, drawn by viewer.js: it works from disk
    <i>-<j>.png  image j of study i, where images are on this machine

All studies of a large cohort would make a page of hundreds of megabytes. It shows the `WORST`
studies by the board's primary key, averaged over its models (over its floors where there is no
model), and `RANDOM` of the rest, drawn with the cohort's fingerprint. Report text of a cohort that
is not open is written only under text=on, and then so that only its owner can read it (mode 0600).
"""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

from reportcard.api import ImageError, Json, Phrase, ReportCardError, Study
from reportcard.config.settings import Protocol, RunConfig
from reportcard.core.files import make_private, write_atomic
from reportcard.core.layout import Results, RunId
from reportcard.core.records import to_json
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.predict.predictions_file import read_reports
from reportcard.publish.board.boards import Board, Entry, Leaderboard
from reportcard.publish.page.page import HERE, embedded, script_hash, template
from reportcard.publish.page.per_report import RatedKey, ReportScores, per_report
from reportcard.score.normalise import report_text
from reportcard.score.scorer import Scorer

WORST, RANDOM = 200, 100
IMAGES, PIXELS = 2, 384
LETTERS = 20_000  # of one report, so that a runaway answer does not fill the page
SCRIPTS = ("dom.js", "viewer.js")


def write_viewers(
    found: Leaderboard,
    cohorts: Sequence[tuple[Cohort, Protocol]],
    results_dir: Path,
    text: str = "open",
    scorers: Sequence[Scorer] = (),
) -> dict[str, str]:
    """Write the viewer of every board whose cohort is given; return cohort folder → its page.

    Viewers of other cohorts stay and are linked: their data may be here again tomorrow.

    Args:
        found: the leaderboard.
        cohorts: the cohorts whose data is on this machine, each with its protocol.
        results_dir: the results folder.
        text: "open", "on" (also of data that is not open) or "off".
        scorers: metrics that are open already.
    """
    folder = Results(results_dir).board
    known = {cohort.folder: (cohort, protocol) for cohort, protocol in cohorts}
    pages: dict[str, str] = {}
    for board in found.boards:
        name = board.cohort_folder
        page = folder.viewer(name)
        given = known.get(name)
        if given and board.protocol == given[1].name:
            closed = given[0].card.data_class != "open"
            shutil.rmtree(page.parent, ignore_errors=True)
            if text == "on" or (text == "open" and not closed):
                _write(page, board, *given, results_dir, scorers)
                if closed:
                    make_private(page.parent)
        if page.is_file():
            pages[name] = quote(page.relative_to(folder.path).as_posix())
    return pages


def load_cohorts(config: RunConfig, boards: Leaderboard) -> list[Cohort]:
    """Load the configured cohorts that have a board and whose data is on this machine."""
    wanted = {board.cohort.name for board in boards.boards}
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
    board: Board,
    cohort: Cohort,
    protocol: Protocol,
    results_dir: Path,
    scorers: Sequence[Scorer],
) -> None:
    private = cohort.card.data_class != "open"
    if private:
        make_private(page.parent)
    reports = per_report(board, results_dir, scorers)
    studies = {study.study_id: (i, study) for i, study in enumerate(cohort.test)}
    shown = _chosen(board, reports, cohort)
    answers = {
        entry.model: _answers(results_dir, board.run(entry.model), protocol)
        for entry in board.entries
    }

    def answer(entry: Entry, name: str) -> Json:
        values = reports.values[entry.model]
        given = answers[entry.model].get(name, {"text": "", "status": "missing"})
        rated = [values.get(key.key, {}).get(name) for key in reports.keys]
        errors = reports.labels.get((entry.model, name))
        return {**given, "values": rated, **(to_json(errors) if errors else {})}

    data = {
        "keys": reports.keys,
        "primary": reports.primary,
        "systems": [
            {"label": entry.label, "kind": entry.kind, "fingerprint": entry.fingerprint}
            for entry in board.entries
        ],
        "studies": [
            {
                **_study(studies[name][1], protocol),
                "images": _images(page.parent, *studies[name]),
                "answers": [answer(entry, name) for entry in board.entries],
            }
            for name in shown
        ],
    }
    script = "".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    html = template("viewer.html.j2").render(
        title=board.cohort.name,
        n=len(shown),
        total=len(cohort.test),
        data=embedded(data),
        css=(HERE / "page.css").read_text(encoding="utf-8")
        + (HERE / "viewer.css").read_text(encoding="utf-8"),
        js=script,
        allowed=script_hash(script),
    )
    write_atomic(page, html.encode("utf-8", "backslashreplace"), 0o600 if private else 0o644)


def _chosen(board: Board, reports: ReportScores, cohort: Cohort) -> list[str]:
    """Choose study ids: all where they are few; else the worst, and some others at random."""
    ids = [study.study_id for study in cohort.test]
    if len(ids) <= WORST + RANDOM:
        return ids
    key = reports.primary or ""
    sign = -1.0 if RatedKey(key, "lower") in reports.keys else 1.0
    for kind in ("model", "floor"):
        models = [entry.model for entry in board.entries if entry.kind == kind]
        rated = [reports.values[model].get(key, {}) for model in models]
        if any(rated):
            break
    means: dict[str, float] = {}
    for name in ids:
        known = [of[name] for of in rated if name in of]
        if known:
            means[name] = sign * sum(known) / len(known)
    worst = sorted(means, key=lambda name: (means[name], name))[:WORST]
    taken = set(worst)
    rest = [name for name in ids if name not in taken]
    some = random.Random(cohort.fingerprint).sample(rest, min(RANDOM, len(rest)))
    return [*worst, *sorted(some)]


def _answers(results_dir: Path, run: RunId, protocol: Protocol) -> dict[str, Json]:
    """Return study → the first answer's report and status; {} where the predictions are gone."""
    folder = Results(results_dir).predictions(run.cohort, run.system)
    try:
        draws = read_reports(folder.path)
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
    """Write a study's first images as PNG files of at most `PIXELS` a side, if they can be read."""
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
