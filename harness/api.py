"""The contract between the harness and its plugins: data that crosses a stage, and four protocols.

A model adapter, a metric or a dataset imports this module and nothing else of the harness.
Standard library and NumPy only, so that importing a plugin is cheap.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from reportcard.core.errors import ImageError as ImageError
from reportcard.core.errors import Json as Json
from reportcard.core.errors import ReportCardError as ReportCardError

Array = npt.NDArray[np.float64]
Direction = Literal["higher", "lower"]
Kind = Literal["model", "floor", "ceiling"]
DataClass = Literal["open", "registered", "credentialed"]
Task = Literal["findings", "findings+impression", "grounded_findings", "phrase_grounding"]
Status = Literal["ok", "empty", "truncated", "refused", "failed"]
# How datasets spell a view: as their source does, "Unknown" where it says nothing. Other words are
# neither ("COSTAL", "XTABLE LATERAL").
FRONTAL_VIEWS = ("PA", "AP", "AP_horizontal", "Frontal")  # the order of preference
LATERAL_VIEWS = ("Lateral", "LATERAL", "LL", "RL")
MASKS_VIEW = "MASKS"  # a picture of masks (harness/marks.py), no radiograph
Progress = Callable[[Iterable[list[Any]], int, str], Iterable[list[Any]]]


class StopRunError(ReportCardError):
    """No further study can be answered now (an endpoint is down, a budget is spent): the run stops,
    keeps what it has, and goes on from there when it is started again.

    answers   of the batch that was asked last: those that were had
    """

    def __init__(self, message: str, answers: Sequence[Prediction] = ()) -> None:
        super().__init__(message)
        self.answers = tuple(answers)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in fractions of the original image: 0 ≤ min < max ≤ 1, origin top left."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    def __post_init__(self) -> None:
        if not (0 <= self.x_min < self.x_max <= 1 and 0 <= self.y_min < self.y_max <= 1):
            raise ValueError(f"not a box in [0, 1]: {self}")


@dataclass(frozen=True, slots=True)
class Phrase:
    """One finding in words, with the places it refers to (none when it is not localised).

    `second_reader`: the boxes of another reader where a dataset has two; never united with the
    first's.
    """

    text: str
    boxes: tuple[Box, ...] = ()
    second_reader: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A radiology report by section. None: the section is absent. "": it is there and empty."""

    findings: str | None = None
    impression: str | None = None
    phrases: tuple[Phrase, ...] = ()

    def text(self, sections: Sequence[str] = ("findings",)) -> str:
        """The named sections, joined by a blank; an absent section contributes nothing."""
        parts = (getattr(self, name) or "" for name in sections)
        return " ".join(part for part in parts if part.strip())


@dataclass(frozen=True, slots=True)
class Image:
    """One radiograph. `path` is None where only the reports are on this machine.

    `read` makes the pixels where they do not come out of `path` as a grey file does: a rendered
    image, or one with a reading policy of its own. It is picklable and takes no arguments.
    """

    image_id: str
    view: str
    path: Path | None = None
    read: Callable[[], npt.NDArray[np.uint8]] | None = field(
        default=None, compare=False, repr=False
    )

    @property
    def frontal(self) -> bool:
        """Whether its view is one of FRONTAL_VIEWS; an unknown view is not."""
        return self.view in FRONTAL_VIEWS

    @property
    def lateral(self) -> bool:
        return self.view in LATERAL_VIEWS

    @property
    def radiograph(self) -> bool:
        """Whether it is an X-ray, of any view; a picture of masks is none."""
        return self.view != MASKS_VIEW

    @property
    def available(self) -> bool:
        """Whether there is anything to read on this machine."""
        return self.path is not None or self.read is not None

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Grey values, shape (height, width), 0 black to 255 white.

        Raises ImageError naming the image when it is absent or cannot be decoded.
        """
        from reportcard.core.imaging.read import read_grey

        return read_grey(self)


@dataclass(frozen=True, slots=True)
class Prior:
    """The patient's previous study, as far as a model may see it."""

    images: tuple[Image, ...] = ()
    report: Report | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """Everything a model may see of a study; the reference report is not part of it.

    `draw` numbers repeated generations for the same study; a sampling model seeds with it.
    `provenance` names the policies that made the request: {"frontal_select": "all", …}.
    `marks`: what the numbers drawn on the images stand for ("1 left lung"), where marks are on.
    """

    study_id: str
    images: tuple[Image, ...] = ()
    prior: Prior | None = None
    indication: str | None = None
    technique: str | None = None
    comparison: str | None = None
    age: float | None = None
    sex: str | None = None
    task: Task = "findings"
    phrase: str | None = None
    draw: int = 0
    provenance: Mapping[str, str] = field(default_factory=dict)
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Study:
    """A request together with what is held back from the model."""

    request: Request
    reference: Report
    patient_id: str
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def study_id(self) -> str:
        return self.request.study_id


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answered for one study (and one draw).

    `raw` is the text before parsing. `used` names the inputs that reached the model.
    `seconds` is wall time and stays out of the prediction file, which is byte-reproducible; so do
    `token_ids`, which `reportcard generate --token-ids` writes. `answered_by`: the id under
    which an endpoint answered, where it says one.
    """

    study_id: str
    report: Report
    raw: str = ""
    status: Status = "ok"
    used: tuple[str, ...] = ()
    seconds: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    error: str | None = None
    draw: int = 0
    token_ids: tuple[int, ...] | None = None
    answered_by: str | None = None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a reader must know of a system before reading its numbers.

    kind           floor or ceiling for baselines that bound the scale; model otherwise
    needs_train    the harness calls fit(train studies) before generate
    sees_references the harness calls see_references(test studies): ceilings and controls only
    needs_pixels   preflight refuses the model on a cohort without images
    draws          generations per study; scores are means over draws
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
    """Where a dataset comes from and who may see it. An unknown class counts as credentialed.

    `caveat`: what a reader must know of every score against its references; shown beside each.
    """

    title: str
    data_class: DataClass = "credentialed"
    dua_id: str | None = None
    licence: str | None = None
    url: str | None = None
    caveat: str | None = None


@dataclass(frozen=True, slots=True)
class Custody:
    """Whose text a judged annotator is about to read, and where its verdicts may be kept.

    `cache_dir` is private to the owner and, for data that is not open, to one use agreement.
    """

    data: DatasetCard
    cache_dir: Path
    progress: Progress
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the attrition table: what a filter was given and what it kept."""

    rule: str
    before: int
    after: int

    @property
    def dropped(self) -> int:
        return self.before - self.after


@dataclass(frozen=True, slots=True)
class Selection:
    """What a dataset's selection policy leaves: test and train studies, and how it got there.

    `unit`: what one Study of it is, which decides every n: "study", "image-report pair", "phrase".
    """

    test: tuple[Study, ...]
    train: tuple[Study, ...]
    attrition: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    unit: str = "study"


@dataclass(frozen=True, slots=True)
class Pair:
    """A candidate text beside its reference text, after the protocol's normalisation.

    `notes` holds, per annotator that the metric's spec names, (candidate note, reference note) for
    an annotator of texts, or (note, None) for an annotator of pairs. A note that is None could not
    be made, or holds the reason under "unscored": the metric answers with a NaN row.

    `candidate_phrases`, `reference_phrases`: the findings one by one with their boxes where the
    report is grounded; None where it is narrative text.
    """

    study_id: str
    candidate: str
    reference: str
    notes: Mapping[str, tuple[Json | None, Json | None]] = field(default_factory=dict)
    candidate_phrases: tuple[Phrase, ...] | None = None
    reference_phrases: tuple[Phrase, ...] | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """How to read one number: which way is better, its range, and its unit."""

    direction: Direction = "higher"
    low: float | None = 0.0
    high: float | None = 1.0
    unit: str = "fraction"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """What a metric computes. `signature` names the variant in the field's own terms.

    `headline` names the keys that tables show, the one to show alone first; the others are in files
    and details. Empty: all, and the last alone (BLEU-4, ROUGE-L).
    `whole_corpus`: a row depends on the other pairs of the call, so `rows` needs all at once.
    `boxes`: it reads where findings are and no text, so it says nothing of a cohort without boxes,
    nor of a run that writes none.
    """

    version: str
    keys: Mapping[str, Key]
    signature: str
    annotators: tuple[str, ...] = ()
    headline: tuple[str, ...] = ()
    whole_corpus: bool = False
    boxes: bool = False


class ModelAdapter(Protocol):
    """A system under test. Constructed with the options of its YAML file as keyword arguments.

    Where the card asks for it, the harness first calls `fit(train)` or `see_references(test)`,
    each with a sequence of Study.
    """

    @property
    def card(self) -> ModelCard: ...

    def generate(self, requests: Sequence[Request]) -> Sequence[Prediction]:
        """One batch in, one prediction per request out, in order; no files, no cache."""
        ...

    # Optional, looked up by name:
    #   missing() -> str | None    preflight: a sentence when it cannot run
    #   plan(requests)             once before the first batch; may refuse
    #   cost(request) -> tuple     requests of equal cost share a batch, the dearest first
    #   batch_size                 instead of engine.batch_size
    #   identity                   a mapping: what decides the answers, instead of the options
    #   admit(custody)             whose requests are coming, before any is sent off this machine
    #   resume(rows)               stored lines of this run that are there already, before the first
    #                              batch; none in a new run
    #   independent = True         an answer does not depend on what shares its batch, so a resumed
    #                              run asks for what is missing only
    #   shown(request) -> mapping  what it would send, for `reportcard prompt`: "prompt" and others
    #   close()                    after the last batch
    # A model with weights extends reportcard.models.staged.StagedAdapter, which has them all.


@runtime_checkable
class FittedAdapter(Protocol):
    def fit(self, train: Sequence[Study]) -> None: ...


@runtime_checkable
class ReferenceAdapter(Protocol):
    def see_references(self, test: Sequence[Study]) -> None: ...


class Dataset(Protocol):
    """A source of studies. Constructed with the options of its YAML file; one that reads files has
    `root` among them, one that draws its images (phantom) has none."""

    @property
    def card(self) -> DatasetCard: ...

    def missing(self) -> str | None:
        """None when the data is in place; else a sentence: what was expected where."""
        ...

    def select(self) -> Selection:
        """Apply the named cohort's filters; deterministic, whatever the order of the files."""
        ...


class Annotator(Protocol):
    """Expensive reading, made once: of a text ("text"), of (candidate, reference) texts ("pair"),
    or of two reports ("reports"), each a text, or a tuple of phrases where it is grounded.

    Notes are JSON objects, cached by (id, version, weights, item). `version` changes whenever a
    note would. `weights` is the sha256 of what was learnt, or None. Heavy imports and loading
    happen in `annotate`; `close` frees the memory. An item that cannot be read gets None, or a note
    with the reason under "unscored"; neither is cached. "again": true says that another run may
    succeed. A reason holds no report text.
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
        """None when it can run; else a sentence: what is missing, and what to do."""
        ...

    def annotate(self, items: Sequence[Any]) -> Sequence[Json | None]:
        """One note per item, in order; items are texts, or (candidate, reference) tuples."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class JudgedAnnotator(Protocol):
    """An annotator that asks a language model. Its judge keeps the verdicts, so the harness caches
    no notes of it and gives it all items at once. `caveat` is shown beside every score.
    """

    @property
    def caveat(self) -> str | None: ...

    def admit(self, custody: Custody) -> None:
        """Called before `annotate`. Raises ReportCardError when such text may not go where the
        judge sends it."""
        ...


class Metric(Protocol):
    """A score that is a function of a sum.

    `rows` maps n pairs to an (n, k) float64 matrix of additive numbers; a NaN row is *unscored*
    and counted. `scores` maps summed rows (..., k) to one array (...) per key of the spec. A mean
    carries its own denominator as a column, so that a sum over fewer rows stays a mean.
    """

    @property
    def spec(self) -> MetricSpec: ...

    def rows(self, pairs: Sequence[Pair]) -> Array: ...

    def scores(self, total: Array) -> dict[str, Array]: ...


@runtime_checkable
class BoundedMetric(Protocol):
    """A metric that can say what its unscored pairs could have been."""

    def extremes(self, rows: Array) -> Array:
        """Scored rows (n, k), n may be 0 → (2, k): the most and the least favourable row of an
        unscored pair. Worst- and best-case scores put them in the place of the NaN rows."""
        ...


def pack_floats(values: npt.ArrayLike) -> str:
    """A vector as float32 base64 text, for notes: 4/3 of its bytes and exact."""
    return b64encode(np.asarray(values, "<f4").tobytes()).decode("ascii")


def unpack_floats(text: str) -> npt.NDArray[np.float32]:
    """The inverse of pack_floats: shape (n,)."""
    return np.frombuffer(b64decode(text), "<f4")
