"""Reads a downloaded checkpoint without running code in it, and says what is wrong with a bad one.

A .pth file is a pickle, and a pickle can run code. `torch.load(weights_only=True)` builds tensors
and plain containers only.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from reportcard.api import ReportCardError
from reportcard.core.files import file_digest

# What a file holds instead of weights after a download through a log-in page or without git-lfs.
_NOT_WEIGHTS = (
    (re.compile(rb"\s*<(!doctype|html|\?xml)", re.IGNORECASE), "it is a web page (HTML)"),
    (re.compile(rb"version https://git-lfs"), "it is a git-lfs pointer, not the file itself"),
    (re.compile(rb"\s*\{"), "it is JSON text"),
)


def checkpoint_digest(path: Path) -> str | None:
    """Return the sha256 of a file, or None if it is absent; an unchanged file is read once."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return _digest(path.resolve(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=32)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    return file_digest(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return the dict that `torch.save` wrote, on the CPU.

    Raises ReportCardError with the path and what is wrong.
    """
    import torch

    try:
        with path.open("rb") as handle:
            head = handle.read(64)
    except OSError as error:
        raise ReportCardError(f"{path}: {error.strerror or error}.") from None
    if not head:
        raise _refused(path, "it is empty")
    for pattern, what in _NOT_WEIGHTS:
        if pattern.match(head):
            raise _refused(path, what)
    if not head.startswith((b"PK", b"\x80")):
        raise _refused(path, "it is neither a zip archive nor a pickle")
    # Files of torch >= 1.6 are zip archives and can be mapped, so that an optimizer's state (two
    # thirds of the published chexbert.pth) is never read. Older ones are a plain pickle stream.
    if head.startswith(b"PK") and not zipfile.is_zipfile(path):
        raise _refused(path, "it is cut off (the archive's table of contents is missing)")
    try:
        loaded = torch.load(
            path, map_location="cpu", weights_only=True, mmap=head.startswith(b"PK")
        )
    except pickle.UnpicklingError as error:
        code = re.search(r"(?:GLOBAL|global) ([\w.]+)", str(error))
        if code:
            what = f"it holds code ({code.group(1)}), which is never run"
        elif "weights_only" in str(error):
            what = "it holds objects other than tensors"
        else:
            what = f"it cannot be unpickled: {_line(error)}"
        raise _refused(path, what) from None
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, OSError) as error:
        raise _refused(path, f"it is damaged or cut off: {_line(error)}") from None
    if not isinstance(loaded, dict):
        raise _refused(path, f"it holds a {type(loaded).__name__}, not a dict of tensors")
    return loaded


def _refused(path: Path, what: str) -> ReportCardError:
    return ReportCardError(f"{path} is not a usable checkpoint: {what}. Fetch it again.")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
