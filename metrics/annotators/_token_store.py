"""Keeps token embeddings of reference reports on disk, so that the next model need not embed them.

They are exact float32, 3 kB per token of a base-size model, so a score is the same whether its
reference was read or embedded. The key is a digest of the text. The text itself is not stored, but
its embedding reveals much of it, so only the owner can read the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from reportcard.api import ReportCardError

MAX_BYTES = 4 * 2**30  # about 20,000 reports; a full store is only read
Vectors = npt.NDArray[np.float32]


def cache_root() -> Path:
    """Return where ReportCard keeps what can be fetched or computed again."""
    return Path(os.environ.get("REPORTCARD_CACHE") or "~/.cache/reportcard").expanduser()


class TokenStore:
    """Maps a text to (tokens, width) float32; without a path it stores nothing."""

    def __init__(self, path: Path | None, width: int, max_bytes: int = MAX_BYTES) -> None:
        self.path, self.width, self.max_bytes = path, width, max_bytes
        self._db: sqlite3.Connection | None = None

    def __enter__(self) -> TokenStore:
        if self.path is None:
            return self
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(self.path, timeout=60)
            self.path.chmod(0o600)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("CREATE TABLE IF NOT EXISTS tokens (key BLOB PRIMARY KEY, v BLOB)")
        except (OSError, sqlite3.OperationalError):
            # A read-only home or a full disk: every model embeds its references, which is only
            # slower.
            self._db = None
        except sqlite3.DatabaseError as error:
            raise ReportCardError(f"{self.path}: {error}. It is a cache: delete it.") from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def get(self, texts: Sequence[str]) -> dict[str, Vectors]:
        """Return the stored embeddings of texts."""
        if self._db is None:
            return {}
        found: dict[str, Vectors] = {}
        query = "SELECT v FROM tokens WHERE key = ?"
        try:
            for text in texts:
                row = self._db.execute(query, (_key(text),)).fetchone()
                if row is not None:
                    found[text] = np.frombuffer(row[0], "<f4").reshape(-1, self.width)
        except (sqlite3.DatabaseError, ValueError) as error:
            raise ReportCardError(f"{self.path}: {error}. It is a cache: delete it.") from None
        return found

    def put(self, vectors: Iterable[tuple[str, Vectors]]) -> None:
        """Store embeddings, unless the store is full or cannot be written."""
        if self._db is None or self._bytes() > self.max_bytes:
            return
        # A full disk does not affect the scores.
        with contextlib.suppress(sqlite3.DatabaseError), self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO tokens VALUES (?, ?)",
                ((_key(text), v.astype("<f4").tobytes()) for text, v in vectors),
            )

    def _bytes(self) -> int:
        assert self._db is not None
        pages, size = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
        )
        return int(pages * size)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
