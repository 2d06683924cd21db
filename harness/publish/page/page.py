"""The model as one self-contained HTML page: no request leaves it, and its tables need no script.

Cells are formatted in cells.py and ordered in columns.py. page.html.j2 lays out the columns of the
first view, with autoescape on; the others and each row's details stand in the page as JSON and are
drawn by the scripts when asked for, as text and never as markup: labels, descriptions, notes and
reasons were written by models and users.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from reportcard.api import Json
from reportcard.data.cohort import plural
from reportcard.publish.page.cells import BOUNDS, MISSING, count
from reportcard.publish.page.columns import columns_of
from reportcard.publish.page.matrix import matrix_of
from reportcard.publish.page.row_view import KINDS, row_view

HERE = Path(__file__).parent
# Boards that are not open are then never laid out.
FIRST = "document.documentElement.classList.add('js')"
SCRIPTS = ("dom.js", "matrix.js", "table.js", "details.js", "page.js")


def render(model: Json, viewers: Mapping[str, str] | None = None, mlflow: str | None = None) -> str:
    """The page as text, the same for the same model.

    viewers: cohort folder → the study viewer's page, relative to this one. mlflow: the page of
    links to the runs, where there is one.
    """
    taken: set[str] = set()
    boards = [_board(board, model["boards"], taken, viewers or {}) for board in model["boards"]]
    cohorts = [{**c, "anchor": anchor(c["name"], taken)} for c in model.get("published", ())]
    script = "".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return str(
        template("page.html.j2").render(
            boards=boards,
            kinds=KINDS,
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
    # Here and not above: `reportcard --help` must not pay for it.
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
    environment.globals |= {"BOUNDS": BOUNDS}
    return environment.get_template(name)


def script_hash(script: str) -> str:
    """For the content security policy: this script may run and no other."""
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


def embedded(value: Json) -> Any:
    """JSON for a script element of type application/json, which no text in it can close."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704


def breakable(label: str) -> Any:
    """A label as markup that may break after `_`, `-`, `/` and `.`; all of it escaped."""
    from markupsafe import Markup

    return Markup("<wbr>").join(re.split(r"(?<=[_/.-])", label))


def _board(
    board: Json, boards: Sequence[Json], taken: set[str], viewers: Mapping[str, str]
) -> Json:
    makers = columns_of(board)
    columns = [{k: v for k, v in column.items() if k != "cell"} for column in makers]
    name = anchor(board["id"], taken)
    rows = []
    for row in board["rows"]:
        cells = [column["cell"](row) for column in makers]
        rows.append({**row_view(row, board), "id": anchor(f"{name}-{row['model']}", taken)})
        rows[-1]["cells"] = cells
    matrix = matrix_of(board, rows)
    shown = [i for i, column in enumerate(columns) if column["shown"]]
    groups, metrics = _spans([columns[i] for i in shown])
    return {
        "anchor": name,
        "title": _title(board, [b for b in boards if b is not board]),
        "cohort": board["cohort"],
        "facts": _facts(board),
        "overlap": overlap_sentence(board["cohort"]),
        "columns": columns,
        "shown": shown,
        "groups": groups,
        "metrics": metrics,
        "primary": board["primary"],
        "confidence": _confidence(board),
        "viewer": viewers.get(board["cohort_folder"]),
        "matrix": matrix,
        "unknown_ties": sorted(
            {
                f"{c['metric']}: {c['ties_unknown']}"
                for c in board["columns"]
                if c.get("ties_unknown")
            }
        ),
        "rows": rows,
        "caveats": sorted({c["caveat"] for row in rows for c in row["cells"] if c.get("caveat")}),
        "other_version": any(c.get("dagger") for row in rows for c in row["cells"]),
        # What the script reads of this board.
        "data": {
            "columns": columns,
            "rows": rows,
            "viewer": viewers.get(board["cohort_folder"]),
            "matrix": matrix,
        },
    }


def _spans(columns: Sequence[Json]) -> tuple[list[Json], list[Json]]:
    """The two upper header lines: groups, and metrics within them."""
    groups: list[Json] = []
    metrics: list[Json] = []
    for column in columns:
        of = (column["group"], column["metric"])
        if not groups or groups[-1]["name"] != of[0]:
            groups.append({"name": of[0], "span": 0})
        if not metrics or metrics[-1]["of"] != of:
            metrics.append({"name": of[1], "of": of, "span": 0})
        groups[-1]["span"] += 1
        metrics[-1]["span"] += 1
    return groups, metrics


def _title(board: Json, others: Sequence[Json]) -> str:
    """The shortest name that no other tab has: cohort, then its fingerprint, then protocol."""
    name = board["cohort"]["name"]
    if any(
        b["cohort"]["name"] == name and b["cohort_folder"] != board["cohort_folder"] for b in others
    ):
        name = board["cohort_folder"]
    same = any(b["cohort_folder"] == board["cohort_folder"] for b in others)
    return f"{name} · {board['protocol']}" if same else str(name)


def _facts(board: Json) -> list[tuple[str, str]]:
    cohort = board["cohort"]
    views = cohort["views"] or {}
    # Named views first: an image whose view nobody recorded is counted as unknown.
    named = sorted(views.items(), key=lambda item: (not item[0], item[0]))
    shown = ", ".join(f"{k:,} {v.lower() or 'of unknown view'}" for v, k in named)
    unit = cohort["unit"] or "study"
    facts = [
        ("Dataset", cohort["dataset"]),
        (plural(unit).capitalize(), count(cohort["n_studies"])),
        ("Patients", count(cohort["n_patients"])),
        ("Images", count(cohort["n_images"]) + (f" ({shown})" if shown else "")),
        ("Unit", unit if unit != "study" else None),
        ("Ranked by", board["primary"]),
        ("Protocol", board["protocol"]),
        ("Cohort fingerprint", cohort["fingerprint"][:8]),
        ("Licence", cohort["licence"]),
        ("Access", cohort["data_class"]),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, MISSING)]


def overlap_sentence(cohort: Json) -> str | None:
    """'274 of 590 test reports stand word for word in the train part (2,069 studies). …'"""
    overlap = cohort["overlap"]
    if not overlap or not overlap["train_studies"]:
        return None
    total, train = cohort["n_studies"], overlap["train_studies"]
    same, shared = (
        overlap["test_reports_verbatim_in_train"],
        overlap["test_studies_with_train_patient"],
    )
    who = f"{shared:,} test studies share" if shared else "No test study shares"
    return (
        f"{same:,} of {total:,} test reports stand word for word in the train part"
        f" ({train:,} studies). {who} a patient with it."
    )


def _confidence(board: Json) -> str:
    """'95 %', or every level where the rows were scored apart."""
    stats = [
        file["stats"]
        for row in board["rows"]
        for file in row["score_files"].values()
        if "stats" in file
    ]
    levels = sorted({f"{s['confidence']:.0%}".replace("%", " %") for s in stats})
    return " or ".join(levels) or MISSING


def anchor(text: str, taken: set[str]) -> str:
    """An id for links: stable for the same name, and never twice on a page."""
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-") or "board"
    name, again = stem, 1
    while name in taken:
        again += 1
        name = f"{stem}-{again}"
    taken.add(name)
    return name
