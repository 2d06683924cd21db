"""Reads a user's requests, one study per line, and reports all problems of the file in one error.

    {"study_id": "1", "images": [{"path": "1.png", "view": "PA"}], "indication": "Cough.",
     "prior": {"images": [{"path": "0.png", "view": "PA"}], "report": "Lungs are clear."}}

A line may also have `technique`, `comparison`, `age`, `sex`, `task` and `phrase`. Paths are
relative to the file's folder. A key of the answer, such as `findings`, is an error: a model that
got it would only have to copy it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from reportcard.api import (
    FRONTAL_VIEWS,
    LATERAL_VIEWS,
    Image,
    Json,
    Prior,
    Report,
    ReportCardError,
    Request,
    Task,
)
from reportcard.core.files import digest, file_digest
from reportcard.core.registry import did_you_mean
from reportcard.core.user_files import Record, read_records

TEXTS = ("indication", "technique", "comparison", "sex", "phrase")
KEYS = ("study_id", "images", *TEXTS, "prior", "age", "task")
ANSWER = ("reference", "findings", "impression", "report", "phrases", "target", "candidate")
# Lower case → spelling. Of two that differ only in case, the first is used ("Lateral").
VIEWS = {view.lower(): view for view in reversed((*FRONTAL_VIEWS, *LATERAL_VIEWS, "Unknown"))}
SHOWN = 5


def read_requests(path: Path) -> list[Request]:
    """Read the requests of a .jsonl or .json file, in its order, without decoding images.

    Raises ReportCardError with the first problems, each with its line and study: unknown keys,
    wrong types, ids that occur twice, image files that are not there.
    """
    if path.suffix.lower() not in (".jsonl", ".json") and not path.is_dir():
        raise ReportCardError(f"{path}: requests are JSONL, one study per line: {KEYS_IN_WORDS}.")
    reader = _Reader(path.parent)
    requests = [reader.request(record) for record in read_records(path)]
    if reader.problems:
        n = len(reader.problems)
        more = f"\n  and {n - SHOWN:,} more" if n > SHOWN else ""
        raise ReportCardError(
            f"{path}: {n:,} problem{'s' * (n > 1)}:\n  "
            + "\n  ".join(reader.problems[:SHOWN])
            + more
        )
    return requests


KEYS_IN_WORDS = ", ".join(KEYS)


def digest_of(requests: Sequence[Request]) -> str:
    """Return the sha256 (hex) of everything that a model may see, with images by their bytes.

    It stays the same when the folder is moved, and changes when an image is replaced.
    """
    return digest([list(_content(request)) for request in requests])


def _content(request: Request) -> Iterator[Any]:
    prior = request.prior
    yield from (request.study_id, request.task, request.phrase, request.age, request.sex)
    yield from (request.indication, request.technique, request.comparison)
    yield _pictures(request.images)
    yield prior and [
        _pictures(prior.images),
        prior.report and [prior.report.findings, prior.report.impression],
    ]


def _pictures(images: Sequence[Image]) -> list[list[str]]:
    return [[file_digest(image.path), image.view] for image in images if image.path]


@dataclass
class _Reader:
    """Reads all lines and collects the problems."""

    folder: Path
    problems: list[str] = field(default_factory=list)
    where: str = ""
    first: dict[str, str] = field(default_factory=dict)  # study → place of its line

    def request(self, record: Record) -> Request:
        row = record.row
        self.where = record.where
        name = self._study_id(row.get("study_id"))
        self.where = f"{record.where}: study {name}"
        if name in self.first:
            self._wrong(f"the id occurs in {self.first[name]} already")
        self.first.setdefault(name, record.where)
        self._keys(row, KEYS, "")
        if not _writable(row):
            self._wrong("a text has half a character in it (a lone surrogate such as \\ud800)")
        indication, technique, comparison, sex, phrase = (self._text(row, key) for key in TEXTS)
        return Request(
            study_id=name,
            images=self._images(row.get("images"), "images"),
            prior=self._prior(row.get("prior")),
            age=self._age(row.get("age")),
            task=self._task(row.get("task", "findings"), phrase),
            indication=indication,
            technique=technique,
            comparison=comparison,
            sex=sex,
            phrase=phrase,
        )

    def _wrong(self, problem: str) -> None:
        self.problems.append(f"{self.where}: {problem}")

    def _study_id(self, value: Any) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and value.strip():
            return value.encode("utf-8", "replace").decode()
        self._wrong("no study_id" if value is None else "study_id is text or a whole number")
        return f"without an id ({len(self.problems)})"

    def _keys(self, row: Json, known: Sequence[str], within: str) -> None:
        for key in row:
            if key in known:
                continue
            if not within and key in ANSWER:
                self._wrong(f"'{key}': a request contains no part of the answer; leave it out")
            else:
                there = f" ({', '.join(known)})" if not did_you_mean(key, known) else ""
                self._wrong(f"unknown key '{within}{key}'.{did_you_mean(key, known)}{there}")

    def _text(self, row: Json, key: str, within: str = "") -> str | None:
        value = row.get(key)
        if value is None or isinstance(value, str):
            return value
        self._wrong(f"'{within}{key}' is text, not {_shown(value)}")
        return None

    def _age(self, value: Any) -> float | None:
        if value is None:
            return None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and math.isfinite(value) and 0 <= value <= 150:
            return float(value)
        self._wrong(f"'age' is a number of years, not {_shown(value)}")
        return None

    def _task(self, value: Any, phrase: str | None) -> Task:
        tasks = get_args(Task)
        if value not in tasks:
            self._wrong(
                f"'task' is one of {', '.join(tasks)}, not {_shown(value)}."
                f"{did_you_mean(str(value), tasks)}"
            )
            return "findings"
        if (value == "phrase_grounding") != bool(phrase and phrase.strip()):
            self._wrong("'phrase' and task phrase_grounding go together")
        return value  # type: ignore[no-any-return]

    def _images(self, value: Any, key: str) -> tuple[Image, ...]:
        if value is None:
            return ()
        if not isinstance(value, list):
            self._wrong(f"'{key}' is a list of {{path, view}}, not {_shown(value)}")
            return ()
        found = (self._image(item, f"{key}[{n}]") for n, item in enumerate(value))
        return tuple(image for image in found if image)

    def _image(self, item: Any, key: str) -> Image | None:
        if not isinstance(item, dict):
            self._wrong(f"'{key}' is {{path, view}}, not {_shown(item)}")
            return None
        self._keys(item, ("path", "view"), f"{key}.")
        name, view = item.get("path"), item.get("view") or "Unknown"
        if not isinstance(name, str) or not name.strip():
            self._wrong(f"'{key}' has no path")
            return None
        if not isinstance(view, str) or view.lower() not in VIEWS:
            known = ", ".join(reversed(VIEWS.values()))
            self._wrong(f"'{key}.view' is one of {known}, not {_shown(view)}")
            return None
        if not os.path.isfile(self.folder / name):
            self._wrong(f"no image file {self.folder / name}")
            return None
        return Image(name, VIEWS[view.lower()], self.folder / name)

    def _prior(self, value: Any) -> Prior | None:
        if value is None:
            return None
        if not isinstance(value, dict):
            self._wrong(f"'prior' is {{images, report}}, not {_shown(value)}")
            return None
        self._keys(value, ("images", "report"), "prior.")
        prior = Prior(
            self._images(value.get("images"), "prior.images"), self._report(value.get("report"))
        )
        return prior if prior.images or prior.report else None

    def _report(self, value: Any) -> Report | None:
        if value is None or isinstance(value, str):
            return None if value is None else Report(findings=value)
        if not isinstance(value, dict):
            self._wrong(f"'prior.report' is text or {{findings, impression}}, not {_shown(value)}")
            return None
        self._keys(value, ("findings", "impression"), "prior.report.")
        return Report(
            self._text(value, "findings", "prior.report."),
            self._text(value, "impression", "prior.report."),
        )


def _writable(row: Json) -> bool:
    """Return whether it can be written as UTF-8: \\ud800 alone is valid JSON but no character."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    """Return a short form of a value. Long texts are not quoted: they may be about a patient."""
    if isinstance(value, bool | int | float):
        return str(value)[:20]
    if isinstance(value, str):
        return repr(value) if len(value) <= 20 else "a longer text"
    return {type(None): "null", dict: "an object", list: "a list"}.get(type(value), "that")
