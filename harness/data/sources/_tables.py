"""Reads CSV and JSON files of a dataset. Columns are found by name and every cell is a str.

Errors name file and line. They never quote a cell, because tables of closed data contain report
text.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from reportcard.api import Json, ReportCardError
from reportcard.core.files import read_text

Row = dict[str, str]


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """Yield (number of its last line, {column: cell}) for each row of a .csv or .csv.gz.

    Only the given columns are read. Cells stay text, so ids of 39 digits, "None" and "" are kept.
    Raises ReportCardError naming the missing columns, or the line that is incomplete.
    """
    for line, cells in rows_of(path, columns):
        yield line, dict(zip(columns, cells, strict=True))


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield what `read_table` yields, with the cells as a list in the order of `columns`."""
    with _open_text(path) as handle:
        yield from _rows(handle, str(path), columns)


def read_rows(handle: IO[str], name: str, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """Yield what `read_table` yields, from an open file; errors call it `name`."""
    for line, cells in _rows(handle, name, columns):
        yield line, dict(zip(columns, cells, strict=True))


def one_per(name: str, rows: Sequence[Row]) -> list[Row]:
    """Sort rows by the column `name` and then by all columns; keep the first row of each `name`.

    A study therefore does not depend on the order of a file's rows or on repeated rows.
    """
    found: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: (row[name], *row.values())):
        found.setdefault(row[name], row)
    return list(found.values())


def header_of(path: Path) -> list[str]:
    """Return the column names of a table."""
    with _open_text(path) as handle:
        reader = csv.reader(handle)
        with _as_sentence(str(path), reader):
            return _header(reader)


def _rows(handle: IO[str], name: str, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(handle)
    with _as_sentence(name, reader):
        header = _header(reader)
        absent = [column for column in columns if column not in header]
        if absent:
            raise ReportCardError(f"{name}:1: no column {', '.join(absent)}.")
        places = [header.index(column) for column in columns]
        for row in reader:
            if len(row) == len(header):
                yield reader.line_num, [row[place] for place in places]
            elif row:
                raise ReportCardError(
                    f"{name}:{reader.line_num}: {len(row)} fields where the header has"
                    f" {len(header)}."
                )


def _header(reader: Iterator[list[str]]) -> list[str]:
    return [name.strip() for name in next(reader, [])]


@contextlib.contextmanager
def _as_sentence(name: str, reader: Any) -> Iterator[None]:
    """Raise errors of a csv.reader as ReportCardError with file and line."""
    try:
        yield
    except csv.Error as error:
        raise ReportCardError(f"{name}:{reader.line_num}: not CSV: {error}.") from None
    except UnicodeDecodeError:
        raise ReportCardError(f"{name}:{reader.line_num + 1}: not UTF-8.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ReportCardError(f"{name} is damaged: {error}.") from None


@contextlib.contextmanager
def _open_text(path: Path) -> Iterator[IO[str]]:
    try:
        raw = path.open("rb")
    except OSError as error:
        raise ReportCardError(f"{path} cannot be read: {error.strerror}.") from None
    with raw, contextlib.ExitStack() as stack:
        data: IO[bytes] = raw
        if path.suffix == ".gz":
            data = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=raw)))
        yield stack.enter_context(io.TextIOWrapper(data, encoding="utf-8-sig", newline=""))


def load_json(path: Path) -> Any:
    """Read a JSON file. Raises ReportCardError naming the file and, if known, the line."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ReportCardError(f"{path}:{error.lineno}: not JSON: {error.msg}.") from None
    except RecursionError:
        raise ReportCardError(f"{path}: nested too deep to be read.") from None
    except ValueError:  # more digits than Python accepts for an int
        raise ReportCardError(f"{path}: a number in it is too long to be read.") from None


def read_json_file(path: Path, kind: type[list[Any]] | type[Json]) -> Any:
    """Read a JSON file whose top level is a `kind`. Raises ReportCardError for any other."""
    value = load_json(path)
    if not isinstance(value, kind):
        raise ReportCardError(
            f"{path}: expected a JSON {kind.__name__}, found a {type(value).__name__}."
        )
    return value
