"""The cache of a live judge: verdicts by content, with the raw answers beside them."""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from reportcard.api import Json, ReportCardError

# A file that is no database, or not one any more; all else (locked, no room, no folder) passes.
DAMAGED = {"SQLITE_CORRUPT", "SQLITE_NOTADB"}


class VerdictCache:
    """Verdicts by content with the raw answers beside them, in one SQLite file of its owner's.

    verdicts  key → {"value": …}, or {"reason": …, "answers": n} for what stays unscored
    answers   key → every answer that was got for it, zlib-packed JSON
    models    (endpoint, model) → the id that the endpoint last resolved it to
    ids       (endpoint, model) → every id that it has answered under
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._db = sqlite3.connect(path, timeout=60, check_same_thread=False)
            self._db.executescript(
                "PRAGMA journal_mode=WAL;"
                "CREATE TABLE IF NOT EXISTS verdicts (key BLOB PRIMARY KEY, verdict TEXT);"
                "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, answers BLOB);"
                "CREATE TABLE IF NOT EXISTS models"
                " (endpoint TEXT, model TEXT, resolved TEXT, PRIMARY KEY (endpoint, model));"
                "CREATE TABLE IF NOT EXISTS ids (endpoint TEXT, model TEXT, resolved TEXT,"
                " PRIMARY KEY (endpoint, model, resolved));"
            )
        except (sqlite3.DatabaseError, OSError) as error:
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> ReportCardError:
        held = f"{self.path}: {error}. It holds the judge's verdicts"
        if str(getattr(error, "sqlite_errorname", "")).partition("_INDEX")[0] in DAMAGED:
            return ReportCardError(f"{held}: move it away, and they are asked for anew.")
        return ReportCardError(
            f"{held}, so leave it where it is: see to its folder (is it there, writable, with room,"
            " used by another process?) and run again."
        )

    def resolved(self, endpoint: str, model: str) -> str | None:
        query = "SELECT resolved FROM models WHERE endpoint = ? AND model = ?"
        try:
            row = self._db.execute(query, (endpoint, model)).fetchone()
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from None
        return str(row[0]) if row else None

    def ids(self, endpoint: str, model: str) -> frozenset[str]:
        """Every id that the endpoint has answered under."""
        query = "SELECT resolved FROM ids WHERE endpoint = ? AND model = ?"
        try:
            return frozenset(str(row[0]) for row in self._db.execute(query, (endpoint, model)))
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        """The rows that are there and are JSON; whether they are verdicts is for the reader."""
        found: dict[bytes, Any] = {}
        try:
            for start in range(0, len(keys), 500):
                part = keys[start : start + 500]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, verdict FROM verdicts WHERE key IN ({marks})"  # noqa: S608
                for key, text in self._db.execute(query, part):
                    with suppress(ValueError, TypeError, RecursionError):
                        found[key] = json.loads(text)
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from None
        return found

    def answers(self, key: bytes) -> list[Json]:
        """Every answer that was got for one question, as Answer.record writes it."""
        query = "SELECT answers FROM answers WHERE key = ?"
        row = self._db.execute(query, (key,)).fetchone()
        if row is None:
            return []
        answers: list[Json] = json.loads(zlib.decompress(row[0]).decode("utf-8", "surrogatepass"))
        return answers

    def put(
        self,
        rows: Iterable[tuple[bytes, Json, Sequence[Json]]],
        resolved: Sequence[tuple[str, str, str]] = (),
    ) -> None:
        """(key, verdict, answers) rows in one transaction; resolved: (endpoint, model, id) in the
        order in which they answered."""
        kept = [
            (key, _text(verdict), zlib.compress(_text(list(answers)).encode(), 1))
            for key, verdict, answers in rows
        ]
        try:
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO models VALUES (?, ?, ?)", resolved)
                self._db.executemany("INSERT OR IGNORE INTO ids VALUES (?, ?, ?)", resolved)
                self._db.executemany(
                    "INSERT OR REPLACE INTO verdicts VALUES (?, ?)", ((k, v) for k, v, _ in kept)
                )
                self._db.executemany(
                    "INSERT OR REPLACE INTO answers VALUES (?, ?)", ((k, a) for k, _, a in kept)
                )
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from None

    def close(self) -> None:
        self._db.close()


def _text(value: Any) -> str:
    """JSON in ASCII: a lone surrogate of a hostile answer is no UTF-8."""
    return json.dumps(value, separators=(",", ":"))
