"""Reads files of users (JSONL, CSV, TSV, JSON) strictly, with errors that name the line.

Plugins may import this module.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

from reportcard.core.errors import Json, ReportCardError
from reportcard.core.files import read_jsonl, read_text

ID_COLUMN = "study_id"


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a file, and its place: `file:line`, or `file: key` in a JSON object."""

    where: str
    row: Json

    def text(self, *columns: str) -> str:
        """Return the first of the columns that the row has. Raises ReportCardError."""
        for column in columns:
            if column in self.row:
                value = self.row[column]
                if not isinstance(value, str):
                    raise ReportCardError(
                        f"{self.where}: '{column}' must be text, not {type(value).__name__}"
                        f' (study {self.row.get(ID_COLUMN, "?")}); write "" for an empty report.'
                    )
                return value
        raise ReportCardError(
            f"{self.where}: no column {' or '.join(columns)}; there are {', '.join(self.row)}."
        )


def read_records(path: Path) -> list[Record]:
    """Read the rows of a .jsonl, .csv, .tsv or .json file, in file order.

    A .json file is a list of objects, or one object of objects by id (ReXrank's layout). In the
    latter, the key becomes `study_id` if an object has none. Raises ReportCardError for an
    unreadable file, an empty one, or an unknown ending.
    """
    if path.is_dir():
        raise ReportCardError(f"{path} is a folder; give the file.")
    readers = {".jsonl": _jsonl, ".csv": _csv, ".tsv": _csv, ".json": _json}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ReportCardError(f"{path}: unknown ending; use {', '.join(readers)}.")
    records = list(reader(path))
    if not records:
        raise ReportCardError(f"{path} holds no rows.")
    return records


def by_id(records: Sequence[Record]) -> dict[str, Record]:
    """Return study_id → record, in file order. Raises ReportCardError listing duplicate ids."""
    found: dict[str, Record] = {}
    twice = []
    for record in records:
        value = record.row.get(ID_COLUMN)
        if isinstance(value, Integral) and not isinstance(value, bool):
            value = str(value)
        if value is None or value == "":
            raise ReportCardError(
                f"{record.where}: no {ID_COLUMN}; there are {', '.join(map(str, record.row))}."
            )
        if not isinstance(value, str) or not value.strip():
            raise ReportCardError(
                f"{record.where}: {ID_COLUMN} must be text or a whole number, not {value!r}."
            )
        if value in found:
            twice.append(f"{value} ({found[value].where} and {record.where})")
        else:
            found[value] = record
    if twice:
        raise ReportCardError(f"Duplicate ids: {listed(twice)}")
    return found


def listed(names: Sequence[str], most: int = 20) -> str:
    """Return 'a, b, c and 12 more'."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


class _RepeatedKeyError(ValueError):
    """A key occurs twice in a JSON object; JSON readers silently keep the last."""


def _no_repeats(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(repr(next(key for key in keys if keys.count(key) > 1)))
    return found


def _jsonl(path: Path) -> Iterator[Record]:
    for number, row in read_jsonl(path, _no_repeats):
        yield Record(f"{path}:{number}", row)


def _csv(path: Path) -> Iterator[Record]:
    text = read_text(path)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    csv.field_size_limit(10_000_000)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        if len(set(names)) < len(names):
            raise ReportCardError(f"{path}:1: a column occurs twice: {', '.join(names)}.")
        reader.fieldnames = names
        for row in reader:
            where = f"{path}:{reader.line_num}"
            if None in row or None in row.values():
                raise ReportCardError(
                    f"{where}: {'more' if None in row else 'fewer'} fields than the header has;"
                    " is a comma or a quote unescaped?"
                )
            yield Record(where, dict(row))
    except csv.Error as error:
        raise ReportCardError(f"{path}:{reader.reader.line_num}: not CSV: {error}.") from None


def _json(path: Path) -> Iterator[Record]:
    try:
        value = json.loads(read_text(path), object_pairs_hook=_no_repeats)
    except _RepeatedKeyError as error:
        raise ReportCardError(f"{path}: the key {error} occurs twice in one object.") from None
    except json.JSONDecodeError as error:
        raise ReportCardError(f"{path}:{error.lineno}: not JSON: {error.msg}.") from None
    if isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values()):
        for key, row in value.items():
            yield Record(f"{path}: {key}", {ID_COLUMN: key, **row})
    elif isinstance(value, list) and all(isinstance(row, dict) for row in value):
        for number, row in enumerate(value):
            yield Record(f"{path}: [{number}]", row)
    else:
        raise ReportCardError(f"{path}: expected a list of objects, or an object of objects by id.")
