"""The files of `reportcard generate`, and whether they belong to the same command.

OUT.partial/      key.json (which requests, model and options) and the answers so far
OUT.card.json     the key, the run card and the sha256 of OUT; written just before OUT
OUT               one line per study and draw, in the order of the requests

A command continues or accepts files under these names only when they were made from the same
requests, model and options. It raises an error for any other files and does not touch them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reportcard.api import ReportCardError
from reportcard.core.files import file_digest, make_private, read_json, write_json
from reportcard.core.layout import PredictionFolder


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


def begin_or_resume(place: Place, key: AnswersKey) -> None:
    """Write key.json into OUT.partial. Raises ReportCardError when it has another key."""
    if place.key.is_file():
        move = f"Delete {place.partial} to start again, or give another --out."
        key.check_same(place.partial, AnswersKey.of_json(read_json(place.key)), move)
    write_json(place.key, asdict(key), place.mode)
    if place.private:
        make_private(place.partial)


def has_answers(place: Place) -> bool:
    """Return whether any answer is stored."""
    return place.log.is_file() and place.log.stat().st_size > 0
