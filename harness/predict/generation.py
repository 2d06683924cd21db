"""`reportcard generate`: one model on a user's own requests, resumable, no dataset needed.

OUT.partial/      key.json (whose answers these are) and the answers so far, in the order of batches
OUT.card.json     the key, the run card and the sha256 of OUT; written just before it
OUT               one line per study and draw, in the order of the requests

What is there already is continued, or found complete, only where requests, model and options are
the same; anything else under these names is left alone and refused.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
from reportcard.core.progress import track
from reportcard.data.masks import Marking
from reportcard.data.requests_file import digest_of, read_requests
from reportcard.llm.custody import custody_of
from reportcard.predict.engines.job import ModelJob
from reportcard.predict.engines.open_engine import open_engine
from reportcard.predict.loop import answer_all, missing
from reportcard.predict.predictions_file import to_json
from reportcard.predict.system import System, open_model

Say = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """The three names under which one command's answers lie."""

    out: Path
    private: bool

    @property
    def partial(self) -> Path:
        return self.out.with_name(f"{self.out.name}.partial")

    @property
    def card(self) -> Path:
        return self.out.with_name(f"{self.out.name}.card.json")

    @property
    def mode(self) -> int:
        return 0o600 if self.private else 0o644


def generate_file(
    config: RunConfig,
    requests: Path,
    out: Path,
    token_ids: bool,
    data_class: DataClass,
    dua_id: str | None,
    say: Say,
) -> int:
    """Answer every request of a file. Returns 0, or 2 when no study could be answered.

    A failed study is a line with status "failed" and its reason. Raises ReportCardError before
    anything is loaded for a bad file, for a model that cannot run here or not on requests alone,
    and for an `out` that holds something else.
    """
    plugin = _only(config)
    asked = read_requests(requests)[: config.limit]
    marking = Marking.of(config.marks, asked) if config.marks else None
    system = open_model(plugin, marking=marking)
    _refuse(system, asked, config.marks is not None)
    card = system.adapter.card
    shown = [system.marking.request(r) for r in asked] if system.marking else asked
    todo = [replace(r, draw=draw) for draw in range(card.draws) for r in shown]
    place = Place(out, data_class != "open")
    key = {
        "requests": digest_of(asked),
        "model": system.label,
        "fingerprint": system.fingerprint,
        "token_ids": token_ids,
        "data_class": data_class,
    }
    if (counts := finished(place, key)) is None:
        place.out.parent.mkdir(parents=True, exist_ok=True)
        with RunLock(place.partial, "--out"):
            counts = finished(place, key)  # another process may have ended in between
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


def finished(place: Place, key: Json) -> Mapping[str, int] | None:
    """Answers by status if `out` is complete and of this key; None: it is not there.

    Raises ReportCardError when something else lies there.
    """
    if not place.out.exists():
        return None
    move = "Move it away, or give another --out."
    if place.out.is_dir():
        raise ReportCardError(f"{place.out} is a folder; --out names a file.")
    if not place.card.is_file():
        raise ReportCardError(f"{place.out} is there and was not written by generate. {move}")
    card = read_json(place.card)
    if card.get("predictions_sha256") != file_digest(place.out):
        raise ReportCardError(f"{place.out} was changed since generate wrote it. {move}")
    _same(place.out, card.get("key"), key, move)
    status: Mapping[str, int] = card["status"]
    return status


def _continue(place: Place, key: Json) -> None:
    """Mark an unfinished run as this one's. Raises ReportCardError when it is another's."""
    path = place.partial / "key.json"
    if path.is_file():
        move = f"Delete {place.partial} to begin anew, or give another --out."
        _same(place.partial, read_json(path), key, move)
    write_json(path, key, place.mode)
    if place.private:
        make_private(place.partial)


def _begun(place: Place) -> bool:
    log = place.partial / "predictions.jsonl"
    return log.is_file() and log.stat().st_size > 0


def _same(path: Path, before: Any, now: Json, advice: str) -> None:
    before = before if isinstance(before, dict) else {}
    was, name = before.get("model"), now["model"]
    other = "with other weights, options or code" if was == name else f"and not {name}"
    names = {
        "requests": "other requests",
        "fingerprint": f"the model {was}, {other}",
        "token_ids": f"token ids {'left out' if now['token_ids'] else 'included'}",
        "data_class": f"--data-class {before.get('data_class')}",
    }
    # A label is a name for tables: under another one the same model answers the same.
    differs = [said for key, said in names.items() if before.get(key) != now[key]]
    if differs:
        raise ReportCardError(f"{path} has the answers of: {'; '.join(differs)}. {advice}")


def _only(config: RunConfig) -> Plugin:
    if not config.models_named or len(config.models) != 1:
        named = [model.label for model in config.models] if config.models_named else []
        there = f", not {len(named)}: {', '.join(named)}" if named else ": model=NAME"
        raise ReportCardError(f"generate takes exactly one model{there}.")
    return config.models[0]


def _refuse(system: System, requests: Sequence[Request], marks: bool) -> None:
    """Every reason at once why this model cannot answer requests alone."""
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
            JsonlLog(place.partial / "predictions.jsonl"),
            partial(line_of, token_ids=token_ids),
            partial(track, label=system.label),
            config.engine.batch_size,
        )
    finally:
        engine.close()


def line_of(prediction: Prediction, token_ids: bool) -> Json:
    """What the user reads: report, raw text and phrases are always there, null where absent."""
    ids = prediction.token_ids
    return {
        **dict.fromkeys(("findings", "impression")),
        "phrases": [],
        **to_json(prediction),
        "raw": prediction.raw,
        **({"token_ids": None if ids is None else list(ids)} if token_ids else {}),
    }


def _finish(place: Place, key: Json, system: System, todo: Sequence[Request]) -> Mapping[str, int]:
    rows = {
        (row["study_id"], row["draw"]): row
        for _, row in read_jsonl(place.partial / "predictions.jsonl")
    }
    ordered = [rows[r.study_id, r.draw] for r in todo]
    content, status = jsonl(ordered), Counter(row["status"] for row in ordered)
    card = {
        "key": key,
        "plugin": system.plugin.plugin,
        "options": dict(system.plugin.options),
        "card": asdict(system.adapter.card),
        **({"marks": system.marking.identity} if system.marking else {}),
        "environment": environment(),
        "status": dict(sorted(status.items())),
        "predictions_sha256": sha256(content).hexdigest(),
    }
    write_json(place.card, card, place.mode)
    write_atomic(place.out, content, place.mode)
    return status


def _in_words(counts: Mapping[str, int]) -> str:
    """'12 answers: 11 ok, 1 failed'"""
    kinds: Iterable[str] = (f"{n:,} {kind}" for kind, n in sorted(counts.items()))
    return f"{sum(counts.values()):,} answers: {', '.join(kinds)}"
