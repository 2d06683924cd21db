"""Checks error counts of several raters for the same pairs and puts them into arrays.

A cell can hold report text when the columns of a file are shifted, so no error quotes a cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from reportcard.api import Array, DatasetCard, ReportCardError
from reportcard.core.user_files import Record
from reportcard.score.stats.resampling import Clusters, clusters_of


@dataclass(frozen=True)
class RatedTexts:
    """A candidate, its reference, and the study that the pair belongs to."""

    study: str
    candidate: str
    reference: str


@dataclass(frozen=True)
class Ratings:
    """n pairs, and the errors that each of m raters counted in them.

    texts               (n,); pairs of one study share a reference and are resampled together
    significant, total  (n, m) errors per pair and rater, summed over the categories
    consensus           the raters agreed on one count: m = 1, and no rater can be left out
    notes               what was assumed or left out, shown below the tables
    """

    name: str
    card: DatasetCard
    ids: tuple[str, ...]
    texts: tuple[RatedTexts, ...]
    raters: tuple[str, ...]
    significant: Array
    total: Array
    consensus: bool = False
    notes: tuple[str, ...] = ()

    @property
    def clusters(self) -> Clusters | None:
        return clusters_of([text.study for text in self.texts])

    @property
    def targets(self) -> dict[str, Array]:
        return {"total": self.total, "significant": self.significant}


@dataclass
class Tally:
    """Collects counts while a file is read: one per (pair, rater, category, significance)."""

    categories: Sequence[str]
    counts: dict[tuple[str, str, str, bool], int] = field(default_factory=dict)
    places: dict[tuple[str, str, str, bool], str] = field(default_factory=dict)

    def add(
        self, where: str, pair: str, rater: str, category: str, significant: bool, count: int
    ) -> None:
        """Add one count. Raises ReportCardError where the same cell was already counted.

        Args:
            where: file and line, for the error.
            pair: id of the pair.
            rater: who counted.
            category: of the error.
            significant: whether these are clinically significant errors.
            count: how many.
        """
        cell = (pair, rater, category, significant)
        if cell in self.counts:
            raise ReportCardError(
                f"{where}: pair {pair}, rater {rater}, category {category} was already counted"
                f" with the same significance ({self.places[cell]})."
            )
        self.counts[cell], self.places[cell] = count, where

    def ratings(
        self,
        name: str,
        card: DatasetCard,
        texts: Mapping[str, RatedTexts],
        notes: Sequence[str],
        consensus: bool = False,
    ) -> Ratings:
        """Return the pairs that every rater counted completely.

        The others are left out, and a note says so. A missing line does not mean zero, since the
        published files write their zeros.

        Args:
            name: the data set.
            card: its card.
            texts: the texts of every pair.
            notes: what the reader of the files noted.
            consensus: whether the raters gave one count together.
        """
        raters = sorted({rater for _, rater, _, _ in self.counts}, key=lambda r: (len(r), r))
        shape = (len(raters), len(self.categories), 2)
        table = np.full((len(texts), *shape), np.nan)
        rows = {pair: i for i, pair in enumerate(texts)}
        for (pair, rater, category, significant), count in self.counts.items():
            place = (raters.index(rater), self.categories.index(category), int(significant))
            table[rows[pair]][place] = count
        gaps = np.isnan(table).any(axis=(2, 3))  # (n, m)
        kept = [pair for pair, i in rows.items() if not gaps[i].any()]
        if not kept:
            raise ReportCardError(
                f"{name}: no pair has a count of every category, significant and not, by each of"
                f" the raters {', '.join(raters)}; zeros must be written out."
            )
        if left := [pair for pair in rows if pair not in set(kept)]:
            first = raters[int(np.argmax(gaps[rows[left[0]]]))]
            note = f"{len(left)} pairs left out: a rater's counts are incomplete"
            notes = [*notes, f"{note} (first: pair {left[0]}, rater {first})"]
        counts = table[[rows[pair] for pair in kept]].sum(axis=2)  # (n, m, significance)
        return Ratings(
            name,
            card,
            tuple(kept),
            tuple(texts[pair] for pair in kept),
            tuple(raters),
            counts[..., 1],
            counts.sum(axis=-1),
            consensus,
            tuple(notes),
        )


def check_columns(record: Record, needed: Sequence[str]) -> None:
    """Raise ReportCardError with the columns that the file lacks."""
    missing = [name for name in needed if name not in record.row]
    if missing:
        raise ReportCardError(
            f"{record.where.rsplit(':', 1)[0]}: no column {', '.join(missing)};"
            f" needed: {', '.join(needed)}."
        )


def text_of(record: Record, column: str) -> str:
    """Return a cell's text. Raises ReportCardError where it is blank."""
    text = record.text(column).strip()
    if not text:
        raise ReportCardError(f"{record.where}: '{column}' is blank.")
    return text


def whole_number(record: Record, column: str, blank: int | None = None) -> int:
    """Return a cell's whole number ≥ 0; `blank` is what a blank cell means (None: an error)."""
    text = record.text(column).strip()
    if not text and blank is not None:
        return blank
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value.is_integer() or value < 0:
        raise ReportCardError(f"{record.where}: '{column}' must be a whole number ≥ 0.")
    return int(value)
