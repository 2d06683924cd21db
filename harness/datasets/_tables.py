"""CSV and JSON of a data root: columns by name, every cell a str, errors that name file and line.

No error quotes a cell: the tables of closed data hold report text.
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

from harness.api import Json, ReportCardError
from harness.store import read_text

Row = dict[str, str]


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """(line of its end, {column: cell}) of a .csv or .csv.gz, for the columns asked for.

    Cells are never turned into numbers: 39-digit ids stay themselves, "None" and "" too.
    Raises ReportCardError naming the missing columns, or the line that is not whole.
    """
    with _open_text(path) as handle:
        yield from read_rows(handle, str(path), columns)


def read_rows(handle: IO[str], name: str, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(handle)
    try:
        header = next(reader, [])
        absent = [column for column in columns if column not in header]
        if absent:
            raise ReportCardError(f"{name}:1: no column {', '.join(absent)}.")
        places = [(column, header.index(column)) for column in columns]
        for row in reader:
            if len(row) != len(header):
                if not row:
                    continue
                raise ReportCardError(
                    f"{name}:{reader.line_num}: {len(row)} fields where the header has"
                    f" {len(header)}."
                )
            yield reader.line_num, {column: row[place] for column, place in places}
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


def read_json_file(path: Path, kind: type[list[Any]] | type[Json]) -> Any:
    """A JSON file whose top level is a `kind`. Raises ReportCardError naming file and line."""
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ReportCardError(f"{path}:{error.lineno}: not JSON: {error.msg}.") from None
    if not isinstance(value, kind):
        raise ReportCardError(
            f"{path}: expected a JSON {kind.__name__}, found a {type(value).__name__}."
        )
    return value
