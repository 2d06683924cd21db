"""Reads ReXVal (doi 10.13026/2fp8-qr71): 50 studies × 4 candidates, 6 radiologists, 6 categories.

    50_samples_gt_and_candidates.csv           study_id, gt_report, radgraph, bertscore, s_emb,
                                               bleu: one row per study; a candidate is in the
                                               column of the metric that retrieved it
    6_valid_raters_per_rater_error_categories.csv
                                               study_number, candidate_type, error_category 1–6,
                                               rater_index, clinically_significant, num_errors

`study_number` is the row of the first file. Public readers count it from 0 (MultiMedEval's test).
Here, rows count from 0 when a 0 occurs, and from 1 when the number of rows occurs.
"""

from __future__ import annotations

from pathlib import Path

from reportcard.analysis.validation.ratings import (
    RatedTexts,
    Ratings,
    Tally,
    check_columns,
    text_of,
    whole_number,
)
from reportcard.api import DatasetCard, ReportCardError
from reportcard.core.user_files import Record, read_records

SAMPLES = "50_samples_gt_and_candidates.csv"
RATERS = "6_valid_raters_per_rater_error_categories.csv"
CANDIDATES = ("radgraph", "bertscore", "s_emb", "bleu")
CATEGORIES = ("1", "2", "3", "4", "5", "6")
COLUMNS = (
    *("study_number", "candidate_type", "error_category"),
    *("rater_index", "clinically_significant", "num_errors"),
)
TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
CARD = DatasetCard(
    title="ReXVal 1.0.0",
    data_class="credentialed",
    dua_id="physionet-rexval",
    licence="PhysioNet Credentialed Health Data License 1.5.0",
    url="https://physionet.org/content/rexval-dataset/1.0.0/",
)


def read_rexval(root: Path) -> Ratings:
    """Read pairs `<row>/<candidate>`, with rows from 0, and the counts of every rater.

    Raises ReportCardError for a missing file or column, a cell that is not a count, a repeated
    line, an unknown candidate type, or study numbers without a row.
    """
    samples, lines = read_records(root / SAMPLES), read_records(root / RATERS)
    check_columns(samples[0], ("gt_report", *CANDIDATES))
    check_columns(lines[0], COLUMNS)
    texts = {
        f"{row}/{name}": RatedTexts(str(row), record.text(name), record.text("gt_report"))
        for row, record in enumerate(samples)
        for name in CANDIDATES
    }
    first = _first_number(lines, len(samples))
    tally = Tally(CATEGORIES)
    for line in lines:
        row = whole_number(line, "study_number") - first
        if not 0 <= row < len(samples):
            raise ReportCardError(
                f"{line.where}: study_number must be {first} to {first + len(samples) - 1}:"
                f" {SAMPLES} has {len(samples)} rows."
            )
        tally.add(
            line.where,
            f"{row}/{_one_of(line, 'candidate_type', CANDIDATES)}",
            str(whole_number(line, "rater_index")),
            _category(line),
            TRUTH[_one_of(line, "clinically_significant", tuple(TRUTH))],
            whole_number(line, "num_errors"),
        )
    return tally.ratings("rexval", CARD, texts, [f"study numbers count from {first}"])


def _first_number(lines: list[Record], rows: int) -> int:
    numbers = {whole_number(line, "study_number") for line in lines}
    if (0 in numbers) == (rows in numbers):
        raise ReportCardError(
            f"{RATERS}: study_number runs from {min(numbers)} to {max(numbers)} and {SAMPLES} has"
            f" {rows} rows: cannot tell whether numbers count from 0 or from 1."
        )
    return 0 if 0 in numbers else 1


def _category(line: Record) -> str:
    category = str(whole_number(line, "error_category"))
    if category not in CATEGORIES:
        raise ReportCardError(f"{line.where}: error_category must be 1 to 6, not {category}.")
    return category


def _one_of(line: Record, column: str, known: tuple[str, ...]) -> str:
    value = text_of(line, column).lower()
    if value not in known:
        raise ReportCardError(f"{line.where}: unknown {column}; known: {', '.join(known)}.")
    return value
