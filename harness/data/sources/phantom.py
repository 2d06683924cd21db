"""Draws artificial chest radiographs with reports, priors and boxes; needs no account or download.

Patients are invented. Their images are drawn with NumPy (_phantom/) when a model reads them, and
their reports are written from templates, so that everything that needs pixels, priors or boxes runs
on any machine. The phantom shows whether a pipeline works. It does not show how well a model reads
radiographs of patients.

Drawing gives the same bytes everywhere. `VERSION` is raised whenever an image, a report or a box
changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from reportcard.api import (
    Box,
    DatasetCard,
    Image,
    Phrase,
    Prior,
    Report,
    ReportCardError,
    Request,
    Selection,
    Step,
    Study,
)
from reportcard.data.sources._phantom.case import Case, patient
from reportcard.data.sources._phantom.frontal import MM, Frontal
from reportcard.data.sources._phantom.report import (
    comparison,
    impression,
    indication,
    sentences,
    technique,
)

VERSION = "2"


@dataclass(frozen=True)
class Drawing:
    """Draws one view of a case when it is called; it can be pickled."""

    case: Case
    lateral: bool
    size: int

    def __call__(self) -> npt.NDArray[np.uint8]:
        if self.lateral:
            from reportcard.data.sources._phantom.lateral import lateral

            return lateral(self.case, self.size)
        from reportcard.data.sources._phantom.film import frontal

        return frontal(self.case, self.size)


class Phantom:
    """The dataset plugin.

    test, train   numbers of studies
    size          width and height of the images in pixels; even
    seed          other seeds give other patients
    task          grounded_findings asks for boxes on the frontal image, findings for text only
    """

    def __init__(
        self,
        test: int = 64,
        train: int = 200,
        size: int = 512,
        seed: int = 0,
        task: Literal["findings", "grounded_findings"] = "grounded_findings",
    ) -> None:
        for name, value, low, high in (
            ("test", test, 1, 100_000),
            ("train", train, 0, 100_000),
            ("size", size, 64, 4096),
        ):
            if not isinstance(value, int) or not low <= value <= high:
                raise ReportCardError(f"phantom: {name} must be in {low}…{high:,}, not {value!r}.")
        if size % 2:
            raise ReportCardError(f"phantom: size must be even, not {size}.")
        if task not in ("findings", "grounded_findings"):
            raise ReportCardError(f"phantom: task is findings or grounded_findings, not {task!r}.")
        self.parts = {"test": test, "train": train}
        self.size, self.seed, self.task = size, seed, task

    @property
    def card(self) -> DatasetCard:
        return DatasetCard(
            title="Phantom (drawn radiographs)", data_class="open", licence="CC0-1.0"
        )

    def missing(self) -> str | None:
        return None

    def select(self) -> Selection:
        test, train = self._part("test"), self._part("train")
        drawn = len(test) + len(train)
        steps = (Step("studies drawn", drawn, drawn), Step("test part", drawn, len(test)))
        notes = ("images are drawn: scores show that a pipeline works, not how well a model reads",)
        return Selection(test, train, steps, notes)

    def cases(self, part: str) -> list[Case]:
        """Return what the studies of a part ("test" or "train") show, in order."""
        cases: list[Case] = []
        while len(cases) < self.parts[part]:
            number = len({case.patient_id for case in cases})
            cases += patient(part, number, self.seed)
        return cases[: self.parts[part]]

    def _part(self, part: str) -> tuple[Study, ...]:
        studies: list[Study] = []
        for case in self.cases(part):
            before = studies[-1] if case.days is not None else None
            studies.append(self._study(case, before))
        return tuple(studies)

    def _study(self, case: Case, before: Study | None) -> Study:
        frontal = Image(f"{case.study_id}-frontal", case.view, read=Drawing(case, False, self.size))
        images = [frontal]
        if case.lateral:
            drawing = Drawing(case, True, self.size)
            images.append(Image(f"{case.study_id}-lateral", "LATERAL", read=drawing))
        prior = Prior(before.request.images, before.reference) if before else None
        return Study(
            request=Request(
                study_id=case.study_id,
                images=tuple(images),
                prior=prior,
                indication=indication(case),
                technique=technique(case),
                comparison=comparison(case),
                age=float(case.age),
                sex=case.sex,
                task=self.task,
                provenance={
                    "phantom": VERSION,
                    "seed": str(self.seed),
                    "size": str(self.size),
                    "lateral_select": "with PA where drawn",
                    "prior_select": "the patient's previous study",
                },
            ),
            reference=self._report(case),
            patient_id=case.patient_id,
            groups={
                "normal": "abnormal" if case.findings else "normal",
                "view": case.view,
                "sex": case.sex,
                "age": "under 45" if case.age < 45 else "45 to 64" if case.age < 65 else "65 up",
                "prior": "given" if prior else "absent",
            },
        )

    def _report(self, case: Case) -> Report:
        film = Frontal(case, self.size)
        said = sentences(case, round(film.tip() / MM))
        phrases = tuple(
            Phrase(text, tuple(Box(*corners) for f in about for corners in film.boxes(f)))
            for text, about in said
        )
        return Report(" ".join(text for text, _ in said), impression(case), phrases)
