"""Answers a user's own requests with one model, without a dataset (`reportcard generate`).

OUT.partial/      key.json (which requests, model and options) and the answers so far
OUT.card.json     the key, the run card and the sha256 of OUT; written just before OUT
OUT               one line per study and draw, in the order of the requests

A command continues or accepts files under these names only when they were made from the same
requests, model and options. It raises an error for any other files and does not touch them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from reportcard.api import (
    Custody,
    DataClass,
    DatasetCard,
    Json,
    Prediction,
    ReportCardError,
    Request,
)
from reportcard.config.settings import Plugin, RunConfig
from reportcard.core.environment import environment
from reportcard.core.files import (
    JsonlLog,
    RunLock,
    file_digest,
    jsonl,
    make_private,
    read_json,
    read_jsonl,
    write_atomic,
    write_json,
)
from reportcard.core.layout import PredictionFolder
from reportcard.core.progress import track
from reportcard.data.masks import Marking
from reportcard.data.requests_file import digest_of, read_requests
from reportcard.llm.custody import custody_of
from reportcard.predict.engines.engine import open_engine
from reportcard.predict.engines.job import ModelJob
from reportcard.predict.predictions_file import answer_key, count_status, line_key, to_json
from reportcard.predict.system import System, answer_all, missing, open_model

Say = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """The three paths to which one command writes."""

    out: Path
    private: bool

    @property
    def partial(self) -> Path:
        return self.out.with_name(f"{self.out.name}.partial")

    @property
    def log(self) -> Path:
        """The answers so far, in the order of batches."""
        return PredictionFolder(self.partial).log

    @property
    def key(self) -> Path:
        return self.partial / "key.json"

    @property
    def card(self) -> Path:
        return self.out.with_name(f"{self.out.name}.card.json")

    @property
    def mode(self) -> int:
        return 0o600 if self.private else 0o644


@dataclass(frozen=True)
class AnswersKey:
    """What the answers of one command depend on. `model` is a label, which may change."""

    requests: str | None
    model: str | None
    fingerprint: str | None
    token_ids: bool | None
    data_class: str | None

    @classmethod
    def of_json(cls, saved: Any) -> AnswersKey:
        """Read a stored key; a field that it lacks is None, which equals no field of a real one."""
        known = saved if isinstance(saved, dict) else {}
        return cls(**{name: known.get(name) for name in cls.__dataclass_fields__})

    def check_same(self, path: Path, before: AnswersKey, advice: str) -> None:
        """Raise ReportCardError when the answers at `path` were made with another key."""
        other = (
            "with other weights, options or code"
            if before.model == self.model
            else f"and not {self.model}"
        )
        # A label only names the model in tables, so it is not compared.
        found = [
            (before.requests == self.requests, "other requests"),
            (before.fingerprint == self.fingerprint, f"the model {before.model}, {other}"),
            (
                before.token_ids == self.token_ids,
                f"token ids {'left out' if self.token_ids else 'included'}",
            ),
            (before.data_class == self.data_class, f"--data-class {before.data_class}"),
        ]
        differs = [what for same, what in found if not same]
        if differs:
            raise ReportCardError(f"{path} has the answers of: {'; '.join(differs)}. {advice}")


@dataclass(frozen=True)
class AnswersCard:
    """The parts of OUT.card.json that a later command reads."""

    key: AnswersKey
    predictions_sha256: str | None
    status: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> AnswersCard:
        saved = read_json(path)
        return cls(
            AnswersKey.of_json(saved.get("key")),
            saved.get("predictions_sha256"),
            saved.get("status", {}),
        )


def generate_file(
    config: RunConfig,
    requests: Path,
    out: Path,
    token_ids: bool,
    data_class: DataClass,
    dua_id: str | None,
    say: Say,
) -> int:
    """Answer every request of a file. A failed study is a line with status "failed".

    Args:
        config: which model, marks, engine and limit.
        requests: the file of requests (data/requests_file.py).
        out: where the answers are written.
        token_ids: whether each line includes the generated token ids.
        data_class: who may see the requests; files of data that is not open are private.
        dua_id: the data use agreement of the requests, if there is one.
        say: prints one line to the user.

    Returns 0, or 2 when no study could be answered.
    Raises ReportCardError before anything is loaded: for a bad file, for a model that cannot run
    here or needs more than requests, and for an `out` that holds something else.
    """
    plugin = _only(config)
    asked = read_requests(requests)[: config.limit]
    marking = Marking.of(config.marks, asked) if config.marks else None
    system = open_model(plugin, marking=marking)
    _check_can_answer(system, asked, config.marks is not None)
    card = system.adapter.card
    shown = [system.marking.request(r) for r in asked] if system.marking else asked
    todo = [replace(r, draw=draw) for draw in range(card.draws) for r in shown]
    place = Place(out, data_class != "open")
    key = AnswersKey(
        requests=digest_of(asked),
        model=system.label,
        fingerprint=system.fingerprint,
        token_ids=token_ids,
        data_class=data_class,
    )
    if (counts := finished(place, key)) is None:
        place.out.parent.mkdir(parents=True, exist_ok=True)
        with RunLock(place.partial, "--out"):
            counts = finished(place, key)  # it may have been finished before we had the lock
            if counts is None:
                _continue(place, key)
                try:
                    custody = custody_of(DatasetCard(requests.name, data_class, dua_id), track, say)
                    _answer(config, system, todo, place, token_ids, custody)
                except BaseException:
                    if not _begun(place):
                        shutil.rmtree(place.partial)
                    raise
                counts = _finish(place, key, system, todo)
            shutil.rmtree(place.partial)
        say(f"{out}: {_in_words(counts)}")
    else:
        say(f"{out} is up to date: {_in_words(counts)}")
    return 2 if counts.get("failed") == len(todo) else 0


def finished(place: Place, key: AnswersKey) -> Mapping[str, int] | None:
    """Return the answers by status if `out` is complete, or None if it does not exist.

    Raises ReportCardError when `out` holds something else, or answers of another key.
    """
    if not place.out.exists():
        return None
    move = "Move it away, or give another --out."
    if place.out.is_dir():
        raise ReportCardError(f"{place.out} is a folder; --out names a file.")
    if not place.card.is_file():
        raise ReportCardError(f"{place.out} exists and was not written by generate. {move}")
    card = AnswersCard.read(place.card)
    if card.predictions_sha256 != file_digest(place.out):
        raise ReportCardError(f"{place.out} was changed since generate wrote it. {move}")
    key.check_same(place.out, card.key, move)
    return card.status


def _continue(place: Place, key: AnswersKey) -> None:
    """Write key.json into OUT.partial. Raises ReportCardError when it has another key."""
    if place.key.is_file():
        move = f"Delete {place.partial} to start again, or give another --out."
        key.check_same(place.partial, AnswersKey.of_json(read_json(place.key)), move)
    write_json(place.key, asdict(key), place.mode)
    if place.private:
        make_private(place.partial)


def _begun(place: Place) -> bool:
    """Return whether any answer is stored."""
    return place.log.is_file() and place.log.stat().st_size > 0


def _only(config: RunConfig) -> Plugin:
    """Return the one model of the configuration. Raises ReportCardError for none or several."""
    if not config.models_named or len(config.models) != 1:
        named = [model.label for model in config.models] if config.models_named else []
        there = f", not {len(named)}: {', '.join(named)}" if named else ": model=NAME"
        raise ReportCardError(f"generate takes exactly one model{there}.")
    return config.models[0]


def _check_can_answer(system: System, requests: Sequence[Request], marks: bool) -> None:
    """Raise ReportCardError with every reason why this model cannot answer requests alone."""
    card, found = system.adapter.card, []
    if reason := missing(system.adapter):
        found.append(reason)
    if card.needs_train:
        found.append("it is fitted on a train part, and requests have none (reportcard run)")
    if card.sees_references:
        found.append("it answers with references, and requests have none (reportcard run)")
    if marks and not system.marking:
        found.append("it sees no pixels, so it cannot be shown marks: leave marks=… out")
    if system.marking and (reason := system.marking.missing()):
        found.append(reason)
    if card.needs_pixels and not any(request.images for request in requests):
        found.append("it needs images, and no request has one")
    if found:
        raise ReportCardError(f"{system.label}: " + "; ".join(found))


def _answer(
    config: RunConfig,
    system: System,
    todo: Sequence[Request],
    place: Place,
    token_ids: bool,
    custody: Custody,
) -> None:
    engine = open_engine(config.engine)
    try:
        answer_all(
            engine,
            ModelJob(system.adapter, todo, custody=custody, quote_errors=not place.private),
            JsonlLog(place.log),
            partial(line_of, token_ids=token_ids),
            partial(track, label=system.label),
            config.engine.batch_size,
        )
    finally:
        engine.close()


def line_of(prediction: Prediction, token_ids: bool) -> Json:
    """Return a line of OUT. Unlike in predictions.jsonl, absent texts are written as null."""
    ids = prediction.token_ids
    return {
        **dict.fromkeys(("findings", "impression")),
        "phrases": [],
        **to_json(prediction),
        "raw": prediction.raw,
        **({"token_ids": None if ids is None else list(ids)} if token_ids else {}),
    }


def _finish(
    place: Place, key: AnswersKey, system: System, todo: Sequence[Request]
) -> Mapping[str, int]:
    """Write OUT.card.json and OUT. Returns the answers by status."""
    rows = {line_key(row): row for _, row in read_jsonl(place.log)}
    ordered = [rows[answer_key(request)] for request in todo]
    content, status = jsonl(ordered), count_status(ordered)
    card = {
        "key": asdict(key),
        "plugin": system.plugin.plugin,
        "options": dict(system.plugin.options),
        "card": asdict(system.adapter.card),
        **({"marks": system.marking.identity} if system.marking else {}),
        "environment": environment(),
        "status": status,
        "predictions_sha256": sha256(content).hexdigest(),
    }
    write_json(place.card, card, place.mode)
    write_atomic(place.out, content, place.mode)
    return status


def _in_words(counts: Mapping[str, int]) -> str:
    """Return '12 answers: 11 ok, 1 failed'."""
    kinds = (f"{n:,} {kind}" for kind, n in sorted(counts.items()))
    return f"{sum(counts.values()):,} answers: {', '.join(kinds)}"
