"""What a plugin declares about itself, as frozen classes: of a model, a dataset, a metric.

`Custody` is the counterpart: it tells a plugin whose text it is about to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Direction = Literal["higher", "lower"]
MetricGroup = Literal["lexical", "clinical", "judged", "grounding", "other"]
Kind = Literal["model", "floor", "ceiling"]
DataClass = Literal["open", "registered", "credentialed"]
# Wraps batches to show progress: (batches, number of items, label) → the same batches.
Progress = Callable[[Iterable[list[Any]], int, str], Iterable[list[Any]]]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a reader must know about a model before reading its scores.

    kind              floor or ceiling for baselines that bound the scale; model otherwise
    inputs            names of the inputs that it can use: images, indication, prior_report, …
    weights           where its weights come from; None: it has none
    revision          the commit of the weights
    trained_on        names of the datasets that it was trained on
    needs_train       the harness calls fit(train studies) before generate
    sees_references   the harness calls see_references(test studies): ceilings and controls only
    needs_pixels      it cannot run on a cohort without images
    draws             generations per study; scores are means over draws
    """

    description: str
    kind: Kind = "model"
    inputs: tuple[str, ...] = ()
    weights: str | None = None
    revision: str | None = None
    licence: str | None = None
    trained_on: tuple[str, ...] = ()
    url: str | None = None
    needs_train: bool = False
    sees_references: bool = False
    needs_pixels: bool = False
    draws: int = 1


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """Where a dataset comes from and who may see it.

    data_class   open, registered or credentialed; data of unknown class counts as credentialed
    dua_id       the name of its data use agreement
    caveat       what a reader must know about every score against its references; shown with each
    """

    title: str
    data_class: DataClass = "credentialed"
    dua_id: str | None = None
    licence: str | None = None
    url: str | None = None
    caveat: str | None = None


@dataclass(frozen=True, slots=True)
class Custody:
    """Whose text a plugin is about to read, and where it may keep what it derives from it.

    data        the card of the dataset
    cache_dir   a private folder; for data that is not open, one per data use agreement
    progress    wraps batches to show progress
    say         prints one line to the user
    """

    data: DatasetCard
    cache_dir: Path
    progress: Progress
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Key:
    """How to read one score: which direction is better, its range (None: open), and its unit."""

    direction: Direction = "higher"
    low: float | None = 0.0
    high: float | None = 1.0
    unit: str = "fraction"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """What a metric computes.

    version        raised whenever a score changes
    keys           the scores that it returns
    signature      the variant in the field's own terms
    annotators     names of the annotators whose notes it reads
    headline       keys shown in tables, the most important first; the others are in files and
                   details. Empty: all are shown, and the last counts most (BLEU-4, ROUGE-L).
    whole_corpus   a row depends on the other pairs, so `rows` must get all pairs at once
    boxes          it reads boxes and no text, so it does not apply to cohorts or runs without
                   boxes
    group          where the leaderboard and MLflow show it: it compares words (lexical), findings
                   (clinical) or boxes (grounding), or asks a judge (judged)
    """

    version: str
    keys: Mapping[str, Key]
    signature: str
    annotators: tuple[str, ...] = ()
    headline: tuple[str, ...] = ()
    whole_corpus: bool = False
    boxes: bool = False
    group: MetricGroup = "other"
