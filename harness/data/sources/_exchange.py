"""Shared by datasets that are one table: reading cells, filtering, notes on images."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from reportcard.api import Json, ReportCardError, Request, Step, Study
from reportcard.core.user_files import Record, listed
from reportcard.data.sources._image_lookup import is_refused

T = TypeVar("T")
TABLES = (".csv", ".tsv", ".jsonl", ".json")


def table_in(root: Path, table: str | None, endings: Sequence[str] = TABLES) -> Path | str:
    """Return the path of the table, or a sentence saying why there is none.

    Args:
        root: the data root.
        table: its name in root; None: the only table there.
        endings: what a table's name may end in.
    """
    if table is not None:
        path = root / table
        return path if path.is_file() else f"expected {path.resolve()}"
    found = sorted(p for p in root.glob("*") if p.suffix.lower() in endings and p.is_file())
    if len(found) == 1:
        return found[0]
    if not found:
        return f"expected one file {' or '.join('*' + e for e in endings)} in {root.resolve()}"
    return (
        f"{root.resolve()} holds {listed([p.name for p in found])}: choose one with dataset.table=…"
    )


def cell(record: Record, column: str) -> str | None:
    """Return a row's text, None if the column or its value is absent. Numbers become text."""
    value = record.row.get(column)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ReportCardError(
        f"{record.where}: '{column}' must be text, not {type(value).__name__}"
        f" (study {record.row.get('study_id', '?')})."
    )


def cells(record: Record, column: str) -> list[str]:
    """Return a list of texts. A single text is a list of one; absent or blank is an empty list."""
    value = record.row.get(column)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [item.strip() for item in value]
    if isinstance(value, list):
        raise ReportCardError(f"{record.where}: '{column}' must be a list of texts.")
    text = (cell(record, column) or "").strip()
    return [text] if text else []


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts s2 before s10."""
    parts = re.findall(r"\d+|\D+", text)
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts]


class Attrition:
    """Applies filters one after the other and records the attrition of each."""

    def __init__(self, what: str, items: Sequence[T]) -> None:
        self.steps = [Step(what, len(items), len(items))]

    def keep(self, rule: str, items: Sequence[T], wanted: Callable[[T], bool]) -> list[T]:
        kept = [item for item in items if wanted(item)]
        self.steps.append(Step(rule, len(items), len(kept)))
        return kept


def has_text(study: Study, section: str) -> bool:
    """Return whether the reference has a text. section: findings, impression, or any."""
    names = ("findings", "impression") if section == "any" else (section,)
    return any((getattr(study.reference, name) or "").strip() for name in names)


def image_notes(studies: Sequence[Study], root: Path) -> list[str]:
    """Return notes on the images: none on this machine, some missing, some refused."""
    images = [image for study in studies for image in study.request.images]
    refused = sum(map(is_refused, images))
    there = sum(image.path is not None for image in images)
    notes = []
    if not any(image.available for image in images):
        return [f"text only: no images under {root} (models that need pixels cannot run)"]
    if refused:
        notes.append(f"{refused:,} of {len(images):,} image paths leave the root: refused")
    absent = len(images) - there - refused
    if (
        absent
    ):  # notes that begin with "text only" depend on the machine and are not in the cohort's file
        notes.append(f"text only for {absent:,} of {len(images):,} images: no such file")
    return notes


def counted(counts: Json) -> list[str]:
    """Return one note per count that is not zero, from {"{n} rows without a view": 3}."""
    return [text.format(n=f"{n:,}") for text, n in counts.items() if n]


def patient(request: Request, record: Record, *columns: str) -> str:
    """Return the first of the columns that is filled; without one, the study's own id."""
    return next((v for c in columns if (v := (cell(record, c) or "").strip())), request.study_id)
