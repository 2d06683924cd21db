"""The data of a study: what a model may see, what is held back from it, and what it answers.

    Dataset ──▶ Study = Request (for the model) + Report (the reference)
    model   ──▶ Prediction

All classes are frozen and can be pickled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

Task = Literal["findings", "findings+impression", "grounded_findings", "phrase_grounding"]
Status = Literal["ok", "empty", "truncated", "refused", "failed"]

# Views are spelled as in the source of a dataset, "Unknown" where it gives none. Other spellings,
# such as "COSTAL" or "XTABLE LATERAL", are neither frontal nor lateral.
FRONTAL_VIEWS = ("PA", "AP", "AP_horizontal", "Frontal")  # in order of preference
LATERAL_VIEWS = ("Lateral", "LATERAL", "LL", "RL")
MASKS_VIEW = "MASKS"  # a picture of segmentation masks (data/masks.py), not a radiograph


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in fractions of the original image: 0 ≤ min < max ≤ 1, origin top left.

    Raises ValueError for any other numbers.
    """

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    def __post_init__(self) -> None:
        if not (0 <= self.x_min < self.x_max <= 1 and 0 <= self.y_min < self.y_max <= 1):
            raise ValueError(f"not a box in [0, 1]: {self}")


@dataclass(frozen=True, slots=True)
class Phrase:
    """One finding as text, with its boxes; it has none if it is not localised.

    second_reader: the boxes of a second reader, if a dataset has them. They are never united with
    those of the first.
    """

    text: str
    boxes: tuple[Box, ...] = ()
    second_reader: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A radiology report by section. None: the section is absent. "": it exists and is empty."""

    findings: str | None = None
    impression: str | None = None
    phrases: tuple[Phrase, ...] = ()

    def text(self, sections: Sequence[str] = ("findings",)) -> str:
        """Return the named sections, joined by a space. Absent sections add nothing."""
        parts = (getattr(self, name) or "" for name in sections)
        return " ".join(part for part in parts if part.strip())


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a study.

    image_id   unique in its dataset
    view       one of FRONTAL_VIEWS, LATERAL_VIEWS, MASKS_VIEW, or the source's own word
    path       its file; None if only the reports are on this machine
    read       makes the pixels if they are not simply those of `path`: a drawn image, or one from
               an archive. It takes no arguments and can be pickled.
    """

    image_id: str
    view: str
    path: Path | None = None
    read: Callable[[], npt.NDArray[np.uint8]] | None = field(
        default=None, compare=False, repr=False
    )

    @property
    def frontal(self) -> bool:
        """Whether the view is one of FRONTAL_VIEWS. An unknown view is not frontal."""
        return self.view in FRONTAL_VIEWS

    @property
    def lateral(self) -> bool:
        """Whether the view is one of LATERAL_VIEWS. An unknown view is not lateral."""
        return self.view in LATERAL_VIEWS

    @property
    def radiograph(self) -> bool:
        """Whether it is an X-ray of any view, and not a picture of masks."""
        return self.view != MASKS_VIEW

    @property
    def available(self) -> bool:
        """Whether there is anything to read on this machine."""
        return self.path is not None or self.read is not None

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Return grey values, shape (height, width), 0 black to 255 white.

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
    """Everything that a model may see of a study. The reference report is not part of it.

    study_id     unique in its cohort
    images       in the dataset's order of preference
    age          in years
    sex          "F" or "M", or the source's own word
    task         what the model is asked to write
    phrase       the phrase to localise, for task phrase_grounding
    draw         the number of a repeated generation for one study; a sampling model seeds with it
    provenance   the policies that made the request: {"frontal_select": "all", …}
    marks        what numbers drawn on the images mean ("1 left lung"), if marks are on
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
    """A request together with what is held back from the model.

    patient_id   confidence intervals resample patients
    groups       subgroup → value, for tables by subgroup
    """

    request: Request
    reference: Report
    patient_id: str
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def study_id(self) -> str:
        return self.request.study_id


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answered for one study and one draw.

    raw           the text before parsing
    used          names of the inputs that reached the model
    seconds       wall time; not stored, because predictions.jsonl must be byte-reproducible
    tokens_in     tokens of the prompt
    tokens_out    generated tokens
    error         why it failed, for status "failed"
    token_ids     the generated ids; stored by `reportcard generate --token-ids` only
    answered_by   the model id that an endpoint reported, if it did
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
class Step:
    """One line of the attrition table: how many studies a filter got, and how many it kept."""

    rule: str
    before: int
    after: int

    @property
    def dropped(self) -> int:
        return self.before - self.after


@dataclass(frozen=True, slots=True)
class Selection:
    """The studies that a dataset selected, and how.

    test, train   disjoint; the train part is for models that are fitted
    attrition     how many studies each filter kept
    notes         what a user should know about the selection
    unit          what one Study is, which decides every n: "study", "image-report pair", "phrase"
    """

    test: tuple[Study, ...]
    train: tuple[Study, ...]
    attrition: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    unit: str = "study"
