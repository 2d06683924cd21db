"""The file cohorts/<name>@<fp8>.json: what a cohort is, without report text and local paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reportcard.core.errors import ReportCardError
from reportcard.core.files import read_json
from reportcard.core.records import OMITTED, from_json


@dataclass(frozen=True, slots=True)
class SelectionStep:
    """One rule of a cohort's selection, with the studies before and after it."""

    rule: str
    before: int
    after: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """What the test part shares with the train part: patients, and findings word for word."""

    train_studies: int
    test_studies_with_train_patient: int
    test_reports_verbatim_in_train: int


@dataclass(frozen=True, slots=True)
class CohortFile:
    """The content of the file.

    studies   (study id, first digits of its digest), in cohort order
    groups    subgroup → the label of each study, in the order of `studies`
    """

    cohort: str | None = None
    fingerprint: str | None = None
    train_fingerprint: str | None = None
    dataset: str | None = None
    data_class: str | None = None
    licence: str | None = None
    caveat: str | None = field(default=None, metadata=OMITTED)
    unit: str | None = None
    n_studies: int | None = None
    n_patients: int | None = None
    n_images: int | None = None
    views: Mapping[str, int] | None = None
    overlap: Overlap | None = None
    attrition: tuple[SelectionStep, ...] = ()
    notes: tuple[str, ...] = ()
    studies: tuple[tuple[str, str], ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> CohortFile:
        """Read the file. Raises ReportCardError when it is absent or damaged."""
        try:
            return from_json(cls, read_json(path))
        except ValueError as error:
            raise ReportCardError(f"{path} is damaged ({error}).") from None
