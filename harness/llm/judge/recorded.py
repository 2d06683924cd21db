"""Writes the verdicts of a run to a JSONL file, and answers from such a file.

Each line is one verdict: {"kind": …, the texts…, the value…}; an unscored one has "unscored" with
the reason in place of the value. The field "by" says who gave it: {"model": …, "prompt": …,
"sampling": …, "caveat": …}, each optional, and with "repairs" and "drafts" how it was read
(contract.py). `judge=recorded` answers from the file without a model, a network or the `openai`
package.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reportcard.api import Custody, Json, ReportCardError
from reportcard.config.endpoint_settings import JudgeSettings
from reportcard.core.files import canonical, file_digest, read_jsonl
from reportcard.llm.client.replies import safe_id
from reportcard.llm.judge.answer_reader import REPAIRS
from reportcard.llm.judge.contract import BadAnswerError, Question, Verdict, reading_summary

KIND, UNSCORED, BY, CAVEAT = "kind", "unscored", "by", "caveat"
TERMS = ("prompt", "sampling")  # fields of `by` that must be those of the question
KINDS = ("chexprompt", "radfact.phrases", "radfact.entailment")  # ours; plugins may have others
SIMILAR = 0.85  # a kind this similar to one of ours is taken for a misspelling
UNKNOWN = "unknown"


def given_by(question: Question, model: str, caveat: str | None) -> Json:
    """Return the field "by" of a verdict: the judge, and the prompt and sampling it was given."""
    who = {"model": model, "prompt": question.prompt, "sampling": dict(question.sampling)}
    return who | ({CAVEAT: caveat} if caveat else {})


class VerdictRecorder:
    """Writes the verdicts that a run used to `judge.record`, each once, in the order of asking.

    The file is replaced in each invocation. Verdicts that may still change (`again`) and those of a
    repeated question (`repeat`) are left out, because a replay could not tell them apart.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written: set[str] = set()
        self._begun = False

    def check(self) -> None:
        """Raise ReportCardError when the file could not be written; its content stays."""
        if self._begun:
            return
        there = self.path.exists()
        self._append(b"", os.O_APPEND)
        if not there:
            self.path.unlink(missing_ok=True)

    def write(
        self, questions: Sequence[Question], verdicts: Sequence[Verdict], by: Sequence[Json]
    ) -> None:
        """Append the verdicts that are not in the file yet.

        Args:
            questions: what was asked.
            verdicts: one per question.
            by: one per verdict: who gave it (`given_by`), {} where that is not known.
        """
        lines = []
        for question, verdict, who in zip(questions, verdicts, by, strict=True):
            if verdict.again or question.repeat:
                continue
            key = _key(question.kind, question.texts) + _terms(who)
            if key not in self._written:
                self._written.add(key)
                value = {UNSCORED: verdict.reason} if verdict.value is None else verdict.value
                known = {BY: who} if who else {}
                lines.append({KIND: question.kind, **question.texts, **value, **known})
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


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the file."""

    number: int
    row: Json

    @property
    def kind(self) -> Any:
        return self.row.get(KIND)

    @property
    def by(self) -> Json:
        """Who gave the verdict; {} where the line does not say."""
        found = self.row.get(BY)
        return found if isinstance(found, dict) else {}

    @property
    def named_terms(self) -> tuple[str, ...]:
        """The terms of asking that the line names."""
        return tuple(name for name in TERMS if self.by.get(name) is not None)

    @property
    def repairs(self) -> tuple[str, ...]:
        """What was mended in the answer, as the recording has it."""
        found = self.by.get("repairs")
        every = found if isinstance(found, list) else []
        return tuple(each for each in every if each in REPAIRS)

    @property
    def drafts(self) -> tuple[Json, ...]:
        """The values that stood before the verdict in the answer, as the recording has them."""
        found = self.by.get("drafts")
        every = found if isinstance(found, list) else []
        return tuple(each for each in every if isinstance(each, dict))

    def value(self, *given: str) -> Json:
        """Return the line without the fields that are no part of its verdict."""
        return {k: v for k, v in self.row.items() if k not in (BY, *given)}

    def fits(self, question: Question) -> bool:
        """Whether the line's prompt and sampling, where it names them, are the question's."""
        asked = given_by(question, "", None)
        return all(self.by.get(name) in (None, asked[name]) for name in TERMS)


class RecordedJudge:
    """Answers from a JSONL file. Each verdict must pass the question's own check."""

    def __init__(self, settings: JudgeSettings) -> None:
        self._settings = settings
        self._path = settings.verdicts
        self._lines: list[_Line] | None = None
        self._indexes: dict[tuple[str, frozenset[str]], _Index] = {}
        self._recorder = VerdictRecorder(settings.record) if settings.record else None
        self._say: Callable[[str], None] = lambda text: None
        self._known: tuple[str, str | None] | None = None

    @property
    def caveat(self) -> str | None:
        """The configured caveat, or else those of the recording."""
        return self._settings.caveat or (None if self.missing() else self._recorded()[1])

    @property
    def identity(self) -> str:
        """`recorded@1a2b3c4d(model)`: the file's digest and who gave its verdicts."""
        if self._path is None or not self._path.is_file():
            return "recorded"
        return f"recorded@{file_digest(self._path)[:8]}({self._recorded()[0]})"

    def _recorded(self) -> tuple[str, str | None]:
        """Return the models and the caveats that the file's lines name."""
        if self._known is None:
            try:
                who = [line.by for line in self._read()]
            except ReportCardError:  # `ask` raises it again
                who = []
            models = {_safe_model(each.get("model")) for each in who} or {UNKNOWN}
            caveats = {" ".join(str(each[CAVEAT]).split()) for each in who if each.get(CAVEAT)}
            self._known = "+".join(sorted(models)), "; ".join(sorted(caveats))[:300] or None
        return self._known

    def missing(self) -> str | None:
        """Return None when there is a file to answer from; else what to do."""
        if self._path is None or str(self._path) == "???":
            return "no recorded verdicts given: add judge.verdicts=FILE"
        if not self._path.is_file():
            return f"no recorded verdicts at {self._path}: look at judge.verdicts"
        record = self._settings.record
        if record and record.resolve() == self._path.resolve():
            return "judge.record would overwrite judge.verdicts: name another file"
        return None

    def admit(self, custody: Custody) -> None:
        """Accept any text, because nothing is sent. Raises ReportCardError if `record` fails."""
        if self._recorder:
            self._recorder.check()
        self._say = custody.say

    def ask(self, questions: Sequence[Question], label: str) -> list[Verdict]:
        """Return a verdict per question; one that the file does not hold is unscored.

        Raises ReportCardError naming file and line for a line that cannot be used.
        """
        if reason := self.missing():
            raise ReportCardError(reason)
        found = [self._verdict(question) for question in questions]
        verdicts = [verdict for verdict, _ in found]
        if self._recorder:
            self._recorder.write(questions, verdicts, [who for _, who in found])
        absent = sum(v.value is None for v in verdicts)
        note = f", {absent:,} unscored" if absent else ""
        note += reading_summary(verdicts)
        self._say(f"{label}: {len(verdicts):,} verdicts from {self._path}{note}")
        return verdicts

    def _verdict(self, question: Question) -> tuple[Verdict, Json]:
        """Return a verdict and who gave it."""
        if question.repeat:
            return Verdict(reason="no recorded verdict"), {}
        index = self._index(question)
        line = index.find(question)
        if line is None:
            return Verdict(reason=index.why_not(question)), {}
        value = line.value(KIND, *question.texts)
        if UNSCORED in value:
            reason = value[UNSCORED]
            if not isinstance(reason, str) or not reason.strip():
                raise ReportCardError(
                    f"{self._path}:{line.number}: '{UNSCORED}' must give a reason."
                )
            return Verdict(reason=reason[:200]), line.by
        try:
            value = question.check(value)
            return Verdict(value, repairs=line.repairs, drafts=line.drafts), line.by
        except BadAnswerError as error:
            raise ReportCardError(f"{self._path}:{line.number}: {error}.") from None
        except Exception as error:
            name = type(error).__name__
            raise ReportCardError(
                f"{self._path}:{line.number}: no {question.kind} verdict ({name})."
            ) from None

    def _read(self) -> list[_Line]:
        assert self._path is not None
        if self._lines is None:
            try:
                self._lines = [_Line(number, row) for number, row in read_jsonl(self._path)]
            except RecursionError:
                raise ReportCardError(f"{self._path}: a line is nested too deep.") from None
        return self._lines

    def _index(self, question: Question) -> _Index:
        """Return the lines of the question's kind, indexed by text; built at the first question."""
        assert self._path is not None
        names = (question.kind, frozenset(question.texts))
        if names not in self._indexes:
            for line in self._read():
                if problem := _wrong_kind(line.kind, question.kind):
                    raise ReportCardError(f"{self._path}:{line.number}: {problem}.")
            lines = [line for line in self._read() if line.kind == question.kind]
            self._indexes[names] = _Index(self._path, lines, names[1])
        return self._indexes[names]

    def close(self) -> None:
        """Free the lines; a later `ask` reads the file again."""
        self._lines = None
        self._indexes.clear()


class _Index:
    """Lines of one kind by their texts: exactly, and with white space collapsed."""

    def __init__(self, path: Path, lines: list[_Line], names: frozenset[str]) -> None:
        # texts → prompt and sampling → line; None where two lines differ by white space only
        self._exact: dict[str, dict[str, _Line]] = {}
        self._loose: dict[str, dict[str, _Line | None]] = {}
        for line in lines:
            texts = {name: line.row.get(name) for name in names}
            for name, text in texts.items():
                every = text if isinstance(text, list) else [text]
                if not all(isinstance(each, str) for each in every):
                    raise ReportCardError(f"{path}:{line.number}: '{name}' must be text.")
            key, loose = (_key("", texts, collapse) for collapse in (False, True))
            terms, verdict = _terms(line.by), canonical(line.value(*names))
            before = self._exact.setdefault(key, {}).setdefault(terms, line)
            if canonical(before.value(*names)) != verdict:
                raise ReportCardError(
                    f"{path}:{before.number} and :{line.number} give two verdicts on the same"
                    " texts."
                )
            similar = self._loose.setdefault(loose, {})
            other = similar.setdefault(terms, line)
            if other and canonical(other.value(*names)) != verdict:
                similar[terms] = None  # then only an exact match counts

    def find(self, question: Question) -> _Line | None:
        """Return the line on these texts whose prompt and sampling are the question's."""
        for group in self._groups(question):
            fitting = [line for line in group.values() if line and line.fits(question)]
            if fitting:  # a line that names the prompt comes before one that does not
                return max(fitting, key=lambda line: (len(line.named_terms), len(line.by)))
        return None

    def _groups(self, question: Question) -> Iterator[Mapping[str, _Line | None]]:
        yield self._exact.get(_key("", question.texts), {})
        yield self._loose.get(_key("", question.texts, collapse=True), {})

    def why_not(self, question: Question) -> str:
        """Return the reason for a question without a line."""
        if any(line for group in self._groups(question) for line in group.values()):
            return "recorded under another prompt or sampling"
        return "no recorded verdict"


def _wrong_kind(kind: Any, asked: str) -> str | None:
    """Return what is wrong with a line's kind, if anything is."""
    if not isinstance(kind, str):
        return "no 'kind'"
    if kind == asked or kind in KINDS:
        return None
    close = difflib.get_close_matches(kind, KINDS, n=1, cutoff=SIMILAR)
    return f"unknown kind '{kind[:40]}'. Did you mean {close[0]}?" if close else None


def _terms(who: Json) -> str:
    return canonical([who.get(name) for name in TERMS])


def _safe_model(model: Any) -> str:
    """Return `m` or `m(resolved)`, as a live judge's identity has it; else its digest."""
    if not isinstance(model, str):
        return UNKNOWN
    plain = re.sub(r"\((.*)\)$", r":\1", model)
    return model if safe_id(plain) == plain else safe_id(f" {model}")


def _key(kind: str, texts: Mapping[str, Any], collapse: bool = False) -> str:
    """Return the key of texts by name; a list stands for a set."""

    def norm(text: str) -> str:
        return " ".join(text.split()) if collapse else text

    parts = {
        name: sorted({norm(each) for each in text}) if isinstance(text, list) else norm(text)
        for name, text in texts.items()
    }
    return canonical([kind, parts])
