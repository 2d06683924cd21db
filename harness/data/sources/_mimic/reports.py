"""Reads MIMIC-CXR's reports one at a time, from mimic-cxr-reports.zip or the unpacked folder.

The zip has 227,835 members and reading its directory takes seconds, so the index (index.py) stores
where each report lies in it. A report lies *beside* its study's folder of images, not in it.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from reportcard.api import ReportCardError

MEMBER = re.compile(r"(?:[\w-]+/)*?(p1\d)/p(1\d{7})/s(5\d{7})\.txt", re.ASCII)
MAX_REPORT_BYTES = 200_000  # reports have a few kB
LOCAL_HEADER = struct.Struct("<4s22xHH")

Columns = dict[str, npt.NDArray[np.generic]]
COLUMNS = {
    "report_study": "<i4",
    "report_subject": "<i4",
    "report_at": "<i8",
    "report_packed": "<i8",
    "report_size": "<i8",
    "report_crc": "<u4",
    "report_method": "<u2",
}


def report_path(subject: int, study: int) -> str:
    """Return the path of a report below files/."""
    return f"p{subject // 1_000_000}/p{subject}/s{study}.txt"


class ReportTexts(Protocol):
    """A source of report texts. `damaged` counts reports that exist and cannot be read."""

    damaged: int

    def text(self, subject: int, study: int) -> str | None:
        """Return the report with "\\n" line ends; None when it is absent or damaged."""
        ...


class FolderReports:
    """Reports as files: p1x/p1xxxxxxx/s5xxxxxxx.txt under files/."""

    def __init__(self, files: Path) -> None:
        self._files = files.resolve()
        self.damaged = 0

    def text(self, subject: int, study: int) -> str | None:
        path = self._files / report_path(subject, study)
        try:
            inside = path.resolve(strict=True).is_relative_to(self._files)
            if inside and path.stat().st_size <= MAX_REPORT_BYTES:
                return _decoded(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError:
            pass
        self.damaged += 1
        return None


class ZipReports:
    """Reports in the zip, found through the index and checked by their CRC."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self._handle = path.open("rb")
        self._columns = columns
        self._studies = columns["report_study"]  # sorted
        self.damaged = 0

    def text(self, subject: int, study: int) -> str | None:
        row = int(np.searchsorted(self._studies, np.int32(study)))
        if row == len(self._studies) or int(self._studies[row]) != study:
            return None
        if int(self._columns["report_subject"][row]) != subject:
            return None
        data = self._bytes(*(int(self._columns[name][row]) for name in list(COLUMNS)[2:]))
        if data is None:
            self.damaged += 1
            return None
        return _decoded(data)

    def _bytes(self, at: int, packed: int, size: int, crc: int, method: int) -> bytes | None:
        if not (size <= MAX_REPORT_BYTES and packed <= 2 * MAX_REPORT_BYTES):
            return None
        self._handle.seek(at)
        head = self._handle.read(30)
        if len(head) < 30:
            return None
        magic, name, extra = LOCAL_HEADER.unpack(head)
        self._handle.seek(name + extra, 1)
        data = self._handle.read(packed)
        if method == zipfile.ZIP_DEFLATED:
            try:
                data = zlib.decompressobj(-15).decompress(data, size + 1)
            except zlib.error:
                return None
        whole = magic == b"PK\x03\x04" and len(data) == size and zlib.crc32(data) == crc
        return data if whole else None


def zip_columns(path: Path) -> Columns:
    """Return where each report lies in the zip, as columns in study order.

    Members with other names are not reports. Raises ReportCardError for a damaged zip and for two
    reports of one study.
    """
    found: dict[int, tuple[int, ...]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = MEMBER.fullmatch(member.filename)
                readable = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
                if not name or name[2][:2] != name[1][1:] or member.flag_bits & 1 or not readable:
                    continue
                row = (
                    *(int(name[3]), int(name[2]), member.header_offset, member.compress_size),
                    *(member.file_size, member.CRC, member.compress_type),
                )
                if found.setdefault(row[0], row) is not row:
                    raise ReportCardError(f"{path} holds two reports of one study.")
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise ReportCardError(
            f"{path} is damaged ({type(error).__name__}); download it again."
        ) from None
    rows = [found[study] for study in sorted(found)]
    return {
        name: np.array([row[i] for row in rows], kind)
        for i, (name, kind) in enumerate(COLUMNS.items())
    }


def _decoded(data: bytes) -> str:
    # The section parser was written for the line ends that Python's text mode gives.
    text = data.decode("utf-8", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")
