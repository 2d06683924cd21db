"""Reads and writes files so that a crash cannot corrupt them: atomic files, JSONL logs, locks.

A batch is appended to a log with one write and one fsync, so a killed process loses at most the
current batch; an incomplete last line is cut off when the log is opened again. Every other file is
written under a temporary name and renamed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from reportcard.core.errors import Json, ReportCardError


def canonical(value: Any) -> str:
    """Return the JSON text that every digest is computed from: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(value: Any) -> str:
    """Return the sha256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


def file_digest(path: Path) -> str:
    """Return the sha256 (hex) of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_atomic(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Replace a file completely: after a crash it has either the old or the new content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, mode: int = 0o644) -> None:
    """Write a value as indented JSON, atomically. Raises ValueError for NaN and infinity."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(path, text, mode)


def make_private(folder: Path) -> None:
    """Create a folder; make it and the files in it accessible to their owner only."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for path in folder.iterdir():
        path.chmod(0o700 if path.is_dir() else 0o600)


def read_text(path: Path) -> str:
    """Read a UTF-8 file, with or without a byte-order mark.

    Raises ReportCardError naming file, line and byte.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ReportCardError(f"No file at {path}.") from None
    except OSError as error:
        raise ReportCardError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ReportCardError(
            f"{path}:{line}: not UTF-8 (byte {error.start}). Save the file as UTF-8."
        ) from None


def read_json(path: Path) -> Json:
    """Read a JSON object. Raises ReportCardError naming file and line for anything else."""
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ReportCardError(f"{path}:{error.lineno}: not JSON: {error.msg}.") from None
    if not isinstance(value, dict):
        raise ReportCardError(f"{path}: expected a JSON object, found a {type(value).__name__}.")
    return value


def read_jsonl(
    path: Path, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Iterator[tuple[int, Json]]:
    """Yield (line number, object) for each non-blank line of a JSONL file.

    pairs_hook: see json.loads; it may raise ValueError for a repeated key.
    Raises ReportCardError naming file and line.
    """
    for number, line_text in enumerate(_lines(path), start=1):
        if not line_text.strip():
            continue
        try:
            value = json.loads(line_text, object_pairs_hook=pairs_hook)
        except json.JSONDecodeError as error:
            raise ReportCardError(f"{path}:{number}: not JSON: {error.msg}.") from None
        except ValueError as error:  # from the hook, or from int() for thousands of digits
            if pairs_hook is None or "digits" in str(error):
                raise ReportCardError(f"{path}:{number}: a number with too many digits.") from None
            raise ReportCardError(f"{path}:{number}: the key {error} occurs twice.") from None
        if not isinstance(value, dict):
            raise ReportCardError(f"{path}:{number}: expected a JSON object on each line.")
        yield number, value


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file one by one, since it may have gigabytes.

    Lines end as in a file object; U+2028 and similar may occur inside a JSON string.
    """
    try:
        with path.open(encoding="utf-8-sig") as handle:
            yield from handle
    except (OSError, UnicodeDecodeError):
        read_text(path)  # raises an error that names the line
        raise


def jsonl(rows: Iterable[Json]) -> bytes:
    """Return rows as canonical lines. Half of a surrogate pair (from a model) is escaped."""
    return "".join(canonical(row) + "\n" for row in rows).encode("utf-8", "backslashreplace")


class JsonlLog:
    """An append-only JSONL file with one writer. After a crash it has complete lines only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._cut_torn_tail()
        self._handle = path.open("ab", buffering=0)

    def _cut_torn_tail(self) -> None:
        """Cut off what follows the last newline: a write that a crash interrupted."""
        with self.path.open("r+b") as handle:
            data = handle.read()
            whole = data.rfind(b"\n") + 1
            if whole != len(data):
                handle.truncate(whole)
                handle.flush()
                os.fsync(handle.fileno())

    def rows(self) -> Iterator[Json]:
        """Yield the stored rows."""
        for _, row in read_jsonl(self.path):
            yield row

    def append(self, rows: Iterable[Json]) -> None:
        """Append rows with one write and one fsync, so that they survive a power cut.

        Raises ReportCardError when they cannot be written, for instance to a full disk.
        """
        data = memoryview(jsonl(rows))
        try:
            while data:
                data = data[self._handle.write(data) :]
            os.fsync(self._handle.fileno())
        except OSError as error:
            raise ReportCardError(
                f"{self.path} cannot be written: {error.strerror}. Earlier answers are kept;"
                " run the same command again to continue."
            ) from None

    def close(self) -> None:
        self._handle.close()


class RunLock:
    """A lock that allows one writer per folder. It ends with its process, even on kill -9."""

    def __init__(self, folder: Path, instead: str = "results_dir=…") -> None:
        """instead: the option with which the user can choose another folder."""
        self.path, self.instead = folder / ".lock", instead

    def __enter__(self) -> RunLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = self.path.open("a+")
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._handle.seek(0)
            holder = self._handle.read().strip() or "another process"
            self._handle.close()
            raise ReportCardError(
                f"{self.path.parent} is being written by {holder}. Wait for it to end, or give"
                f" this run its own {self.instead}"
            ) from None
        self._handle.truncate(0)
        self._handle.write(f"process {os.getpid()}")
        self._handle.flush()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handle.close()
