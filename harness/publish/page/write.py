"""leaderboard/: index.html for readers, leaderboard.json whole, leaderboard.csv tidy.

The three are one model in three spellings, with no timestamp: the same scores give the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reportcard.api import Json
from reportcard.core.files import write_atomic
from reportcard.publish.board.build import collect
from reportcard.publish.page import page

FIELDS = (
    *("cohort", "cohort_fingerprint", "protocol", "model", "model_fingerprint", "kind", "status"),
    *("key", "direction", "unit", "value", "ci_low", "ci_high", "spread", "draws", "n", "unscored"),
    *("best", "tied_with_best", "difference_low", "difference_high", "evaluated", "failed"),
    *("empty_candidates", "excluded_empty_reference", "unique_candidates", "not_run", "signature"),
    *("bounds_low", "bounds_high", "caveat", "source", "second_hand", "conflict", "note"),
)


def write(results_dir: Path, everything: bool = False) -> list[Path]:
    """Build the leaderboard from the score files. Returns the paths of page, JSON and CSV.

    everything: every score folder on disk, not only the latest run of each model.
    Raises ReportCardError naming the file when a score file is damaged, or when there is none.
    """
    return write_model(collect(results_dir, everything), results_dir)


def write_model(
    model: Json,
    results_dir: Path,
    viewers: Mapping[str, str] | None = None,
    tracked: bool = False,
) -> list[Path]:
    """Write a model that `collect` built: the CLI prints the same one.

    viewers: cohort folder → its study viewer's page, as `viewer.write_viewers` gives them.
    tracked: mlflow.html is about to be written; the page links it already, since it is one of the
    files that MLflow is told of, and must not change with the telling.
    """
    folder = results_dir / "leaderboard"
    mlflow = "mlflow.html" if tracked or (folder / "mlflow.html").is_file() else None
    contents = {
        "index.html": page.render(model, viewers, mlflow),
        "leaderboard.json": json.dumps(model, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "leaderboard.csv": tidy(model),
    }
    for name, text in contents.items():
        # A lone surrogate (half of an emoji, cut by a tokenizer) must not stop the build.
        write_atomic(folder / name, text.encode("utf-8", "backslashreplace"))
    return [folder / name for name in contents]


def tidy(model: Json) -> str:
    """One line per board, model and key; full precision; an absent value is an empty field.

    Figures that others printed come last, with kind "as published" and their source.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(_lines(model))
    writer.writerows(_published(model))
    return buffer.getvalue()


def _lines(model: Json) -> Iterator[dict[str, Any]]:
    for board in model["boards"]:
        for row in board["rows"]:
            for column in board["columns"]:
                cell = row["cells"][column["key"]]
                low, high = cell.get("difference") or (None, None)
                least, most = cell.get("bounds") or (None, None)
                yield {
                    **{name: column[name] for name in ("key", "direction", "unit")},
                    **row["counts"],
                    **cell,
                    "cohort": board["cohort"]["name"],
                    "cohort_fingerprint": board["cohort"]["fingerprint"],
                    "protocol": board["protocol"],
                    "model": row["label"],
                    "model_fingerprint": row["fingerprint"],
                    "kind": row["kind"],
                    "status": row["status"],
                    "draws": row["draws"],
                    "difference_low": low,
                    "difference_high": high,
                    "bounds_low": least,
                    "bounds_high": most,
                }


def _published(model: Json) -> Iterator[dict[str, Any]]:
    for cohort in model.get("published", ()):
        for figure in cohort["figures"]:
            yield {
                **figure,
                "cohort": cohort["name"],
                "model": figure["system"],
                "kind": "as published",
                "key": figure["metric"],
                "n": cohort["n"],
            }
