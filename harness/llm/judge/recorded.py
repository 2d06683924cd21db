"""Verdicts in a file: the record of a run, and the judge that replays it.

The record is JSONL, one verdict a line: {"kind": …, texts…, value…}, or "unscored" with the reason
in place of a value. The field "by" says who gave it: {"model": …, "prompt": …, "sampling": …,
"caveat": …}, each optional. `judge=recorded` answers from such a file: no model, no network, no
`openai`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reportcard.api import Custody, Json, ReportCardError
from reportcard.config.settings import JudgeSettings
from reportcard.core.files import canonical, file_digest, read_jsonl
from reportcard.llm.client.redact import safe_id
from reportcard.llm.judge.contract import BadAnswerError, Question, Verdict

UNSCORED, BY = "unscored", "by"
KINDS = ("chexprompt", "radfact.phrases", "radfact.entailment")  # ours; plugins may have others
ALIKE = 0.85  # a kind so like one of ours is taken for a slip of the pen
TERMS = ("prompt", "sampling")  # of `by`: those of a question must be the same
UNKNOWN = "unknown"

Line = tuple[int, Json]  # number and object


def by(question: Question, model: str, caveat: str | None) -> Json:
    """Who gives a verdict, and to what wording."""
    said = {"model": model, "prompt": question.prompt, "sampling": dict(question.sampling)}
    return said | ({"caveat": caveat} if caveat else {})


class VerdictRecorder:
    """Writes the verdicts that a run used, each once, in the order of asking.

    The file is begun anew in each invocation. What was only unscored for now (`again`) and what was
    asked a second time (`repeat`) is left out: a replay could not tell it apart.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written: set[str] = set()
        self._begun = False

    def check(self) -> None:
        """Raises ReportCardError when the file could not be written; leaves what it holds."""
        if self._begun:
            return
        there = self.path.exists()
        self._append(b"", os.O_APPEND)
        if not there:
            self.path.unlink(missing_ok=True)

    def write(
        self, questions: Sequence[Question], verdicts: Sequence[Verdict], by: Sequence[Json]
    ) -> None:
        """by: for each verdict what is known of who gave it, {} for nothing."""
        lines = []
        for question, verdict, who in zip(questions, verdicts, by, strict=True):
            if verdict.again or question.repeat:
                continue
            key = _key(question.kind, question.texts) + _terms(who)
            if key not in self._written:
                self._written.add(key)
                said = {UNSCORED: verdict.reason} if verdict.value is None else verdict.value
                known = {BY: who} if who else {}
                lines.append({"kind": question.kind, **question.texts, **said, **known})
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        begin = os.O_APPEND if self._begun else os.O_TRUNC
        self._append(text.encode("utf-8", "backslashreplace"), begin)
        self._begun = True

    def _append(self, data: bytes, begin: int) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | begin, 0o600), "wb") as to:
                os.fchmod(to.fileno(), 0o600)
                to.write(data)
        except OSError as error:
            raise ReportCardError(
                f"judge.record: {self.path} cannot be written: {error.strerror}."
            ) from None


class RecordedJudge:
    """Verdicts out of a JSONL file. A line that a question uses passes the question's own check."""

    def __init__(self, settings: JudgeSettings) -> None:
        self._settings = settings
        self._path = settings.verdicts
        self._lines: list[Line] | None = None
        self._indexes: dict[tuple[str, frozenset[str]], _Index] = {}
        self._record = VerdictRecorder(settings.record) if settings.record else None
        self._say: Callable[[str], None] = lambda text: None
        self._known: tuple[str, str | None] | None = None

    @property
    def caveat(self) -> str | None:
        """The configured one, else those of the recording."""
        return self._settings.caveat or (None if self.missing() else self._recorded()[1])

    @property
    def identity(self) -> str:
        """`recorded@1a2b3c4d(model)`: digest of the file's bytes, and who gave its verdicts;
        `unknown` where lines do not say."""
        if self._path is None or not self._path.is_file():
            return "recorded"
        return f"recorded@{file_digest(self._path)[:8]}({self._recorded()[0]})"

    def _recorded(self) -> tuple[str, str | None]:
        """Models and caveats of the file's lines."""
        if self._known is None:
            try:
                who = [_by(line) for _, line in self._read()]
            except ReportCardError:  # to be told when it is asked
                who = []
            models = {_safe_model(each.get("model")) for each in who} or {UNKNOWN}
            caveats = {" ".join(str(each["caveat"]).split()) for each in who if each.get("caveat")}
            self._known = "+".join(sorted(models)), "; ".join(sorted(caveats))[:300] or None
        return self._known

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
        """Nothing is sent anywhere. Raises ReportCardError when nothing can be recorded."""
        if self._record:
            self._record.check()
        self._say = custody.say

    def ask(self, questions: Sequence[Question], label: str) -> list[Verdict]:
        """Raises ReportCardError naming file and line for a line that cannot be used."""
        if reason := self.missing():
            raise ReportCardError(reason)
        found = [self._verdict(question) for question in questions]
        verdicts = [verdict for verdict, _ in found]
        if self._record:
            self._record.write(questions, verdicts, [who for _, who in found])
        absent = sum(v.value is None for v in verdicts)
        note = f", {absent:,} unscored" if absent else ""
        self._say(f"{label}: {len(verdicts):,} verdicts from {self._path}{note}")
        return verdicts

    def _verdict(self, question: Question) -> tuple[Verdict, Json]:
        """And who gave it."""
        if question.repeat:
            return Verdict(reason="no recorded verdict"), {}
        index = self._index(question)
        found = index.find(question)
        if found is None:
            return Verdict(reason=index.why_not(question)), {}
        number, line = found
        given = ("kind", BY, *question.texts)
        value = {k: v for k, v in line.items() if k not in given}
        if UNSCORED in value:
            reason = value[UNSCORED]
            if not isinstance(reason, str) or not reason.strip():
                raise ReportCardError(f"{self._path}:{number}: '{UNSCORED}' must give a reason.")
            return Verdict(reason=reason[:200]), _by(line)
        try:
            return Verdict(question.check(value)), _by(line)
        except BadAnswerError as error:
            raise ReportCardError(f"{self._path}:{number}: {error}.") from None
        except Exception as error:
            raise ReportCardError(
                f"{self._path}:{number}: no {question.kind} verdict ({type(error).__name__})."
            ) from None

    def _read(self) -> list[Line]:
        assert self._path is not None
        if self._lines is None:
            try:
                self._lines = list(read_jsonl(self._path))
            except RecursionError:
                raise ReportCardError(f"{self._path}: a line is nested too deep.") from None
        return self._lines

    def _index(self, question: Question) -> _Index:
        """The lines of one kind by the texts they are about, made at the first such question."""
        assert self._path is not None
        names = (question.kind, frozenset(question.texts))
        if names not in self._indexes:
            for number, line in self._read():
                if problem := _odd_kind(line.get("kind"), question.kind):
                    raise ReportCardError(f"{self._path}:{number}: {problem}.")
            lines = [(n, line) for n, line in self._read() if line["kind"] == question.kind]
            self._indexes[names] = _Index(self._path, lines, names[1])
        return self._indexes[names]

    def close(self) -> None:
        """Free the lines; a later `ask` reads the file again."""
        self._lines = None
        self._indexes.clear()


class _Index:
    """Lines of one kind by texts: as they stand, and with white space collapsed."""

    def __init__(self, path: Path, lines: list[Line], names: frozenset[str]) -> None:
        # texts → prompt and sampling → line; None: two lines that differ by white space only
        self._exact: dict[str, dict[str, Line]] = {}
        self._loose: dict[str, dict[str, Line | None]] = {}
        for number, line in lines:
            texts = {name: line.get(name) for name in names}
            for name, text in texts.items():
                texts_ = text if isinstance(text, list) else [text]
                if not all(isinstance(each, str) for each in texts_):
                    raise ReportCardError(f"{path}:{number}: '{name}' must be text.")
            key, loose = (_key("", texts, collapse) for collapse in (False, True))
            terms, verdict = _terms(_by(line)), _verdict_of(line, names)
            before = self._exact.setdefault(key, {}).setdefault(terms, (number, line))
            if _verdict_of(before[1], names) != verdict:
                raise ReportCardError(
                    f"{path}:{before[0]} and :{number} give two verdicts on the same texts."
                )
            alike = self._loose.setdefault(loose, {})
            other = alike.setdefault(terms, (number, line))
            if other and _verdict_of(other[1], names) != verdict:
                alike[terms] = None  # exact matches count

    def find(self, question: Question) -> Line | None:
        """The line on these texts under this prompt and sampling, as far as lines name them."""
        return next(self._fitting(question), None)

    def _fitting(self, question: Question) -> Iterator[Line]:
        for found in self._groups(question):
            fits = [line for line in found.values() if line and _fits(_by(line[1]), question)]
            # A line that names the prompt before one that leaves it open.
            yield from sorted(fits, key=lambda line: -len(_by(line[1])))

    def _groups(self, question: Question) -> Iterator[Mapping[str, Line | None]]:
        yield self._exact.get(_key("", question.texts), {})
        yield self._loose.get(_key("", question.texts, collapse=True), {})

    def why_not(self, question: Question) -> str:
        if any(line for group in self._groups(question) for line in group.values()):
            return "recorded under another prompt or sampling"
        return "no recorded verdict"


def _odd_kind(kind: Any, asked: str) -> str | None:
    """What is wrong with a line's kind."""
    if not isinstance(kind, str):
        return "no 'kind'"
    if kind == asked or kind in KINDS:
        return None
    close = difflib.get_close_matches(kind, KINDS, n=1, cutoff=ALIKE)
    return f"unknown kind '{kind[:40]}'. Did you mean {close[0]}?" if close else None


def _by(line: Json) -> Json:
    found = line.get(BY)
    return found if isinstance(found, dict) else {}


def _terms(who: Json) -> str:
    return canonical([who.get(name) for name in TERMS])


def _fits(who: Json, question: Question) -> bool:
    asked = {"prompt": question.prompt, "sampling": dict(question.sampling)}
    return all(who.get(name) in (None, asked[name]) for name in TERMS)


def _safe_model(model: Any) -> str:
    """`m` or `m(resolved)` as a live judge's identity has it; else the digest."""
    if not isinstance(model, str):
        return UNKNOWN
    plain = re.sub(r"\((.*)\)$", r":\1", model)
    return model if safe_id(plain) == plain else safe_id(f" {model}")


def _verdict_of(line: Json, names: frozenset[str]) -> str:
    return canonical({k: v for k, v in line.items() if k not in names and k != BY})


def _key(kind: str, texts: Mapping[str, Any], collapse: bool = False) -> str:
    """Texts by name; a list stands for a set."""

    def norm(text: str) -> str:
        return " ".join(text.split()) if collapse else text

    parts = {
        name: sorted({norm(each) for each in text}) if isinstance(text, list) else norm(text)
        for name, text in texts.items()
    }
    return canonical([kind, parts])
