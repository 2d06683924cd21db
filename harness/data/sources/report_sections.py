"""Splits a radiology report into sections, like the official MIMIC-CXR parser or in a variant.

`sections` gives exactly the results of MIT-LCP's section_parser.py (mimic-cxr `txt/`, mimic-code
`mimic-iv-cxr/txt/`; MIT licence). That parser was written to find the *conclusion* of a report,
which has consequences when it is used to find findings:

- A header is a newline, one space, capitals and a colon. A report cannot begin with a header, and
  a header directly below a line that ends in "HEADER:" is not recognised.
- FINDINGS AND IMPRESSION is an impression. A view ("CHEST, TWO VIEWS") is findings. Of several
  sections with one name, the last counts.
- If there is neither impression nor findings, the last section is cut at its first line that
  contains one space only; the text after it is `last_paragraph`.

`findings_sections` is the variant for findings generation. `special` knows the 54 studies that the
authors cut by hand and that are absent from mimic_cxr_sectioned.csv. Their ids, offsets and names
are in data/mimic_special_sections.csv, from the same source under the same licence.

Line ends must be "\\n", as Python's text mode gives them; with CRLF no paragraph is found.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from reportcard.api import Json, ReportCardError
from reportcard.core.files import read_text

# 2.1 (mimic-code since July 2026) differs in one number: where last_paragraph starts.
Version = Literal["2.0", "2.1"]
NEWEST: Version = "2.1"
FINDINGS_VARIANT = "findings-generation-1"
ROW = ("impression", "findings", "last_paragraph", "comparison")

HEADER = re.compile(r"\n ([A-Z ()/,-]+):\s")
BLANK_LINE = "\n \n"
SPELLINGS = {
    "impression": (
        *("conclusion", "impresson", "imprression", "imoression", "impressoin", "imprssion"),
        *("impresion", "imperssion", "mpression", "impession"),
        "ndication",  # the authors' decision for the only study that has it
    ),
    "findings": (
        "finding",
        "findins",
        "findindgs",
        "findgings",
        "findngs",
        "findnings",
        "finidngs",
    ),
    "indication": ("reason for examination", "reason for exam", "clinical indication", "idication"),
    "history": ("clinical information", "pfi"),
    "comparison": ("reference exam", "comparision", "comparsion", "comparrison", "comparisions"),
    "examination": ("exam", "type of examination"),
    "recommendations": ("recommendation", "recommendation(s)"),
    "wet read": ("wetread",),
}
MEANING = {spelling: name for name, known in SPELLINGS.items() for spelling in known}
CONTAINED = ("impression", "findings", "history", "comparison", "addendum")
VIEW = re.compile(
    "chest|portable|ribs|bone window|two views|one view|(frontal|lateral|pa|ap) view|frontal and"
    "|frontal (semi-)?upright|(pa|ap) and lateral|lateral and (pa|ap)|pa and lat"
)


@dataclass(frozen=True, slots=True)
class Section:
    """One section under its normalised name; `start` is the offset of `text` in the report."""

    name: str
    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Special:
    """How the authors cut one study: the last section with this name, or text[start:end]."""

    section: str | None
    start: int = 0
    end: int = 0


def sections(text: str, version: Version = NEWEST) -> list[Section]:
    """Return the sections of a report as the official parser gives them, in order of the text.

    >>> [(s.name, s.text) for s in sections("\\n INDICATION: Cough.\\n FINDINGS: Clear.")]
    [('preamble', '\\n '), ('indication', 'Cough.'), ('findings', 'Clear.')]
    """
    if version not in ("2.0", "2.1"):
        raise ReportCardError(f"The section parser has versions 2.0 and 2.1, not '{version}'.")
    return _sections(text, CONTAINED, len(BLANK_LINE) if version == "2.1" else 0)


def findings_sections(text: str) -> dict[str, str]:
    """Return name → text for findings generation, with single spaces and without empty sections.

    The variant is called FINDINGS_VARIANT. Compared with the official rows:
    - Indication, technique and history are included. A header that contains "indication" or
      "technique" has that name (as in Libra), even if it also names a view.
    - Of several sections with one name, the last that is not empty counts.
    - A combined FINDINGS AND IMPRESSION is an impression, as in the official parser.
    - `last_paragraph` is returned under that name; the caller decides whether to use it.
    - The hand cuts of the 54 special studies are not used, since they are conclusions. Call
      `special` to find out whether a study is one of them.
    """
    found = _sections(text, (*CONTAINED, "indication", "technique"), len(BLANK_LINE))
    texts = ((section.name, " ".join(section.text.split())) for section in found)
    return {name: words for name, words in texts if words and name != "preamble"}


def section_row(text: str, study_id: str) -> dict[str, str | None] | None:
    """Return a study's row of mimic_cxr_sectioned.csv (ROW → text or None), or None."""
    if special(study_id) is not None:
        return None
    found = sections(text)
    return {name: _last(found, name) for name in ROW}


def conclusion(text: str, study_id: str | None = None) -> str:
    """Return the text that the authors gave to the labelers.

    It is the hand cut, or else the first section of ROW that exists; "" when there is none.
    Raises ReportCardError when a special study lacks its section.
    """
    cut = special(study_id) if study_id else None
    if cut is not None and cut.section is None:
        return text[cut.start : cut.end]
    found = sections(text)
    for name in ROW if cut is None else (cut.section or "",):
        words = _last(found, name)
        if words is not None:
            return words
    if cut is not None:
        raise ReportCardError(
            f"Special study {study_id}: the report has no section '{cut.section}', which the"
            " authors' table names; is this the text of MIMIC-CXR?"
        )
    return ""


def special(study_id: str) -> Special | None:
    """Return the hand cut of one of the 54 special studies ("s5…" or "5…"), else None."""
    return _specials().get(study_id.removeprefix("s"))


def read_sections(files: Iterable[Path], version: Version = NEWEST) -> list[Json]:
    """Return one JSON object per file: its sections with offsets, and the variant's texts."""
    rows = []
    for path in files:
        text = read_text(path)
        found = sections(text, version)
        rows.append(
            {
                "file": str(path),
                "parser": f"mimic-{version}",
                "sections": [{"name": s.name, "start": s.start, "text": s.text} for s in found],
                FINDINGS_VARIANT: findings_sections(text),
            }
        )
    return rows


def _sections(text: str, contained: Sequence[str], gap: int) -> list[Section]:
    found = [
        section
        for section in _split(text, contained)
        if section.name not in ("impression", "findings") or section.text.strip()
    ]
    last = found[-1]
    if not any(s.name in ("impression", "findings") for s in found) and BLANK_LINE in last.text:
        before, _, after = last.text.partition(BLANK_LINE)
        found[-1] = Section(last.name, before, last.start)
        found.append(Section("last_paragraph", after, last.start + len(before) + gap))
    return found


def _split(text: str, contained: Sequence[str]) -> list[Section]:
    header = HEADER.search(text)
    if header is None:
        return [Section("full report", text, 0)]
    found = [Section("preamble", text[: header.start(1)], 0)]
    while header is not None:
        start, name = header.end(), _name(header[1], contained)
        # The search starts after the header's white space; if that is a line end, the next header
        # is missed, as in the official parser.
        header = HEADER.search(text, start)
        found.append(Section(name, text[start : header.start() if header else None], start))
    return found


def _name(header: str, contained: Sequence[str]) -> str:
    name = header.lower().strip()
    if name in MEANING:
        return MEANING[name]
    for known in contained:
        if known in name:
            return known
    return "findings" if VIEW.search(name) else name


def _last(found: Sequence[Section], name: str) -> str | None:
    return next((s.text.strip() for s in reversed(found) if s.name == name), None)


@cache
def _specials() -> dict[str, Special]:
    path = Path(__file__).parent / "data" / "mimic_special_sections.csv"
    with path.open(encoding="utf-8", newline="") as handle:
        return {
            row["study_id"].removeprefix("s"): Special(row["section"])
            if row["section"]
            else Special(None, int(row["start"]), int(row["end"]))
            for row in csv.DictReader(handle)
        }
