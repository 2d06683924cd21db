"""Renders the leaderboard as one self-contained HTML page, whose tables need no script.

The page makes no request. Columns and cells come from score_columns.py and fact_columns.py;
page.html.j2 lays out the columns of the first view, with autoescape on. The other columns and the
details of each line are in the page as JSON, and the scripts draw them on demand, as text and never
as markup, because labels, descriptions, notes and reasons were written by models and users.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from reportcard.core.records import to_json
from reportcard.data.cohort import plural
from reportcard.publish.board.boards import Board, BoardCohort, Leaderboard
from reportcard.publish.board.skill import SENTENCE
from reportcard.publish.page.cells import MISSING, count
from reportcard.publish.page.fact_columns import fact_columns, rank_columns
from reportcard.publish.page.matrix import Matrix, matrix_of
from reportcard.publish.page.row_view import KINDS, RowView, row_view
from reportcard.publish.page.score_columns import PageColumn, score_columns
from reportcard.publish.page.skill_view import skill_cells, zero_of
from reportcard.score.stats.family import FAMILY

HERE = Path(__file__).parent
# Marks that scripts run, so that boards behind other tabs are never laid out.
FIRST = "document.documentElement.classList.add('js')"
SCRIPTS = ("dom.js", "matrix.js", "table.js", "details.js", "page.js")


@dataclass(frozen=True, slots=True)
class Span:
    """A header above several columns."""

    name: str
    span: int


@dataclass(frozen=True, slots=True)
class BoardData:
    """What the scripts read of a board: a JSON element in the page.

    `zero` is the place of 0 on the axis of skill, from 0 to 1.
    """

    columns: tuple[PageColumn, ...]
    rows: tuple[RowView, ...]
    viewer: str | None
    matrix: Matrix | None
    zero: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PageBoard:
    """What the template lays out of a board. `shown` are the columns of the first view."""

    anchor: str
    title: str
    cohort: BoardCohort
    facts: list[tuple[str, str]]
    overlap: str | None
    shown: tuple[int, ...]
    groups: list[Span]
    metrics: list[Span]
    primary: str | None
    ranked: bool
    confidence: str
    unknown_ties: list[str]
    caveats: list[str]
    other_version: bool
    unreliable: list[str]
    led: Mapping[str, list[str]]
    not_headlines: list[tuple[str, str]]
    skill: str | None
    data: BoardData


def render(
    found: Leaderboard, viewers: Mapping[str, str] | None = None, mlflow: str | None = None
) -> str:
    """Render the leaderboard as one HTML page; the same leaderboard gives the same text.

    viewers: cohort folder → the study viewer's page, relative to this one. mlflow: the page of
    links to the runs, where there is one.
    """
    taken: set[str] = set()
    boards = [_board(board, found.boards, taken, viewers or {}) for board in found.boards]
    cohorts = [(anchor(cohort.name, taken), cohort) for cohort in found.published]
    script = "".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return str(
        template("page.html.j2").render(
            boards=boards,
            kinds=KINDS,
            family=FAMILY,
            mlflow=mlflow,
            published=cohorts,
            published_anchor=anchor("as-published", taken),
            css=(HERE / "page.css").read_text(encoding="utf-8"),
            js=script,
            first=FIRST,
            allowed=f"{script_hash(FIRST)} {script_hash(script)}",
        )
    )


@cache
def template(name: str) -> Any:
    """Return a template of this folder, with the filters that it needs."""
    # Imported here, so that `reportcard --help` stays quick.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(HERE)
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "breakable": breakable, "embedded": embedded}
    return environment.get_template(name)


def script_hash(script: str) -> str:
    """Return a script's hash for the content security policy, so that it may run and no other."""
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


def embedded(value: Any) -> Any:
    """Return records as JSON for a script element, which no text in it can close."""
    from markupsafe import Markup

    text = json.dumps(to_json(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704


def breakable(label: str) -> Any:
    """Return a label as escaped markup that may break after `_`, `-`, `/` and `.`."""
    from markupsafe import Markup

    return Markup("<wbr>").join(re.split(r"(?<=[_/.-])", label))


def _board(
    board: Board, boards: Sequence[Board], taken: set[str], viewers: Mapping[str, str]
) -> PageBoard:
    made = [*rank_columns(board), *score_columns(board), *fact_columns(board)]
    columns = tuple(column for column, _ in made)
    name = anchor(board.id, taken)
    skill = skill_cells(board)
    rows = []
    for entry in board.entries:
        shown_cells = tuple(cell(entry) for _, cell in made)
        placed = {
            column.id: skill[column.id](entry, cell)
            for column, cell in zip(columns, shown_cells, strict=True)
            if column.id in skill
        }
        at = anchor(f"{name}-{entry.model}", taken)
        rows.append(row_view(entry, board, at, shown_cells, placed))
    cells = [cell for row in rows for cell in row.cells]
    shown = tuple(i for i, column in enumerate(columns) if column.shown)
    groups, metrics = _spans([columns[i] for i in shown])
    return PageBoard(
        anchor=name,
        title=_title(board, [b for b in boards if b is not board]),
        cohort=board.cohort,
        facts=_facts(board),
        overlap=overlap_sentence(board.cohort),
        shown=shown,
        groups=groups,
        metrics=metrics,
        primary=board.primary,
        ranked=any(entry.rank for entry in board.entries),
        confidence=_confidence(board),
        unknown_ties=sorted(
            {f"{c.metric}: {c.ties_unknown}" for c in board.columns if c.ties_unknown}
        ),
        caveats=sorted({cell.caveat for cell in cells if cell.caveat}),
        other_version=any(cell.dagger for cell in cells),
        unreliable=sorted({cell.doubt for cell in cells if cell.doubt}),
        led=led_columns(board),
        not_headlines=[(c.key, c.not_headline) for c in board.columns if c.not_headline],
        skill=SENTENCE if any(found.systems for found in (board.skill or {}).values()) else None,
        data=BoardData(
            columns,
            tuple(rows),
            viewers.get(board.cohort_folder),
            matrix_of(board, rows),
            zero_of(board),
        ),
    )


def led_columns(board: Board) -> dict[str, list[str]]:
    """Return what is said of columns that a floor leads → the headline columns."""
    found: dict[str, list[str]] = {}
    for column in board.columns:
        if column.floor_leads and (column.headline or column.key == board.primary):
            found.setdefault(column.floor_leads, []).append(column.key)
    return found


def _spans(columns: Sequence[PageColumn]) -> tuple[list[Span], list[Span]]:
    """Return the two upper lines of the header: groups, and the metrics within them."""
    groups: list[Span] = []
    metrics: list[Span] = []
    for group, of_group in groupby(columns, key=lambda column: column.group):
        members = list(of_group)
        groups.append(Span(group, len(members)))
        for metric, of_metric in groupby(members, key=lambda column: column.metric):
            metrics.append(Span(metric, len(list(of_metric))))
    return groups, metrics


def _title(board: Board, others: Sequence[Board]) -> str:
    """Return the shortest name that no other tab has: cohort, then fingerprint, then protocol."""
    name, folder = board.cohort.name, board.cohort_folder
    if any(b.cohort.name == name and b.cohort_folder != folder for b in others):
        name = folder
    same = any(b.cohort_folder == folder for b in others)
    return f"{name} · {board.protocol}" if same else name


def _facts(board: Board) -> list[tuple[str, str]]:
    cohort = board.cohort
    # Named views first: an image whose view nobody recorded is counted as unknown.
    named = sorted((cohort.views or {}).items(), key=lambda item: (not item[0], item[0]))
    shown = ", ".join(f"{k:,} {v.lower() or 'of unknown view'}" for v, k in named)
    unit = cohort.unit or "study"
    facts = [
        ("Dataset", cohort.dataset),
        (plural(unit).capitalize(), count(cohort.n_studies)),
        ("Patients", count(cohort.n_patients)),
        ("Images", count(cohort.n_images) + (f" ({shown})" if shown else "")),
        ("Unit", unit if unit != "study" else None),
        ("Ranked by", board.primary),
        ("Protocol", board.protocol),
        ("Cohort fingerprint", cohort.fingerprint[:8]),
        ("Licence", cohort.licence),
        ("Access", cohort.data_class),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, MISSING)]


def overlap_sentence(cohort: BoardCohort) -> str | None:
    """Say what the test split shares with the training split, or None where there is no training.

    '274 of 590 test reports also appear verbatim in the training split (2,069 studies). …'
    """
    overlap = cohort.overlap
    if not overlap or not overlap.train_studies:
        return None
    shared = overlap.test_studies_with_train_patient
    who = f"{shared:,} test studies share" if shared else "No test study shares"
    return (
        f"{overlap.test_reports_verbatim_in_train:,} of {cohort.n_studies:,} test reports also"
        f" appear verbatim in the training split ({overlap.train_studies:,} studies). {who} a"
        " patient with it."
    )


def _confidence(board: Board) -> str:
    """Return '95 %', or every level where the systems were scored apart."""
    files = (file for entry in board.entries for file in entry.score_files.values())
    levels = {file.stats.confidence for file in files if file.stats}
    return " or ".join(f"{level:.0%}".replace("%", " %") for level in sorted(levels)) or MISSING


def anchor(text: str, taken: set[str]) -> str:
    """Return an id for links: stable for the same name, and never twice on a page."""
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-") or "board"
    name, again = stem, 1
    while name in taken:
        again += 1
        name = f"{stem}-{again}"
    taken.add(name)
    return name
