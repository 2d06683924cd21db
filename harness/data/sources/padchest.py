"""Reads PadChest (BIMCV, Alicante): 160,861 images of 67,625 patients with Spanish reports.

The published reports are *stemmed* Spanish, not fluent text, so the card's caveat is shown beside
every score against them. `translation` names a file (ReportID → text) with a translation or the
original reports. Its digest is part of every request's provenance, and so of the cohort's
fingerprint.

`Projection` gives the view; `ViewPosition_DICOM` is blank for 43 % of the images and is not read.
PadChest has no official split. Ours is computed from a hash of the PatientID, so it needs no list
and no patient changes parts when the table grows. `test_split` names the split; another name gives
another split.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from reportcard.api import DatasetCard, Report, ReportCardError, Request, Selection, Study
from reportcard.core.files import file_digest, read_jsonl, read_text
from reportcard.data.sources._examples import (
    HAS_FINDINGS,
    ExamplePolicy,
    Expected,
    Rule,
    expectations,
    filtered,
    has_frontal,
    sex_of,
    text_only,
)
from reportcard.data.sources._image_lookup import ImageLookup
from reportcard.data.sources._padchest_labels import cuis_of, list_of
from reportcard.data.sources._tables import Row, one_per, read_table

TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
COLUMNS = (
    *("ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth"),
    *("PatientSex_DICOM", "Projection", "MethodProjection", "Pediatric", "ReportID", "Report"),
    *("MethodLabel", "Labels", "Localizations", "LabelsLocalizationsBySentence", "labelCUIS"),
    "LocalizationsCUIS",
)
VIEWS = {"PA": "PA", "AP": "AP", "AP_horizontal": "AP_horizontal", "L": "Lateral"}
OTHER_VIEWS = {"COSTAL": "COSTAL", "EXCLUDE": "EXCLUDE", "UNK": "Unknown"}
STEMMED = (
    "PadChest's reports are stemmed Spanish, not fluent text: lexical scores against them mean"
    " nothing, and English labelers and judges cannot read them; set dataset.translation=…"
)
TRANSLATED = "references are the translations of dataset.translation, not the radiologists' words"


class PadChest:
    """The dataset plugin, with a split by patient that is computed from a hash."""

    def __init__(
        self,
        root: str,
        unit: str = "study",
        frontal_select: str = "all",
        lateral_select: str = "all",
        require_frontal: bool = True,
        test_split: str = "reportcard-1",
        test_percent: int = 10,
        translation: str | None = None,
        broken: str | None = None,
        exclude_studies: str | None = None,
        expected: Expected | None = None,
    ) -> None:
        self.root = Path(root)
        self.examples = ExamplePolicy(unit, frontal_select, lateral_select, require_frontal)
        if type(test_percent) is not int or not 1 <= test_percent <= 99:
            raise ReportCardError(
                f"test_percent is a whole number from 1 to 99, not {test_percent!r}."
            )
        self.test_split, self.test_percent = test_split, test_percent
        self.translation, self.broken, self.exclude_studies = (
            None if name is None else Path(name) for name in (translation, broken, exclude_studies)
        )
        self.expected = (expected or {}).get(unit)

    @property
    def card(self) -> DatasetCard:
        return DatasetCard(
            title="PadChest (BIMCV)",
            data_class="registered",
            dua_id="bimcv-padchest",
            licence="PadChest Dataset Research Use Agreement",
            url="https://bimcv.cipf.es/bimcv-projects/padchest/",
            caveat=STEMMED if self.translation is None else TRANSLATED,
        )

    def missing(self) -> str | None:
        if self._table() is None:
            return (
                f"PadChest not found: expected {(self.root / TABLE).resolve()} (or .csv.gz), and"
                " images as <ImageDir>/<ImageID> beside it. See docs/datasets/padchest.md"
            )
        for path in (self.translation, self.broken, self.exclude_studies):
            if path is not None and not path.is_file():
                return f"No file at {path.resolve()}, which an option of the dataset names."
        return None

    def select(self) -> Selection:
        problem = self.missing()
        if problem:
            raise ReportCardError(problem)
        texts = None if self.translation is None else read_translation(self.translation)
        studies, notes = self._studies(texts)
        examples = self.examples.of(studies)
        by_hash: Rule = (
            f"split {self.test_split}: {self.test_percent} % of patients by hash",
            lambda s: self._is_test(s.patient_id),
        )
        excluded = self._excluded(studies)
        rules: list[Rule] = [
            ("translated" if texts is not None else "report not blank", HAS_FINDINGS[1]),
            *self.examples.rules,
        ]
        if self.exclude_studies is not None:
            rules.append(("patient not excluded", lambda s: s.patient_id not in excluded))
        test, steps = filtered(examples, self.examples.counted, [*rules, by_hash])
        rest: Rule = ("train", lambda s: not self._is_test(s.patient_id))
        train, _ = filtered(examples, self.examples.counted, [*rules, rest])
        notes += (
            *expectations(self.expected, sum(map(has_frontal, studies))),
            *text_only(test, self.root),
        )
        return Selection(test, train, steps, notes, self.examples.example)

    def labels(self) -> Iterator[tuple[str, dict[str, list[Any]]]]:
        """Yield (image id, lists by column) for every row.

        "normal" and "exclude" inside LabelsLocalizationsBySentence refer to one sentence only.
        Raises ReportCardError naming file and line.
        """
        table = self._existing()
        for line, row in read_table(table, COLUMNS):
            lists: dict[str, list[Any]] = {
                name: cuis_of(row[name]) for name in ("labelCUIS", "LocalizationsCUIS")
            }
            for name in ("Labels", "Localizations", "LabelsLocalizationsBySentence"):
                try:
                    lists[name] = list_of(row[name])
                except ValueError as error:
                    raise ReportCardError(f"{table}:{line}: {name} is {error}.") from None
            yield row["ImageID"], lists

    def _table(self) -> Path | None:
        paths = (self.root / TABLE, self.root / f"{TABLE}.gz")
        return next((path for path in paths if path.is_file()), None)

    def _existing(self) -> Path:
        table = self._table()
        if table is None:
            raise ReportCardError(self.missing() or "")
        return table

    def _is_test(self, patient_id: str) -> bool:
        key = f"{self.test_split}/{patient_id}".encode()
        return int(hashlib.sha256(key).hexdigest()[:12], 16) % 100 < self.test_percent

    def _studies(self, texts: Mapping[str, str] | None) -> tuple[list[Study], tuple[str, ...]]:
        """Return the studies with all their images, and notes on the table."""
        by_study: dict[str, list[Row]] = defaultdict(list)
        texts_of: dict[str, set[str]] = defaultdict(set)
        for line, row in read_table(self._existing(), COLUMNS):
            rows = by_study[row["StudyID"]]
            rows.append(row)
            texts_of[row["ReportID"]].add(row["Report"])
            if row["PatientID"] != rows[0]["PatientID"]:
                raise ReportCardError(
                    f"{self._existing()}:{line}: another PatientID than its study's first."
                )
        broken = _listed(self.broken) if self.broken else frozenset()
        lookup, skipped = ImageLookup(self.root), Counter[str]()
        studies = []
        for study_id, listed in sorted(by_study.items()):
            rows = by_study[study_id] = one_per("ImageID", listed)
            skipped["repeated"] += len(listed) - len(rows)
            whole = [row for row in rows if row["ImageID"] not in broken]
            skipped["images"] += len(rows) - len(whole)
            skipped["studies"] += len({row["ReportID"] for row in rows}) > 1
            studies.append(self._study(study_id, rows[0], whole, texts, lookup))
        notes = lookup.notes()
        if skipped["repeated"]:
            notes += (f"{skipped['repeated']:,} rows repeat an ImageID of their study: left out",)
        if self.broken:
            notes += (f"{skipped['images']:,} images on the list of broken ones: skipped",)
        reports = Counter(rows[0]["ReportID"] for rows in by_study.values())
        if shared := sum(count for count in reports.values() if count > 1):
            notes += (f"{shared:,} studies share their report with another study",)
        if torn := sum(len(found) > 1 for found in texts_of.values()):
            notes += (f"{torn:,} ReportIDs have several texts: first image's taken",)
        if skipped["studies"]:
            notes += (f"{skipped['studies']:,} studies have several reports: first image's taken",)
        if texts is not None:
            notes += (f"{len(texts):,} translations, {self._source}",)
        return studies, notes

    @cached_property
    def _source(self) -> str:
        if self.translation is None:
            return "none: stemmed Spanish"
        return f"sha256 {file_digest(self.translation)[:16]}"

    def _study(
        self,
        study_id: str,
        row: Row,
        whole: list[Row],
        texts: Mapping[str, str] | None,
        lookup: ImageLookup,
    ) -> Study:
        images = tuple(
            lookup.image(
                item["ImageID"],
                (VIEWS | OTHER_VIEWS).get(item["Projection"], "Unknown"),
                f"{item['ImageDir']}/{item['ImageID']}",
            )
            for item in whole
        )
        text = row["Report"] if texts is None else texts.get(row["ReportID"], "")
        sex, normal = sex_of(row["PatientSex_DICOM"]), row["Labels"].strip() == "['normal']"
        return Study(
            request=Request(
                study_id=study_id,
                images=images,
                age=_age(row["StudyDate_DICOM"], row["PatientBirth"]),
                sex=sex,
                provenance={
                    **self.examples.provenance,
                    "translation": self._source,
                    "split": f"{self.test_split}, {self.test_percent} %",
                },
            ),
            reference=Report(text if text.strip() else None),
            patient_id=row["PatientID"],
            groups={
                "sex": sex or "unknown",
                "normal": "normal" if normal else "abnormal",
                "pediatric": "yes" if row["Pediatric"] == "PED" else "no",
                "labelled_by": row["MethodLabel"] or "unknown",
                "frontal_images": str(sum(image.frontal for image in images)),
            },
        )

    def _excluded(self, studies: list[Study]) -> frozenset[str]:
        """Return the patients of the studies in `exclude_studies` (PadChest-GR's table, say)."""
        if self.exclude_studies is None:
            return frozenset()
        listed = {row["StudyID"] for _, row in read_table(self.exclude_studies, ("StudyID",))}
        return frozenset(s.patient_id for s in studies if s.study_id in listed)


def read_translation(path: Path) -> dict[str, str]:
    """Read ReportID → text from a CSV (columns ReportID, text) or JSON lines with these keys.

    Raises ReportCardError naming file and line when an id occurs twice or is no string.
    """
    found: dict[str, str] = {}
    rows = read_jsonl(path) if path.suffix == ".jsonl" else read_table(path, ("ReportID", "text"))
    for line, row in rows:
        report_id, text = row.get("ReportID"), row.get("text")
        if not isinstance(report_id, str) or not isinstance(text, str):
            raise ReportCardError(f"{path}:{line}: ReportID and text must be strings.")
        if report_id in found:
            raise ReportCardError(f"{path}:{line}: its ReportID occurs twice.")
        found[report_id] = text
    return found


def _listed(path: Path) -> frozenset[str]:
    """Read one id per line; `#` begins a comment."""
    lines = (line.partition("#")[0].strip() for line in read_text(path).splitlines())
    return frozenset(line for line in lines if line)


def _age(study_date: str, birth: str) -> float | None:
    """Return the difference of the calendar years; the table has no more of a date of birth."""
    year, born = study_date[:4], birth.partition(".")[0]
    return float(int(year) - int(born)) if year.isdecimal() and born.isdecimal() else None
