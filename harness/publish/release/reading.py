"""Checks a release from elsewhere before anything of it is read: names, kinds, sizes and formats.

Such a folder may be hostile. Nothing in it is ever run or unpickled.
"""

from __future__ import annotations

import math
import os
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from reportcard.core.layout import RunId, scores_named

MOST_FILES = 200_000
LARGEST_TEXT = 256 * 2**20
LARGEST_ARRAYS = 2**30  # bytes of one rows.npz, unpacked
MEMBERS = {"ids.npy": "U", "rows.npy": "f", "clusters.npy": "i"}


def walk(folder: Path) -> tuple[dict[str, int], list[str]]:
    """Return every regular file with its size, and sentences on what makes the folder unsafe."""
    found: dict[str, int] = {}
    unsafe = []
    for here, folders, files in os.walk(folder, followlinks=False):
        for name in sorted([*folders, *files]):
            path = Path(here) / name
            shown, about = path.relative_to(folder).as_posix(), path.lstat()
            if stat.S_ISDIR(about.st_mode):
                continue
            if not stat.S_ISREG(about.st_mode):
                kind = "a link" if stat.S_ISLNK(about.st_mode) else "no plain file"
                unsafe.append(f"{shown} is {kind}")
            elif path.suffix != ".npz" and about.st_size > LARGEST_TEXT:
                unsafe.append(f"{shown} is larger than {LARGEST_TEXT:,} bytes")
            found[shown] = about.st_size
            if len(found) > MOST_FILES:
                return found, [*unsafe, f"more than {MOST_FILES:,} files"]
        folders.sort()
    return found, unsafe


def is_inside(name: object) -> bool:
    """Return whether a manifest's name is a plain relative path inside the release."""
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.as_posix() == name


def why_unsafe(npz: Path) -> str | None:
    """Return why a rows.npz must not be loaded, or None.

    Members, types and sizes are read from the headers, so that a small file that unpacks to
    terabytes is refused before memory is allocated.
    """
    try:
        with zipfile.ZipFile(npz) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            if len(set(names)) < len(names) or not {"ids.npy", "rows.npy"} <= {*names} <= {
                *MEMBERS
            }:
                return f"it holds {', '.join(names[:5])}, not ids, rows and clusters"
            if sum(member.file_size for member in members) > LARGEST_ARRAYS:
                return f"it unpacks to more than {LARGEST_ARRAYS:,} bytes"
            shapes = {}
            for member in members:
                with archive.open(member) as handle:
                    version = np.lib.format.read_magic(handle)
                    header = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = header(handle, max_header_size=10_000)
                if dtype.kind != MEMBERS[member.filename]:
                    return f"{member.filename} is of type {dtype}"
                if math.prod(shape) * dtype.itemsize > member.file_size:
                    return f"{member.filename} says that it is larger than it is"
                shapes[member.filename] = shape
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        return f"it cannot be read ({str(error)[:200]})"
    ids, rows = shapes["ids.npy"], shapes["rows.npy"]
    if len(rows) != 3 or 0 in rows or ids != (rows[1],):
        return f"ids {ids} do not fit rows {rows}"
    if shapes.get("clusters.npy", ids) != ids:
        return "clusters do not fit ids"
    return None


def printable(text: object) -> str:
    """Return one short line; names and texts of a release may contain terminal codes."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return line if len(line) <= 300 else f"{line[:299]}…"


def score_files(files: Iterable[str]) -> Iterator[tuple[RunId, str]]:
    """Yield the run and the metric of every score file among these relative names."""
    for name in files:
        if found := scores_named(name):
            yield found
