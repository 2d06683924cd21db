"""Answers a user's own requests with one model, without a dataset (`reportcard generate`).

The answers go to one file. generated_files.py describes it and the files beside it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

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
    jsonl,
    read_jsonl,
    write_atomic,
    write_json,
)
from reportcard.core.progress import track
from reportcard.data.masks import Marking
from reportcard.data.requests_file import digest_of, read_requests
from reportcard.llm.custody import custody_of
from reportcard.predict.engines.engine import open_engine
from reportcard.predict.engines.job import ModelJob
from reportcard.predict.generated_files import (
    AnswersKey,
    Place,
    begin_or_resume,
    finished,
    has_answers,
)
from reportcard.predict.predictions_file import answer_key, count_status, line_key, to_json
from reportcard.predict.system import System, answer_all, missing, open_model

Say = Callable[[str], None]


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
                begin_or_resume(place, key)
                try:
                    custody = custody_of(DatasetCard(requests.name, data_class, dua_id), track, say)
                    _answer(config, system, todo, place, token_ids, custody)
                except BaseException:
                    if not has_answers(place):
                        shutil.rmtree(place.partial)
                    raise
                counts = _finish(place, key, system, todo)
            shutil.rmtree(place.partial)
        say(f"{out}: {_in_words(counts)}")
    else:
        say(f"{out} is up to date: {_in_words(counts)}")
    return 2 if counts.get("failed") == len(todo) else 0


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
