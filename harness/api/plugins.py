"""The protocols of the four kinds of plugins: datasets, model adapters, annotators and metrics.

A class is a plugin when it has the methods of one of these protocols; it need not inherit from it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from reportcard.api.cards import Custody, DatasetCard, MetricSpec, ModelCard
from reportcard.api.study import Phrase, Prediction, Request, Selection, Study
from reportcard.core.errors import Json, ReportCardError

Array = npt.NDArray[np.float64]


class StopRunError(ReportCardError):
    """No further study can be answered now: an endpoint is down, or a budget is spent.

    The run stops and keeps its answers; the same command continues it later.

    answers: those answers of the current batch that were received.
    """

    def __init__(self, message: str, answers: Sequence[Prediction] = ()) -> None:
        super().__init__(message)
        self.answers = tuple(answers)


class Dataset(Protocol):
    """A source of studies, constructed with the options of its YAML file.

    One that reads files has an option `root`; one that draws its images (phantom) does not.
    """

    @property
    def card(self) -> DatasetCard: ...

    def missing(self) -> str | None:
        """Return None when the data is complete, else a sentence: what was expected where."""
        ...

    def select(self) -> Selection:
        """Apply the filters of the named cohort. The result must not depend on file order.

        Raises ReportCardError when the data is missing or damaged.
        """
        ...


class ModelAdapter(Protocol):
    """A model under test, constructed with the options of its YAML file as keyword arguments.

    If its card asks for it, the harness first calls `fit(train)` or `see_references(test)`.
    """

    @property
    def card(self) -> ModelCard: ...

    def generate(self, requests: Sequence[Request]) -> Sequence[Prediction]:
        """Answer one batch: one prediction per request, in order. Writes no files or caches.

        A batch that raises is asked again one study at a time; see also StopRunError.
        """
        ...

    # Optional attributes, looked up by name:
    #   missing() -> str | None     a sentence when it cannot run on this machine
    #   plan(requests)              called once before the first batch; may raise ReportCardError
    #   cost(request) -> tuple      requests of equal cost share a batch, the most expensive first
    #   batch_size                  replaces engine.batch_size
    #   identity                    a mapping with what determines the answers; replaces the
    #                               options in the fingerprint
    #   admit(custody)              called with the data's card before any request leaves this
    #                               machine; may raise ReportCardError
    #   resume(rows)                gets the stored lines of this run before the first batch
    #   independent = True          an answer does not depend on the other requests of its batch,
    #                               so that a resumed run asks only for missing answers
    #   shown(request) -> mapping   what it would send, for `reportcard prompt`: "prompt" and more
    #   close()                     called after the last batch
    # A model with weights extends reportcard.models.staged.StagedAdapter, which has them all.


@runtime_checkable
class FittedAdapter(Protocol):
    """A model that is fitted on the train part of the cohort (ModelCard.needs_train)."""

    def fit(self, train: Sequence[Study]) -> None: ...


@runtime_checkable
class ReferenceAdapter(Protocol):
    """A ceiling or control that reads the test references (ModelCard.sees_references)."""

    def see_references(self, test: Sequence[Study]) -> None: ...


class Annotator(Protocol):
    """An expensive reading that is done once and cached: entities of a text, a judge's verdict.

    `scope` says what it reads: a text ("text"), (candidate, reference) texts ("pair"), or two
    reports ("reports"), each a text, or a tuple of phrases if it is grounded.

    Notes are JSON objects, cached by (id, version, weights, item). `version` must be raised
    whenever a note changes. `weights` is the sha256 of learnt weights, or None. Heavy imports and
    loading happen in `annotate`. An item that cannot be read gets None, or a note with the reason
    under "unscored"; neither is cached. "again": true in it means that another run may succeed. A
    reason must not contain report text.
    """

    @property
    def id(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def scope(self) -> Literal["text", "pair", "reports"]: ...

    @property
    def weights(self) -> str | None: ...

    def missing(self) -> str | None:
        """Return None when it can run, else a sentence: what is missing, and what to do."""
        ...

    def annotate(self, items: Sequence[Any]) -> Sequence[Json | None]:
        """Return one note per item, in order. Items are texts or (candidate, reference) tuples."""
        ...

    def close(self) -> None:
        """Free memory."""
        ...


@runtime_checkable
class JudgedAnnotator(Protocol):
    """An annotator that asks a language model.

    Its judge stores the verdicts, so the harness caches no notes and passes all items at once.
    `caveat` is shown with every score.
    """

    @property
    def caveat(self) -> str | None: ...

    def admit(self, custody: Custody) -> None:
        """Check, before `annotate`, that the text may be sent to the judge.

        Raises ReportCardError when it may not.
        """
        ...


@dataclass(frozen=True, slots=True)
class Pair:
    """A candidate text and its reference text, after the protocol's normalisation.

    notes: per annotator of the metric's spec, (candidate note, reference note) for an annotator of
        texts, or (note, None) for an annotator of pairs. A note that is None or has a reason under
        "unscored" could not be made: the metric then returns a NaN row.
    candidate_phrases, reference_phrases: the findings one by one with their boxes, if the report
        is grounded; None if it is narrative text.
    """

    study_id: str
    candidate: str
    reference: str
    notes: Mapping[str, tuple[Json | None, Json | None]] = field(default_factory=dict)
    candidate_phrases: tuple[Phrase, ...] | None = None
    reference_phrases: tuple[Phrase, ...] | None = None


class Metric(Protocol):
    """A score that is a function of a sum of rows, one row per pair.

    This makes resampling cheap: a resample sums rows and never compares texts again.
    """

    @property
    def spec(self) -> MetricSpec: ...

    def rows(self, pairs: Sequence[Pair]) -> Array:
        """Return additive numbers, shape (n, k), float64. A NaN row is *unscored* and counted.

        A mean carries its denominator as a column, so that a sum over fewer rows stays a mean.
        """
        ...

    def scores(self, total: Array) -> dict[str, Array]:
        """Return one array of shape (...) per key of the spec, from summed rows (..., k)."""
        ...


@runtime_checkable
class SampleMetric(Protocol):
    """A metric of which the whole sample decides something before it is resampled.

    Example: which classes have enough studies to enter an average. Decided anew in each resample,
    it would make the average of a resample another quantity than the average of the sample.
    """

    def scores_of_sample(self, total: Array) -> Callable[[Array], dict[str, Array]]:
        """Return the function `scores` for resamples of the sample with this summed row (k,)."""
        ...

    def doubts(self, total: Array) -> dict[str, str]:
        """Return the keys whose intervals this sample cannot support, each with the reason."""
        ...


@runtime_checkable
class BoundedMetric(Protocol):
    """A metric that can say what its unscored pairs could have been at most and at least."""

    def extremes(self, rows: Array) -> Array:
        """Return the most and the least favourable row of an unscored pair, shape (2, k).

        rows: the scored rows, shape (n, k); n may be 0. Worst- and best-case scores use these in
        place of NaN rows.
        """
        ...


def pack_floats(values: npt.ArrayLike) -> str:
    """Return a vector as float32 in base64, to store it in a note: exact, 4/3 of its bytes."""
    return b64encode(np.asarray(values, "<f4").tobytes()).decode("ascii")


def unpack_floats(text: str) -> npt.NDArray[np.float32]:
    """Return the vector of `pack_floats`, shape (n,)."""
    return np.frombuffer(b64decode(text), "<f4")
