"""Reads RadEvalX (doi 10.13026/tp88-q278): 100 IU X-ray studies, one candidate each, 8 categories.

Two layouts are read; their columns, and "insignificant" in a file name, show which it is:

    as released  two files, significant and insignificant errors:
                 report_id, ground_truth, M2Tr-Generation, 1 … 8
                 The counts are the consensus of two radiologists.
    long         report_id, error_type (significant | insignificant), one … eight, perhaps rater;
                 several files are several raters. The texts are in another file:
                 report_id, reference, candidate

A blank cell counts as 0, which is an assumption: most cells are blank, and the data set's
documentation does not say what that means. The number of blanks is reported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from reportcard.analysis.validation.ratings import RatedTexts, Ratings, Tally, text_of, whole_number
from reportcard.api import DatasetCard, ReportCardError
from reportcard.core.user_files import Record, read_records

ID = "report_id"
DIGITS = ("1", "2", "3", "4", "5", "6", "7", "8")
WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
REFERENCE = ("reference", "ground_truth", "gt_report")
CANDIDATE = ("candidate", "M2Tr-Generation", "prediction", "candidate_report")
CONSENSUS = "consensus"
LAYOUTS = (
    "either two files report_id, ground_truth, M2Tr-Generation, 1 … 8 (one with 'insignificant' in"
    " its name), or report_id, error_type, one … eight beside report_id, reference, candidate"
)
CARD = DatasetCard(
    title="RadEvalX 1.0.0",
    data_class="open",
    licence="CC-BY-NC-SA-4.0",
    url="https://physionet.org/content/rad-eval-x/1.0.0/",
)


@dataclass
class _Folder:
    """Collects counts and texts while the files are read."""

    tally: Tally = field(default_factory=lambda: Tally(WORDS))
    texts: dict[str, RatedTexts] = field(default_factory=dict)
    differing: set[str] = field(default_factory=set)
    source: str = ""  # the file whose texts are scored
    blanks: int = 0
    cells: int = 0

    def texts_of(self, record: Record) -> None:
        """Keep the texts of the first file that has them; note a pair whose texts differ later."""
        pair = text_of(record, ID)
        candidate, reference = record.text(*CANDIDATE), record.text(*REFERENCE)
        self.source = self.source or Path(record.where.rsplit(":", 1)[0]).name
        known = self.texts.setdefault(pair, RatedTexts(pair, candidate, reference))
        if (known.candidate.split(), known.reference.split()) != (
            candidate.split(),
            reference.split(),
        ):
            self.differing.add(pair)

    def counts_of(
        self, record: Record, columns: tuple[str, ...], rater: str, significant: bool
    ) -> None:
        """Add the counts of one line.

        Args:
            record: the line.
            columns: the columns of the eight categories, in the order of WORDS.
            rater: who counted.
            significant: whether these are significant errors.
        """
        for category, column in zip(WORDS, columns, strict=True):
            self.cells += 1
            self.blanks += not record.text(column).strip()
            count = whole_number(record, column, blank=0)
            self.tally.add(record.where, text_of(record, ID), rater, category, significant, count)


def read_radevalx(root: Path) -> Ratings:
    """Read pairs by report_id, and their counts.

    Raises ReportCardError where the folder has neither layout, for a cell that is not a count, a
    repeated line, or a rated report without texts.
    """
    files = {
        path: read_records(path)
        for path in sorted(root.glob("*"))
        if path.suffix.lower() in (".csv", ".tsv")
    }
    found = _Folder()
    released = {path: lines for path, lines in files.items() if _has(lines, DIGITS)}
    long = {path: lines for path, lines in files.items() if _has(lines, ("error_type", *WORDS))}
    if released:
        _read_released(released, found)
    elif long:
        _read_long(long, files, found)
    else:
        names = ", ".join(path.name for path in files) or "no .csv or .tsv"
        raise ReportCardError(f"{root} holds {names}; needed: {LAYOUTS}.")
    unknown = sorted({pair for pair, *_ in found.tally.counts} - set(found.texts))
    if unknown:
        raise ReportCardError(
            f"{root}: {len(unknown)} rated reports have no texts; needed: {LAYOUTS}."
        )
    notes = [f"{found.blanks:,} of {found.cells:,} cells are blank and count as 0 (an assumption)"]
    if found.differing:
        notes.append(
            f"{len(found.differing)} reports have different texts in another file; those of"
            f" {found.source} are scored"
        )
    consensus = {rater for _, rater, *_ in found.tally.counts} == {CONSENSUS}
    return found.tally.ratings("radevalx", CARD, found.texts, notes, consensus)


def _has(lines: list[Record], columns: tuple[str, ...]) -> bool:
    return {ID, *columns} <= set(lines[0].row)


def _read_released(files: dict[Path, list[Record]], found: _Folder) -> None:
    if sorted("insignificant" in path.name.lower() for path in files) != [False, True]:
        raise ReportCardError(
            f"Files of counts: {', '.join(path.name for path in files)}; needed: one file of"
            " significant errors and one of insignificant errors with 'insignificant' in its name."
        )
    for path, lines in files.items():
        for line in lines:
            found.texts_of(line)
            found.counts_of(line, DIGITS, CONSENSUS, "insignificant" not in path.name.lower())


def _read_long(
    files: dict[Path, list[Record]], every: dict[Path, list[Record]], found: _Folder
) -> None:
    for path, lines in files.items():
        for line in lines:
            kind = text_of(line, "error_type").lower()
            if kind not in ("significant", "insignificant"):
                raise ReportCardError(
                    f"{line.where}: error_type must be significant or insignificant."
                )
            rater = path.stem if len(files) > 1 else CONSENSUS
            if "rater" in line.row:
                rater = text_of(line, "rater")
            found.counts_of(line, WORDS, rater, kind == "significant")
    for lines in every.values():
        columns = set(lines[0].row)
        if ID in columns and columns & set(REFERENCE) and columns & set(CANDIDATE):
            for line in lines:
                found.texts_of(line)
