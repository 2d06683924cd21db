"""Reads images from a zip that was cut into parts (`.zip.001`, `.002`, …), without unpacking it.

The parts are one zip cut by bytes (37 parts for PadChest-GR). They are read as one seekable stream,
and a member is decompressed when its image is needed, into a private temporary folder.
"""

from __future__ import annotations

import io
import os
import stat
import tempfile
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from reportcard.api import Image, ImageError, ReportCardError

MAX_MEMBER_BYTES = 256 * 1024**2  # a 16-bit PNG of 100 megapixels, stored


class Parts(io.RawIOBase):
    """Several files as one read-only, seekable stream."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self._files = [path.open("rb") for path in paths]
        self._ends = list(accumulate(path.stat().st_size for path in paths))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ends[-1]}[whence]
        if base + offset < 0:
            raise ValueError("seek before the start")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        part = bisect_right(self._ends, self._at)
        if part == len(self._files):
            return 0
        start = self._ends[part - 1] if part else 0
        view = memoryview(buffer)[: self._ends[part] - self._at]
        self._files[part].seek(self._at - start)
        count = self._files[part].readinto(view)
        self._at += count
        return count

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


def parts_of(folder: Path) -> tuple[Path, ...]:
    """Return the parts of the one split zip (or the one .zip) in a folder, in order; () if none.

    Raises ReportCardError when a number is missing, or when there are two archives.
    """
    found = sorted(folder.glob("*.zip.[0-9][0-9][0-9]")) or sorted(folder.glob("*.zip"))
    if not found:
        return ()
    names = {path.name.partition(".zip")[0] for path in found}
    if len(names) > 1:
        raise ReportCardError(f"{folder} has several archives: {', '.join(sorted(names))}.")
    if found[0].suffix == ".zip":
        return tuple(found)
    wanted = [f"{n:03d}" for n in range(1, int(found[-1].suffix[1:]) + 1)]
    absent = sorted({*wanted} - {path.suffix[1:] for path in found})
    if absent:
        raise ReportCardError(
            f"{folder}: part .{', .'.join(absent)} of {found[0].stem} is missing. Download it, or"
            " move the parts away to use the reports alone."
        )
    return tuple(found)


def members_of(parts: tuple[Path, ...]) -> tuple[dict[str, str], int]:
    """Return file name → PNG member, and how many members were refused.

    Members are refused for `..`, links, their size, or a repeated name.
    Raises ReportCardError when the parts are no zip: one is too short, or the last is missing.
    """
    found: dict[str, str] = {}
    refused = 0
    for info in _archive(parts, os.getpid()).infolist():
        path = PurePosixPath(info.filename)
        if info.is_dir() or path.suffix.lower() != ".png" or "__MACOSX" in path.parts:
            continue
        link = stat.S_ISLNK(info.external_attr >> 16)
        leaves = path.is_absolute() or ".." in path.parts or "\\" in info.filename
        if link or leaves or info.file_size > MAX_MEMBER_BYTES or path.name in found:
            refused += 1
            continue
        found[path.name] = info.filename
    return found, refused


def read_member(
    parts: tuple[Path, ...], member: str, image_id: str, view: str
) -> npt.NDArray[np.uint8]:
    """Return the grey values of one member, shape (height, width).

    Args:
        parts: the parts of the zip.
        member: the name in the zip.
        image_id: the id of the image, for errors.
        view: its view.

    Raises ImageError when it is damaged.
    """
    try:
        data = _archive(parts, os.getpid()).read(member)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError) as error:
        raise ImageError("truncated", f"Image {image_id} in {parts[0]}: {error}") from None
    with tempfile.TemporaryDirectory(prefix="reportcard-") as folder:
        file = Path(folder) / "image.png"
        file.write_bytes(data)
        try:
            return Image(image_id, view, file).pixels()
        except ReportCardError as error:
            kind = error.kind if isinstance(error, ImageError) else "unreadable"
            said = str(error).replace(str(file), f"{member} in {parts[0].name}")
            raise ImageError(kind, said) from None


@lru_cache(maxsize=8)
def _archive(parts: tuple[Path, ...], process: int) -> zipfile.ZipFile:
    """Open the archive once per process: a forked worker must not share its file offsets."""
    try:
        return zipfile.ZipFile(io.BufferedReader(Parts(parts)))
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ReportCardError(
            f"{parts[0].parent}: its {len(parts)} parts are no zip ({error}). Is the last part"
            " there, and is each complete?"
        ) from None
