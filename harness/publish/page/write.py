"""Writes the folder leaderboard/: index.html, leaderboard.json and leaderboard.csv.

The three say the same, without a timestamp: the same scores give the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reportcard.core.files import write_atomic
from reportcard.core.layout import Results
from reportcard.core.records import to_json
from reportcard.publish.board.boards import Leaderboard, Skill
from reportcard.publish.board.build import collect
from reportcard.publish.page import page
from reportcard.publish.page.skill_view import skill_of

FIELDS = (
    *("cohort", "cohort_fingerprint", "protocol", "model", "model_fingerprint", "kind", "status"),
    *("key", "direction", "unit", "value", "ci_low", "ci_high", "spread", "draws", "n", "unscored"),
    *("best", "tied_with_best", "difference_low", "difference_high", "evaluated", "failed"),
    *("empty_candidates", "excluded_empty_reference", "unique_candidates", "not_run", "signature"),
    *(
        "bounds_low",
        "bounds_high",
        "doubt",
        "skill",
        "skill_low",
        "skill_high",
        "floor_leads",
        "caveat",
        "source",
        "second_hand",
        "conflict",
        "note",
    ),
)


def write(results_dir: Path, everything: bool = False) -> list[Path]:
    """Build the leaderboard from the score files. Returns the paths of page, JSON and CSV.

    everything: every score folder on disk, not only the latest run of each model.
    Raises ReportCardError naming the file when a score file is damaged, or when there is none.
    """
    return write_leaderboard(collect(results_dir, everything), results_dir)


def write_leaderboard(
    found: Leaderboard,
    results_dir: Path,
    viewers: Mapping[str, str] | None = None,
    tracked: bool = False,
) -> list[Path]:
    """Write a leaderboard that `collect` built: the CLI prints the same one.

    Args:
        found: the leaderboard.
        results_dir: the results folder.
        viewers: cohort folder → its study viewer's page, as `viewer.write_viewers` gives them.
        tracked: whether mlflow.html is about to be written. The page links it already then, so
            that logging the page to MLflow does not change it.
    """
    folder = Results(results_dir).board
    links = folder.mlflow_links
    mlflow = links.name if tracked or links.is_file() else None
    text = json.dumps(found.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    contents = {
        folder.page: page.render(found, viewers, mlflow),
        folder.json: text,
        folder.csv: tidy(found),
    }
    for path, content in contents.items():
        # A lone surrogate (half of an emoji, cut by a tokenizer) must not stop the build.
        write_atomic(path, content.encode("utf-8", "backslashreplace"))
    return list(contents)


def tidy(found: Leaderboard) -> str:
    """Return the leaderboard as CSV: one line per board, system and key, in full precision.

    An absent value is an empty field. Figures that others printed come last, with the kind "as
    published" and their source.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(_lines(found))
    writer.writerows(_published(found))
    return buffer.getvalue()


def _lines(found: Leaderboard) -> Iterator[dict[str, Any]]:
    for board in found.boards:
        for entry in board.entries:
            for column in board.columns:
                cell = entry.cells[column.key]
                low, high = cell.difference or (None, None)
                least, most = cell.bounds or (None, None)
                yield {
                    **to_json(entry.counts),
                    **to_json(cell),
                    "key": column.key,
                    "direction": column.direction,
                    "unit": column.unit,
                    "cohort": board.cohort.name,
                    "cohort_fingerprint": board.cohort.fingerprint,
                    "protocol": board.protocol,
                    "model": entry.label,
                    "model_fingerprint": entry.fingerprint,
                    "kind": entry.kind,
                    "status": entry.status,
                    "draws": entry.draws,
                    "difference_low": low,
                    "difference_high": high,
                    "bounds_low": least,
                    "bounds_high": most,
                    **_skill(skill_of(board, column, entry)),
                    "floor_leads": column.floor_leads,
                }


def _skill(found: Skill | None) -> dict[str, float | None]:
    if found is None:
        return {}
    return {"skill": found.value, "skill_low": found.low, "skill_high": found.high}


def _published(found: Leaderboard) -> Iterator[dict[str, Any]]:
    for cohort in found.published:
        for figure in cohort.figures:
            yield {
                **to_json(figure),
                "cohort": cohort.name,
                "model": figure.system,
                "kind": "as published",
                "key": figure.metric,
                "n": cohort.n,
            }
