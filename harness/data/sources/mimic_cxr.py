"""Reads MIMIC-CXR 2.1.0 with the images of MIMIC-CXR-JPG or MIMIC-CXR (credentialed).

The official tree has mimic-cxr/2.1.0 beside mimic-cxr-jpg/2.1.0 under one root (_mimic/tree.py).
`annotations` says where findings come from:
    parser      the reports: the last FINDINGS section of the official parser
                (report_sections.py), which has none for 54 studies that the authors cut by hand;
                `parser: findings` selects our variant of the parser
    llava_rad   the rule-based rows of LLaVA-Rad's annotation JSON
    r2gen       R2Gen's annotation.json

`unit` says what an example is: a study with all its chosen images, or a pair of one image and its
report. The published 2,461 counts pairs. Which images and priors are chosen: _mimic/select.py.
MIMIC-CXR contains no age and sex.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reportcard.api import DatasetCard, ReportCardError, Selection, Step, Study
from reportcard.core.imaging.read import READING
from reportcard.data.sources._examples import PAIR
from reportcard.data.sources._mimic.annotations import (
    Annotation,
    Filtered,
    read_llava_rad,
    read_r2gen,
)
from reportcard.data.sources._mimic.index import Exam, Index, Radiograph, Sources, open_index
from reportcard.data.sources._mimic.reports import FolderReports, ReportTexts, ZipReports
from reportcard.data.sources._mimic.select import (
    FRONTAL,
    PriorPolicy,
    check_lateral,
    check_option,
    pick,
    pick_frontals,
)
from reportcard.data.sources._mimic.studies import Example, ImageFiles, Studies, StudyTexts
from reportcard.data.sources._mimic.tree import Tree

FILES = {
    "llava_rad": "chat_test_MIMIC_CXR_all_gpt4extract_rulebased_v1.json",
    "r2gen": "mimic_cxr/annotation.json",
}


class MimicCXR:
    """The dataset plugin, with one test cohort. Requests record every option in `provenance`."""

    def __init__(
        self,
        root: str,
        annotations: str = "parser",
        annotations_file: str | None = None,
        parser: str = "official",
        unit: str = "study",
        frontal_select: str = "all",
        lateral_select: str = "none",
        prior_select: str = "none",
        same_day: str | None = None,
        look_back: bool = False,
        images: str = "jpg",
        train_part: str = "validate",
        reports_root: str | None = None,
        images_root: str | None = None,
    ) -> None:
        check_option("annotations", annotations, ("parser", "llava_rad", "r2gen"))
        check_option("parser", parser, ("official", "findings"))
        check_option("unit", unit, ("study", "pair"))
        check_option("frontal_select", frontal_select, ("all", "first", "prefer_pa"))
        check_option("images", images, ("jpg", "dicom"))
        check_option("train_part", train_part, ("none", "validate", "train"))
        check_lateral(lateral_select)
        if annotations != "parser" and unit != "pair":
            raise ReportCardError(f"annotations={annotations} lists image-report pairs: unit=pair.")
        if annotations == "r2gen" and (frontal_select, lateral_select) != ("all", "none"):
            raise ReportCardError(
                "annotations=r2gen names its images: frontal_select=all, lateral_select=none."
            )
        self.annotations, self.parser, self.unit = annotations, parser, unit
        self.frontal_select, self.lateral_select = frontal_select, lateral_select
        self.prior = PriorPolicy(prior_select, same_day, look_back)
        self.images, self.train_part = images, train_part
        self.tree = Tree(root, reports_root, images_root)
        given = annotations_file or self.tree.root / FILES.get(annotations, "")
        self._annotations_file = Path(given)

    @property
    def card(self) -> DatasetCard:
        return DatasetCard(
            title="MIMIC-CXR",
            data_class="credentialed",
            dua_id="physionet-mimic-cxr",
            licence="PhysioNet Credentialed Health Data License 1.5.0",
            url="https://physionet.org/content/mimic-cxr/2.1.0/",
        )

    def missing(self) -> str | None:
        absent = self.tree.absent(reports=self._needs_reports)
        if self.annotations != "parser" and not self._annotations_file.is_file():
            absent.append(f"annotations {self._annotations_file} (dataset.annotations_file=…)")
        if not absent:
            return None
        return (
            f"MIMIC-CXR is not complete under {self.tree.root.resolve()}:"
            f" no {'; no '.join(absent)}."
            " It comes from PhysioNet, with credentials (docs/datasets/mimic_cxr.md)."
        )

    def select(self) -> Selection:
        problem = self.missing()
        if problem:
            raise ReportCardError(problem)
        tree = self.tree
        assert tree.split is not None
        assert tree.metadata is not None
        index = open_index(Sources(tree.split, tree.metadata, tree.reports_zip))
        texts = StudyTexts(self._reports(index), self.parser)
        patients = index.patients("test")
        chosen, notes = self._chosen(index, patients, texts, "test")
        files = ImageFiles(tree.images(self.images), ".dcm" if self.images == "dicom" else ".jpg")
        studies = Studies(patients, texts, files, self.prior, self.provenance)
        test = tuple(map(studies.study, chosen.items))
        damaged = texts.reports.damaged
        notes = [
            *_counts(index, patients),
            *notes,
            *([f"reports that cannot be read: {damaged:,}"] if damaged else []),
            *studies.notes(),
            *files.notes(),
        ]
        train = () if self.train_part == "none" else self._train(index, texts)
        if self.train_part == "validate":
            notes.append(
                f"the train part is the official validate split ({len(train):,});"
                " dataset.train_part=train reads every train report"
            )
        unit = "study" if self.unit == "study" else PAIR
        return Selection(test, train, tuple(chosen.steps), tuple(notes), unit)

    @property
    def provenance(self) -> dict[str, str]:
        return {
            "annotations": self.annotations,
            **({"parser": self.parser} if self.annotations == "parser" else {}),
            "unit": self.unit,
            "frontal_select": self.frontal_select,
            "lateral_select": self.lateral_select,
            **self.prior.provenance,
            "images": self.images,
            "reading": READING,
        }

    def labels(self) -> dict[str, dict[str, str]]:
        """Return study id → the radiologist's labels of the 2.1.0 test set (Tree.labels)."""
        return self.tree.labels()

    @property
    def _needs_reports(self) -> bool:
        parsed = self.annotations == "parser" or self.prior.select != "none"
        return parsed or (self.annotations == "llava_rad" and self.train_part != "none")

    def _reports(self, index: Index) -> ReportTexts:
        if self.tree.reports_zip is not None:
            return ZipReports(self.tree.reports_zip, index.reports())
        return FolderReports(self.tree.reports_folder or self.tree.root)

    def _train(self, index: Index, texts: StudyTexts) -> tuple[Study, ...]:
        patients = index.patients(self.train_part)
        chosen, _ = self._chosen(index, patients, texts, self.train_part)
        files = ImageFiles(
            self.tree.images(self.images), ".dcm" if self.images == "dicom" else ".jpg"
        )
        studies = Studies(patients, texts, files, self.prior, self.provenance)
        return tuple(map(studies.study, chosen.items))

    def _chosen(
        self, index: Index, patients: dict[int, list[Exam]], texts: StudyTexts, split: str
    ) -> tuple[Filtered, list[str]]:
        """Choose the examples of one split.

        Args:
            index: the index of the tables.
            patients: subject → exams.
            texts: parsed reports.
            split: test, validate or train.

        Returns the examples with the attrition of each filter, and notes on their number.
        """
        if self.annotations == "r2gen":
            part = "val" if split == "validate" else split
            rows, steps = read_r2gen(self._annotations_file, part)
            filtered = self._listed(rows, steps, patients, split)
            return filtered, [_expected("image-report pairs (R2Gen, any view)", 3858, filtered)]
        if self.annotations == "llava_rad" and split == "test":
            rows, steps = read_llava_rad(self._annotations_file)
            filtered = self._listed(rows, steps, patients, split)
        else:
            filtered = self._parsed(index, patients, texts, split)
        if self.unit == "study":
            with_findings = next(s.after for s in filtered.steps if s.rule == "findings not empty")
            return filtered, [
                f"the unit is a study; MultiMedEval prints 2,347 test studies with findings, here"
                f" {with_findings:,} before the filter on views"
            ]
        note = _expected("image-report pairs (LLaVA-Rad, AP and PA)", 2461, filtered)
        self._one_per_study(filtered)
        return filtered, [note]

    def _parsed(
        self, index: Index, patients: dict[int, list[Exam]], texts: StudyTexts, split: str
    ) -> Filtered:
        exams = [e for patient in patients.values() for e in patient if e.split == split]
        if self.unit == "study":
            total = index.head.studies
            items = [Example(exam, pick_frontals(exam, self.frontal_select)) for exam in exams]
        else:
            total = index.head.images
            items = [
                Example(exam, (image,))
                for exam in exams
                for image in exam.images
                if image.split == split
            ]
        filtered = Filtered(
            items, [Step(f"{self.unit}: official {split} split", total, len(items))]
        )
        filtered.keep("row in the metadata table", self._described)
        filtered.keep("report present", lambda e: texts.of(e.exam) is not None)
        if self.parser == "official":
            filtered.keep(
                "not one of the 54 studies without official sections",
                lambda e: (parsed := texts.of(e.exam)) is not None and parsed.has_row,
            )
        filtered.items = [_with_texts(example, texts) for example in filtered.items]
        filtered.keep("findings not empty", lambda e: bool(e.findings))
        filtered.keep(
            "an AP or PA view" if self.unit == "study" else "view is AP or PA",
            lambda e: any(image.view in FRONTAL for image in e.images),
        )
        return filtered

    def _described(self, example: Example) -> bool:
        images = example.exam.images if self.unit == "study" else example.images
        return any(image.view is not None for image in images)

    def _listed(
        self,
        rows: list[Annotation],
        steps: list[Step],
        patients: dict[int, list[Exam]],
        split: str,
    ) -> Filtered:
        """Join the rows of an annotation file to the tables by subject, study and dicom_id.

        Args:
            rows: what the annotation file lists.
            steps: the attrition so far.
            patients: subject → exams.
            split: the official split to which the images must belong.
        """
        exams = {(e.subject, e.study): e for patient in patients.values() for e in patient}
        filtered = Filtered([_of_row(row, exams, split) for row in rows], steps)
        filtered.keep(f"images in the official {split} split", lambda e: e is not None)
        return filtered

    def _one_per_study(self, filtered: Filtered) -> None:
        if self.frontal_select == "all":
            return
        by_study: dict[int, list[Radiograph]] = {}
        for example in filtered.items:
            by_study.setdefault(example.exam.study, []).extend(example.images)
        kept = {s: pick(images, self.frontal_select)[0] for s, images in by_study.items()}
        filtered.keep(
            f"frontal_select={self.frontal_select}",
            lambda e: kept[e.exam.study] is e.images[0],
        )


def _with_texts(example: Example, texts: StudyTexts) -> Example:
    parsed = texts.of(example.exam)
    assert parsed is not None
    return replace(
        example,
        findings=parsed.findings,
        impression=parsed.impression,
        indication=parsed.indication or None,
        technique=parsed.technique,
        comparison=parsed.comparison,
    )


def _of_row(row: Annotation, exams: dict[tuple[int, int], Exam], split: str) -> Example | None:
    exam = exams.get((row.subject, row.study))
    known = {i.dicom_id: i for i in exam.images if i.split == split} if exam else {}
    if exam is None or not all(dicom in known for dicom in row.dicoms):
        return None
    images = tuple(known[dicom] for dicom in row.dicoms)
    if row.view is not None:  # the annotation's view counts, as in its own filter
        images = tuple(replace(image, view=row.view) for image in images)
    return Example(exam, images, row.findings, indication=row.reason)


def _expected(what: str, n: int, filtered: Filtered) -> str:
    here = len(filtered.items)
    return f"the unit is an image-report pair; papers print {n:,} {what}, here {here:,}"


def _counts(index: Index, patients: dict[int, list[Exam]]) -> list[str]:
    exams = [e for patient in patients.values() for e in patient if e.split == "test"]
    images = sum(image.split == "test" for exam in exams for image in exam.images)
    notes = [
        "official test split: the authors count 5,159 images, 3,269 studies, 293 patients;"
        f" here {images:,}, {len(exams):,}, {len({e.subject for e in exams}):,}"
    ]
    for n, what in (
        (index.head.split_without_metadata, "images with a split row and no metadata row"),
        (
            index.head.metadata_without_split,
            "images with a metadata row and no split row (never used)",
        ),
    ):
        if n:
            notes.append(f"{what}: {n:,}")
    return notes
