"""Stage 3: annotators read each different text once, and their notes are cached by content.

The key of a note is a digest of annotator id, version, weights and text. So a new checkpoint or a
new version of the code misses the cache by construction, and two models, metrics or runs that hold
the same text share one note.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reportcard.api import (
    Annotator,
    Json,
    JudgedAnnotator,
    Pair,
    Progress,
    ReportCardError,
)
from reportcard.core.files import canonical
from reportcard.predict.engines.engine import Engine
from reportcard.predict.engines.local import LocalEngine

CHUNK = 1024  # items per call; a killed process loses at most this many notes


class Cache:
    """Notes by content in one SQLite file, which only its owner can read: it may hold report text.

    Raises ReportCardError when the file cannot be opened, read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path, fresh = path, not path.exists()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(path, timeout=60)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("CREATE TABLE IF NOT EXISTS notes (key BLOB PRIMARY KEY, note BLOB)")
        except (sqlite3.DatabaseError, OSError) as error:
            raise self._broken(error) from None
        if fresh:
            path.chmod(0o600)

    def _broken(self, error: Exception) -> ReportCardError:
        return ReportCardError(f"{self.path}: {error}. It is a cache: delete it.")

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Json | None]:
        """Return the notes that are there. One that cannot be read counts as absent."""
        try:
            return self._get(keys)
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from None

    def _get(self, keys: Sequence[bytes]) -> dict[bytes, Json | None]:
        found: dict[bytes, Json | None] = {}
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, note FROM notes WHERE key IN ({marks})"  # noqa: S608 (marks only)
            for key, note in self._db.execute(query, part):
                with contextlib.suppress(zlib.error, ValueError):
                    found[key] = json.loads(zlib.decompress(note))
        return found

    def put(self, notes: Iterable[tuple[bytes, Json]]) -> None:
        """Write notes in one transaction."""
        try:
            with self._db:
                self._db.executemany(
                    "INSERT OR REPLACE INTO notes VALUES (?, ?)",
                    ((key, zlib.compress(canonical(note).encode(), 1)) for key, note in notes),
                )
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from None

    def close(self) -> None:
        self._db.close()


def note_key(annotator: Annotator, item: Any) -> bytes:
    """Return the digest of everything that decides a note."""
    parts = [annotator.id, annotator.version, annotator.weights, item]
    return hashlib.sha256(canonical(parts).encode("utf-8", "surrogatepass")).digest()


def annotate(
    annotator: Annotator,
    items: Iterable[Any],
    cache: Cache | None,
    progress: Progress,
    engine: Engine | None = None,
) -> dict[Any, Json | None]:
    """Return a note per unique item; only those that the cache does not hold are computed.

    An unscored item (no note, or a reason in its place) is not cached, so the next run tries again.

    Args:
        annotator: reads the items.
        items: texts, or (candidate, reference), as the annotator's scope says.
        cache: holds notes; None for a judge, which keeps its own verdicts.
        progress: shows progress.
        engine: where the annotator runs; None: in this process.
    """
    unique = list(dict.fromkeys(items))
    if isinstance(annotator, JudgedAnnotator):
        return dict(zip(unique, annotator.annotate(unique), strict=True))
    assert cache is not None  # needs_cache() is true of this annotator
    keys = {item: note_key(annotator, item) for item in unique}
    cached = cache.get(list(keys.values()))
    notes = {item: cached[key] for item, key in keys.items() if key in cached}
    new = sorted((i for i in unique if i not in notes), key=len_of)

    def work() -> Iterable[list[Any]]:
        parts = [new[start : start + CHUNK] for start in range(0, len(new), CHUNK)]
        for part, made in (engine or LocalEngine()).annotate(annotator, parts):
            if len(made) != len(part):
                raise ReportCardError(
                    f"annotator {annotator.id} gave {len(made)} notes for {len(part)} items."
                )
            scored = [(i, n) for i, n in zip(part, made, strict=True) if not _unscored(n)]
            cache.put((keys[i], n) for i, n in scored if n is not None)
            notes.update(zip(part, made, strict=True))
            yield list(part)

    if new:
        for _ in progress(work(), len(new), annotator.id):
            pass
    return notes


def _unscored(note: Json | None) -> bool:
    return note is None or "unscored" in note


def len_of(item: Any) -> int:
    """Return the length that items are sorted by, so that batches need little padding."""
    return len(item) if isinstance(item, str) else sum(len(part) for part in item)


def items_of(annotator: Annotator, pairs: Iterable[Pair]) -> Iterator[Any]:
    """Yield what an annotator reads of pairs: each text, or each (candidate, reference)."""
    for pair in pairs:
        if annotator.scope == "text":
            yield pair.candidate
            yield pair.reference
        else:
            yield item_of(annotator, pair)


def item_of(annotator: Annotator, pair: Pair) -> tuple[Any, Any]:
    """Return (candidate, reference) as the annotator reads them: phrases where grounded."""
    if annotator.scope == "pair":
        return pair.candidate, pair.reference
    grounded = (pair.candidate_phrases, pair.reference_phrases)
    texts = (pair.candidate, pair.reference)
    candidate, reference = (
        text if phrases is None else tuple(phrase.text for phrase in phrases)
        for phrases, text in zip(grounded, texts, strict=True)
    )
    return candidate, reference


def needs_cache(annotators: Iterable[Annotator]) -> bool:
    """Whether an annotator is not a judge: judges keep their verdicts themselves."""
    return not all(isinstance(annotator, JudgedAnnotator) for annotator in annotators)


def attach_notes(
    annotators: Sequence[Annotator],
    draws: Sequence[Sequence[Pair]],
    cache: Cache | None,
    progress: Progress,
    known: Mapping[str, Mapping[Any, Json | None]] = MappingProxyType({}),
) -> list[list[Pair]]:
    """Return the same pairs with notes; only one annotator is in memory at a time.

    Args:
        annotators: what reads the pairs.
        draws: pairs, draw by draw.
        cache: holds notes; None where all annotators are judges.
        progress: shows progress.
        known: annotator id → notes that were made a moment ago. An annotator is not loaded where
            there is one for every item.

    Raises ReportCardError when an annotator's weights turn out to be unusable.
    """
    result = [list(pairs) for pairs in draws]
    for annotator in annotators:
        every = [pair for pairs in result for pair in pairs]
        notes: Mapping[Any, Json | None] = known.get(annotator.id, {})
        if any(item not in notes for item in items_of(annotator, every)):
            notes = annotate_pairs(annotator, every, cache, progress)
        for pairs in result:
            for i, pair in enumerate(pairs):
                if annotator.scope == "text":
                    found = (notes[pair.candidate], notes[pair.reference])
                else:
                    found = (notes[item_of(annotator, pair)], None)
                pairs[i] = replace(pair, notes={**pair.notes, annotator.id: found})
    return result


def annotate_pairs(
    annotator: Annotator,
    pairs: Iterable[Pair],
    cache: Cache | None,
    progress: Progress,
    engine: Engine | None = None,
) -> dict[Any, Json | None]:
    """Return the notes of all the pairs, made where needed, and free the annotator's memory.

    Args and result as those of `annotate`.
    """
    try:
        return annotate(annotator, items_of(annotator, pairs), cache, progress, engine)
    finally:
        annotator.close()
