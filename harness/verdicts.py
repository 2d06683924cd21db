"""Where verdicts lie: the cache of a live judge, the record of a run, and its replay.

The record is JSONL, one verdict a line: {"kind": …, texts…, value…}, or "unscored" with the reason
in place of a value. `judge=recorded` answers from such a file: no model, no network, no `openai`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.api import Custody, Json, ReportCardError
from harness.judge import BadAnswerError, JudgeSettings, Question, Verdict
from harness.store import canonical, file_digest, read_jsonl

UNSCORED = "unscored"


class VerdictCache:
    """Verdicts by content with the raw answers beside them, in one SQLite file of its owner's.

    verdicts  key → {"value": …}, or {"reason": …, "answers": n} for what stays unscored
    answers   key → every answer that was got for it, zlib-packed JSON
    models    (endpoint, model) → the id that the endpoint last resolved it to
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
            )
        except (sqlite3.DatabaseError, OSError) as error:
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> ReportCardError:
        return ReportCardError(
            f"{self.path}: {error}. It holds the judge's verdicts: move it away, and they are asked"
            " for anew."
        )

    def resolved(self, endpoint: str, model: str) -> str | None:
        query = "SELECT resolved FROM models WHERE endpoint = ? AND model = ?"
        try:
            row = self._db.execute(query, (endpoint, model)).fetchone()
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from None
        return str(row[0]) if row else None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Json]:
        """The verdicts that are there."""
        found: dict[bytes, Json] = {}
        try:
            for start in range(0, len(keys), 500):
                part = keys[start : start + 500]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, verdict FROM verdicts WHERE key IN ({marks})"  # noqa: S608
                found |= {key: json.loads(text) for key, text in self._db.execute(query, part)}
        except (sqlite3.DatabaseError, ValueError) as error:
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
        resolved: tuple[str, str, str] | None = None,
    ) -> None:
        """(key, verdict, answers) rows in one transaction; resolved: (endpoint, model, id)."""
        kept = [
            (key, _text(verdict), zlib.compress(_text(list(answers)).encode(), 1))
            for key, verdict, answers in rows
        ]
        try:
            with self._db:
                if resolved:
                    self._db.execute("INSERT OR REPLACE INTO models VALUES (?, ?, ?)", resolved)
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


class Record:
    """Writes the verdicts that a run used, each once, in the order of asking.

    The file is begun anew in each invocation. What was only unscored for now (`again`) and what was
    asked a second time (`repeat`) is left out: a replay could not tell it apart.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written: set[str] = set()
        self._begun = False

    def write(self, questions: Sequence[Question], verdicts: Sequence[Verdict]) -> None:
        lines = []
        for question, verdict in zip(questions, verdicts, strict=True):
            if verdict.again or question.repeat:
                continue
            key = _key(question.kind, question.texts)
            if key not in self._written:
                self._written.add(key)
                said = {UNSCORED: verdict.reason} if verdict.value is None else verdict.value
                lines.append({"kind": question.kind, **question.texts, **said})
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if self._begun else os.O_TRUNC)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(self.path, flags, 0o600), "wb") as handle:
                os.fchmod(handle.fileno(), 0o600)
                handle.write(text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise ReportCardError(f"{self.path} cannot be written: {error.strerror}.") from None
        self._begun = True


class RecordedJudge:
    """Verdicts out of a JSONL file. A line that a question uses passes the question's own check."""

    def __init__(self, settings: JudgeSettings) -> None:
        self._settings = settings
        self._path = settings.verdicts
        self._lines: list[tuple[int, Json]] | None = None
        self._indexes: dict[tuple[str, frozenset[str]], _Index] = {}
        self._record = Record(settings.record) if settings.record else None
        self._say: Callable[[str], None] = lambda text: None

    @property
    def caveat(self) -> str | None:
        return self._settings.caveat

    @property
    def identity(self) -> str:
        """`recorded@` and the digest of the file's bytes."""
        if self._path is None or not self._path.is_file():
            return "recorded"
        return f"recorded@{file_digest(self._path)[:8]}"

    def missing(self) -> str | None:
        if self._path is None or str(self._path) == "???":
            return "no recorded verdicts given: add judge.verdicts=FILE"
        if not self._path.is_file():
            return f"no recorded verdicts at {self._path}: look at judge.verdicts"
        record = self._settings.record
        if record and record.resolve() == self._path.resolve():
            return "judge.record would overwrite judge.verdicts: name another file"
        return None

    def admit(self, custody: Custody) -> None:
        """Nothing is sent anywhere."""
        self._say = custody.say

    def ask(self, questions: Sequence[Question], label: str) -> list[Verdict]:
        """Raises ReportCardError naming file and line for a line that cannot be used."""
        if reason := self.missing():
            raise ReportCardError(reason)
        verdicts = [self._verdict(question) for question in questions]
        if self._record:
            self._record.write(questions, verdicts)
        absent = sum(v.value is None for v in verdicts)
        note = f", {absent:,} unscored" if absent else ""
        self._say(f"{label}: {len(verdicts):,} verdicts from {self._path}{note}")
        return verdicts

    def _verdict(self, question: Question) -> Verdict:
        found = None if question.repeat else self._index(question).find(question)
        if found is None:
            return Verdict(reason="no recorded verdict")
        number, line = found
        value = {k: v for k, v in line.items() if k != "kind" and k not in question.texts}
        if UNSCORED in value:
            return Verdict(reason=str(value[UNSCORED])[:200])
        try:
            return Verdict(question.check(value))
        except BadAnswerError as error:
            raise ReportCardError(f"{self._path}:{number}: {error}.") from None
        except Exception as error:
            raise ReportCardError(
                f"{self._path}:{number}: no {question.kind} verdict ({type(error).__name__})."
            ) from None

    def _index(self, question: Question) -> _Index:
        """The lines of one kind by the texts they are about, made at the first such question."""
        assert self._path is not None
        if self._lines is None:
            try:
                self._lines = list(read_jsonl(self._path))
            except RecursionError:
                raise ReportCardError(f"{self._path}: a line is nested too deep.") from None
            for number, line in self._lines:
                if not isinstance(line.get("kind"), str):
                    raise ReportCardError(f"{self._path}:{number}: no 'kind'.")
        names = (question.kind, frozenset(question.texts))
        if names not in self._indexes:
            lines = [(n, line) for n, line in self._lines if line["kind"] == question.kind]
            self._indexes[names] = _Index(self._path, lines, names[1])
        return self._indexes[names]

    def close(self) -> None:
        """Free the lines; a later `ask` reads the file again."""
        self._lines = None
        self._indexes.clear()


class _Index:
    """Lines of one kind by texts: as they stand, and with white space collapsed."""

    def __init__(self, path: Path, lines: list[tuple[int, Json]], names: frozenset[str]) -> None:
        self._exact: dict[str, tuple[int, Json]] = {}
        self._loose: dict[str, tuple[int, Json] | None] = {}
        for number, line in lines:
            texts = {name: line.get(name) for name in names}
            for name, text in texts.items():
                texts_ = text if isinstance(text, list) else [text]
                if not all(isinstance(each, str) for each in texts_):
                    raise ReportCardError(f"{path}:{number}: '{name}' must be text.")
            key, loose = (_key("", texts, collapse) for collapse in (False, True))
            before = self._exact.setdefault(key, (number, line))
            if _verdict_of(before[1], names) != _verdict_of(line, names):
                raise ReportCardError(
                    f"{path}:{before[0]} and :{number} give two verdicts on the same texts."
                )
            other = self._loose.setdefault(loose, (number, line))
            if other and _verdict_of(other[1], names) != _verdict_of(line, names):
                self._loose[loose] = None  # they differ by white space only: exact matches count

    def find(self, question: Question) -> tuple[int, Json] | None:
        exact = self._exact.get(_key("", question.texts))
        return exact or self._loose.get(_key("", question.texts, collapse=True))


def _verdict_of(line: Json, names: frozenset[str]) -> str:
    return canonical({k: v for k, v in line.items() if k not in names})


def _key(kind: str, texts: Mapping[str, Any], collapse: bool = False) -> str:
    """Texts by name; a list stands for a set."""

    def norm(text: str) -> str:
        return " ".join(text.split()) if collapse else text

    parts = {
        name: sorted({norm(each) for each in text}) if isinstance(text, list) else norm(text)
        for name, text in texts.items()
    }
    return canonical([kind, parts])
