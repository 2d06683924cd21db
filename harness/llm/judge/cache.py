"""Stores the verdicts of a live judge in SQLite, so that no question is asked twice.

The key of a verdict holds everything that decides it: the question, the endpoint, and the id of the
model that answered. The answers that a verdict was read from are stored beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reportcard.api import Json, ReportCardError
from reportcard.config.endpoint_settings import JudgeSettings
from reportcard.core.files import canonical
from reportcard.core.layout import CacheFolder
from reportcard.llm.client.batch import QuestionOutcome
from reportcard.llm.judge.contract import BadAnswerError, Question, Verdict, read_with

NOBODY = ""  # in place of a model's id: the verdict was final before a model answered
# SQLite's names for a file that is damaged or no database. Any other error (locked, no space, no
# folder) goes away without touching the file.
DAMAGED = {"SQLITE_CORRUPT", "SQLITE_NOTADB"}


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model's name at an endpoint. The endpoint resolves it to the id of a model."""

    endpoint: str
    model: str

    @classmethod
    def from_settings(cls, settings: JudgeSettings) -> ModelName:
        """Return the model that these settings ask."""
        return cls(str(settings.base_url).rstrip("/"), str(settings.model))


def question_digest(question: Question, settings: JudgeSettings) -> bytes:
    """Digest everything that decides a verdict, except for the id behind the model's name.

    The endpoint's address is part of it: two servers may give two models the same name.
    """
    name = ModelName.from_settings(settings)
    parts = [
        name.endpoint,
        settings.model,
        settings.api_version,
        settings.structured,
        dict(question.sampling),
        question.max_tokens,
        question.prompt,
        question.kind,
        dict(question.texts),
        question.repeat,
    ]
    return hashlib.sha256(canonical(parts).encode("utf-8", "surrogatepass")).digest()


def key_of(digest: bytes, resolved: str) -> bytes:
    """Return the cache's key: the question's digest together with the id that answered."""
    return hashlib.sha256(digest + resolved.encode("utf-8", "surrogatepass")).digest()


class VerdictCache:
    """Verdicts and the raw answers beside them, in one SQLite file that only its owner can read.

    verdicts  key → {"value": …}, with "repairs" and "drafts" where there are any (contract.py); or
              {"reason": …, "answers": n} for what stays unscored
    answers   key → every answer that was received for it, zlib-packed JSON
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

    @classmethod
    def in_folder(cls, folder: Path) -> VerdictCache:
        """Open the cache in a `Custody.cache_dir`; it is created if it is not there."""
        return cls(CacheFolder(folder).verdicts)

    def _broken(self, error: Exception) -> ReportCardError:
        held = f"{self.path}: {error}. It holds the judge's verdicts"
        if str(getattr(error, "sqlite_errorname", "")).partition("_INDEX")[0] in DAMAGED:
            return ReportCardError(f"{held}: move it away, and the judge is asked again.")
        return ReportCardError(
            f"{held}, so leave it where it is: check its folder (does it exist, can you write to"
            " it, is there space, does another process use it?) and run again."
        )

    def resolved(self, name: ModelName) -> str | None:
        """Return the id that the endpoint last resolved the name to."""
        query = "SELECT resolved FROM models WHERE endpoint = ? AND model = ?"
        try:
            row = self._db.execute(query, (name.endpoint, name.model)).fetchone()
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from None
        return str(row[0]) if row else None

    def ids(self, name: ModelName) -> frozenset[str]:
        """Return every id that the endpoint has answered under."""
        query = "SELECT resolved FROM ids WHERE endpoint = ? AND model = ?"
        try:
            rows = self._db.execute(query, (name.endpoint, name.model))
            return frozenset(str(row[0]) for row in rows)
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        """Return the rows that exist and are JSON; `usable_verdict` decides what they are worth."""
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
        """Return every answer that was received for one question, as ReplyRecord.to_json does.

        A damaged row has none.
        """
        query = "SELECT answers FROM answers WHERE key = ?"
        try:
            row = self._db.execute(query, (key,)).fetchone()
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from None
        try:
            packed = zlib.decompress(row[0]) if row else b"[]"
            answers = json.loads(packed.decode("utf-8", "surrogatepass"))
        except (ValueError, TypeError, RecursionError, zlib.error):
            return []
        return answers if isinstance(answers, list) else []

    def put(
        self,
        rows: Iterable[tuple[bytes, Json, Sequence[Json]]],
        name: ModelName | None = None,
        ids: Sequence[str] = (),
    ) -> None:
        """Store rows in one transaction.

        Args:
            rows: (key, verdict, answers).
            name: the model that was asked.
            ids: the ids that it answered under, in the order in which they answered.
        """
        packed = [
            (key, _text(verdict), zlib.compress(_text(list(answers)).encode(), 1))
            for key, verdict, answers in rows
        ]
        resolved = [(name.endpoint, name.model, each) for each in ids] if name else []
        try:
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO models VALUES (?, ?, ?)", resolved)
                self._db.executemany("INSERT OR IGNORE INTO ids VALUES (?, ?, ?)", resolved)
                self._db.executemany(
                    "INSERT OR REPLACE INTO verdicts VALUES (?, ?)", ((k, v) for k, v, _ in packed)
                )
                self._db.executemany(
                    "INSERT OR REPLACE INTO answers VALUES (?, ?)", ((k, a) for k, _, a in packed)
                )
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from None

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def usable_verdict(
    row: Any, question: Question, attempts: int, received: Sequence[Json] = ()
) -> Verdict | None:
    """Read a row of the cache; None where the question must be asked (again).

    That is so for a damaged row, for an unscored one that had fewer answers than may be requested
    now, and where the answers beside a value hold no verdict: an earlier version of the reader may
    have taken a model's thoughts for one.

    received: the answers beside the row. They are read again, which costs nothing, and decide.
    """
    if not isinstance(row, dict):
        return None
    value, reason, unread = row.get("value"), row.get("reason"), row.get("answers", attempts)
    if isinstance(value, dict):
        try:
            kept = Verdict(question.check(value))
        except Exception:  # a check meets whatever the row holds
            return None
        return _read_again(question, received) if received else kept
    if not isinstance(reason, str) or type(unread) is not int:
        return None
    mended = _read_again(question, received) if "answers" in row else None
    return mended or (Verdict(reason=reason) if unread >= attempts else None)


def _read_again(question: Question, received: Sequence[Json]) -> Verdict | None:
    """Return the verdict in the first answer that holds one."""
    for answer in received:
        with suppress(BadAnswerError, AttributeError, TypeError):  # or a damaged record
            return question.read(answer.get("answer"), answer.get("bad"))
    return None


def _row_of(outcome: QuestionOutcome) -> Json:
    """Return what the cache stores of a verdict; `usable_verdict` reads it."""
    verdict = outcome.verdict
    if verdict.value is not None:
        return {"value": verdict.value, **read_with(verdict)}
    return {"reason": verdict.reason} | ({"answers": outcome.unread} if outcome.unread else {})


class VerdictWriter:
    """Writes the outcomes of one batch into the cache, and collects their verdicts.

    verdicts  of this batch, by digest of the question
    foreign   outcomes of another model than the first: they are stored, and not used in this run
    resolved  the id that answered last; `first` is the one that answered first
    """

    def __init__(
        self,
        cache: VerdictCache,
        name: ModelName,
        resolved: str | None,
        digests: Sequence[bytes],
    ) -> None:
        self.verdicts: dict[bytes, Verdict] = {}
        self.foreign: dict[bytes, QuestionOutcome] = {}
        self.resolved = self.first = resolved
        self._cache, self._name, self._digests = cache, name, digests

    def store(self, outcomes: Sequence[QuestionOutcome]) -> None:
        """Write outcomes in one transaction. Writing an outcome twice does no harm."""
        rows: list[tuple[bytes, Json, Sequence[Json]]] = []
        ids: list[str] = []
        for outcome in outcomes:
            digest, verdict = self._digests[outcome.index], outcome.verdict
            self.verdicts[digest] = verdict
            if outcome.model and self.first is None:
                self.first = self.resolved = outcome.model
                ids.append(outcome.model)
            if outcome.model and outcome.model != self.first:
                self.foreign[digest], self.resolved = outcome, outcome.model
                ids.append(outcome.model)
            if not verdict.again:
                key = key_of(digest, outcome.model or NOBODY)
                answers = [record.to_json() for record in outcome.answers]
                rows.append((key, _row_of(outcome), answers))
        if rows or ids:
            self._cache.put(rows, self._name, ids)


def _text(value: Any) -> str:
    """Write JSON in ASCII, because a lone surrogate in a hostile answer is no UTF-8."""
    return json.dumps(value, separators=(",", ":"))
