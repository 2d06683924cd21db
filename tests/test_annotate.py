"""The annotate stage: each text is read once, ever; a damaged cache is a sentence or a miss."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from reportcard.annotate import CHUNK, Cache, attach_notes, note_key
from reportcard.api import Json, Pair, ReportCardError
from reportcard.core.progress import quiet


class Counter:
    """An annotator that notes the length of a text and remembers what it was asked."""

    id = "counter"
    scope = "text"

    def __init__(self, version: str = "1", weights: str | None = "a" * 64) -> None:
        self.version, self.weights = version, weights
        self.asked: list[str] = []
        self.closed = 0

    def missing(self) -> str | None:
        return None

    def annotate(self, items: Sequence[Any]) -> list[Json | None]:
        self.asked += items
        return [None if item == "unreadable" else {"length": len(item)} for item in items]

    def close(self) -> None:
        self.closed += 1


def pairs(*texts: tuple[str, str]) -> list[list[Pair]]:
    return [[Pair(str(i), c, r) for i, (c, r) in enumerate(texts)]]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "notes.sqlite")


def test_a_second_model_pays_for_its_own_new_texts_only(cache: Cache) -> None:
    first, second = Counter(), Counter()
    noted = attach_notes(
        [first], pairs(("a", "ref 1"), ("b", "ref 2"), ("a", "ref 1")), cache, quiet
    )
    assert sorted(first.asked) == ["a", "b", "ref 1", "ref 2"]
    assert noted[0][0].notes["counter"] == ({"length": 1}, {"length": 5})
    attach_notes([second], pairs(("c", "ref 1"), ("a", "ref 2")), cache, quiet)
    assert second.asked == ["c"]
    assert (first.closed, second.closed) == (1, 1)


def test_other_weights_or_version_are_other_notes(cache: Cache) -> None:
    attach_notes([Counter()], pairs(("a", "b")), cache, quiet)
    for other in (Counter(version="2"), Counter(weights="b" * 64), Counter(weights=None)):
        attach_notes([other], pairs(("a", "b")), cache, quiet)
        assert sorted(other.asked) == ["a", "b"]
    assert note_key(Counter(), "a") != note_key(Counter(), ("a",))  # type: ignore[arg-type]


def test_an_unreadable_text_is_tried_again(cache: Cache) -> None:
    first, again = Counter(), Counter()
    noted = attach_notes([first], pairs(("unreadable", "b")), cache, quiet)
    assert noted[0][0].notes["counter"] == (None, {"length": 1})
    attach_notes([again], pairs(("unreadable", "b")), cache, quiet)
    assert again.asked == ["unreadable"]


def test_a_crash_keeps_the_chunks_before_it(cache: Cache) -> None:
    class Crashing(Counter):
        def annotate(self, items: Sequence[Any]) -> list[Json | None]:
            if self.asked:
                raise KeyboardInterrupt
            return super().annotate(items)

    texts = [(f"text {i:05}", "reference") for i in range(CHUNK + 50)]
    crashing, after = Crashing(), Counter()
    with pytest.raises(KeyboardInterrupt):
        attach_notes([crashing], pairs(*texts), cache, quiet)
    attach_notes([after], pairs(*texts), cache, quiet)
    assert len(crashing.asked) == CHUNK
    assert len(after.asked) == 51
    assert crashing.closed == 1


def test_a_note_too_few_is_an_error(cache: Cache) -> None:
    class Short(Counter):
        def annotate(self, items: Sequence[Any]) -> list[Json | None]:
            return super().annotate(items)[1:]

    with pytest.raises(ReportCardError, match="1 notes for 2 items"):
        attach_notes([Short()], pairs(("a", "b")), cache, quiet)


def test_damaged_notes_are_misses_and_a_damaged_file_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite"
    cache = Cache(path)
    attach_notes([Counter()], pairs(("a", "b")), cache, quiet)
    cache.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE notes SET note = x'00112233'")
    again = Counter()
    attach_notes([again], pairs(("a", "b")), Cache(path), quiet)
    assert sorted(again.asked) == ["a", "b"]
    path.write_bytes(b"<html>" * 1000)
    with pytest.raises(ReportCardError, match="It is a cache: delete it"):
        Cache(path)


def test_the_cache_is_for_its_owner_only(tmp_path: Path) -> None:
    Cache(tmp_path / "deep" / "notes.sqlite")
    assert (tmp_path / "deep" / "notes.sqlite").stat().st_mode & 0o077 == 0
