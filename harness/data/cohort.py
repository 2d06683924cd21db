"""Selects an ordered cohort of studies from a dataset, with attrition, overlap and a fingerprint.

The fingerprint is a digest of the studies in order (ids, views, inputs, references), not of their
files' paths, so two machines with the same studies compute the same fingerprint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reportcard.api import (
    Box,
    Dataset,
    DatasetCard,
    Image,
    ReportCardError,
    Selection,
    Step,
    Study,
)
from reportcard.config.settings import Plugin
from reportcard.core import registry
from reportcard.core.files import digest, write_json
from reportcard.core.layout import Results, VersionedName
from reportcard.core.records import to_json
from reportcard.data.cohort_file import CohortFile, Overlap, SelectionStep
from reportcard.data.subgroups import groups_of


@dataclass(frozen=True)
class Cohort:
    """Test studies in a fixed order, and the train part that fitted baselines may read.

    attrition   how many studies each filter kept
    notes       what a user should know about this selection
    unit        what one of `test` is: "study", "image-report pair", "phrase"
    """

    name: str
    card: DatasetCard
    test: tuple[Study, ...]
    train: tuple[Study, ...]
    attrition: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    unit: str = "study"

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 (hex) of the ordered test studies."""
        return digest([study_digest(study) for study in self.test])

    @cached_property
    def train_fingerprint(self) -> str:
        """The sha256 (hex) of the ordered train studies."""
        return digest([study_digest(study) for study in self.train])

    @property
    def folder(self) -> str:
        """The name of its folder: `name@fp8`."""
        return str(VersionedName(self.name, self.fingerprint))

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """Subgroup → the value of each test study, in order."""
        return groups_of(self.test)

    @cached_property
    def overlap(self) -> Overlap:
        """Counts of test studies whose patient or whose exact findings are in the train part."""
        patients = {study.patient_id for study in self.train}
        texts = {study.reference.text() for study in self.train}
        return Overlap(
            train_studies=len(self.train),
            test_studies_with_train_patient=sum(s.patient_id in patients for s in self.test),
            test_reports_verbatim_in_train=sum(s.reference.text() in texts for s in self.test),
        )

    @property
    def size(self) -> str:
        """The number of test units in words, such as '2,461 image-report pairs'."""
        return f"{len(self.test):,} {plural(self.unit)}"

    @property
    def has_images(self) -> bool:
        """Whether any image of a test study can be read on this machine."""
        return any(image.available for study in self.test for image in study.request.images)

    def n_images(self, view: str | None = None) -> int:
        """Return the number of images in test studies, of one view or of all."""
        return sum(
            view in (None, image.view) for study in self.test for image in study.request.images
        )

    def summary(self) -> CohortFile:
        """Return the content of cohorts/<name>@<fp8>.json, without report text and local paths."""
        views = Counter(image.view for study in self.test for image in study.request.images)
        steps = (SelectionStep(s.rule, s.before, s.after, s.dropped) for s in self.attrition)
        return CohortFile(
            cohort=self.name,
            fingerprint=self.fingerprint,
            train_fingerprint=self.train_fingerprint,
            dataset=self.card.title,
            data_class=self.card.data_class,
            licence=self.card.licence,
            caveat=self.card.caveat or None,
            unit=self.unit,
            n_studies=len(self.test),
            n_patients=len({study.patient_id for study in self.test}),
            n_images=self.n_images(),
            views=dict(sorted(views.items())),
            overlap=self.overlap,
            attrition=tuple(steps),
            notes=tuple(note for note in self.notes if not note.startswith("text only")),
            studies=tuple((study.study_id, study_digest(study)[:16]) for study in self.test),
            groups={name: tuple(values) for name, values in self.groups.items()},
        )

    def save(self, results_dir: Path) -> Path:
        """Write the summary into the results folder and return its path."""
        path = Results(results_dir).cohort(self.folder)
        mode = 0o644 if self.card.data_class == "open" else 0o600
        write_json(path, to_json(self.summary()), mode)
        return path


def plural(unit: str) -> str:
    """Return "studies" for "study", "phrases" for "phrase"."""
    return f"{unit[:-1]}ies" if unit.endswith("y") else f"{unit}s"


def study_digest(study: Study) -> str:
    """Return the sha256 (hex) of everything that a model or a metric can read of a study."""
    request = study.request
    prior = request.prior
    return digest(
        {
            "id": study.study_id,
            "patient": study.patient_id,
            "images": _image_ids(request.images),
            "prior": prior and [_image_ids(prior.images), prior.report and prior.report.text()],
            "inputs": [request.indication, request.technique, request.comparison],
            "who": [request.age, request.sex],
            **({"provenance": dict(request.provenance)} if request.provenance else {}),
            "task": [request.task, request.phrase],
            "findings": study.reference.findings,
            "impression": study.reference.impression,
            "phrases": [
                [
                    p.text,
                    _corners(p.boxes),
                    *([_corners(p.second_reader)] if p.second_reader else []),
                ]
                for p in study.reference.phrases
            ],
        }
    )


def _corners(boxes: Sequence[Box]) -> list[list[float]]:
    return [[box.x_min, box.y_min, box.x_max, box.y_max] for box in boxes]


def _image_ids(images: Sequence[Image]) -> list[list[str]]:
    return [[image.image_id, image.view] for image in images]


def open_dataset(plugin: Plugin) -> Dataset:
    """Construct a dataset. Raises ReportCardError naming an option that it does not have."""
    dataset: Dataset = registry.datasets.build(plugin.plugin, plugin.options, plugin.label)
    return dataset


def load_cohort(plugin: Plugin, limit: int | None = None) -> Cohort:
    """Select a cohort. Raises ReportCardError when data is missing or an id occurs twice.

    limit: keep only so many test studies, the first; the cohort is then `<name>-first<limit>`.
    """
    dataset = open_dataset(plugin)
    selection: Selection = dataset.select()
    test, steps, name = selection.test, selection.attrition, plugin.label
    if limit is not None and limit < len(test):
        steps = (*steps, Step(f"limit={limit}", len(test), limit))
        test, name = test[:limit], f"{name}-first{limit}"
    for part in (test, selection.train):
        twice = [i for i, k in Counter(s.study_id for s in part).items() if k > 1]
        if twice:
            raise ReportCardError(f"{plugin.label}: study ids occur twice: {', '.join(twice[:10])}")
    if not test:
        raise ReportCardError(f"{plugin.label}: no study is left. {attrition_text(steps)}")
    return Cohort(name, dataset.card, test, selection.train, steps, selection.notes, selection.unit)


def attrition_text(steps: Sequence[Step]) -> str:
    """Return 'reports in the collection 3,955 → findings not empty 3,425 (−530) → …'."""
    return " → ".join(
        f"{s.rule} {s.after:,}" + (f" (−{s.dropped:,})" if s.dropped else "") for s in steps
    )
