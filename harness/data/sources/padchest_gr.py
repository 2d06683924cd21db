"""Reads PadChest-GR (BIMCV): 4,555 frontal radiographs with one sentence and boxes per finding.

A finding has the boxes of a first reader (`boxes`) and sometimes those of a second
(`extra_boxes`). They are two opinions and are kept apart, as Phrase.boxes and
Phrase.second_reader. A box that is inverted or leaves [0, 1] is an error that names file and
finding, because a silent repair would move a reference. The split, patient and sex come from
master_table.csv, which has one row per label.

Images are read from the split zip as it was downloaded, or from an unpacked folder. A prior is the
image that the file names for a study (`PreviousImageID`); the data set has no reports of priors.
Every view is given as Frontal, because the file has no view column. The unit is a study, which has
one image.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

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
    Study,
)
from reportcard.core.imaging.read import READING
from reportcard.data.sources._examples import (
    HAS_FINDINGS,
    Rule,
    expectations,
    filtered,
    one_of,
    sex_of,
    text_only,
)
from reportcard.data.sources._tables import Row, read_json_file, read_rows, read_table
from reportcard.data.sources._zip_parts import members_of, parts_of, read_member

REPORTS = "grounded_reports_20240819.json"
TABLE = "master_table.csv"
IMAGES = ("Padchest_GR_files", "PadChest_GR")
PRIORS = ("PadChest_GR_progression_prior_studies",)
COLUMNS = ("StudyID", "split", "PatientID", "PatientSex_DICOM", "PatientAge")
MAX_TABLE_BYTES = 256 * 1024**2


class PadChestGR:
    """The dataset plugin, with one part of its official split as the test part."""

    def __init__(
        self,
        root: str,
        split: str = "test",
        language: str = "en",
        prior_select: str = "given",
        expected: Mapping[str, int] | None = None,
    ) -> None:
        self.root = Path(root)
        self.split = one_of(split, ("train", "validation", "test"), "split")
        self.language = one_of(language, ("en", "es"), "language")
        self.prior_select = one_of(prior_select, ("given", "none"), "prior_select")
        self.expected = expected
        self._blank = 0  # findings without a sentence, of the last selection

    @property
    def card(self) -> DatasetCard:
        spanish = "references are in Spanish: English labelers and judges cannot read them"
        return DatasetCard(
            title="PadChest-GR (BIMCV)",
            data_class="registered",
            dua_id="bimcv-padchest-gr",
            licence="PadChest-GR Dataset Research Use Agreement",
            url="https://bimcv.cipf.es/bimcv-projects/padchest-gr/",
            caveat=spanish if self.language == "es" else None,
        )

    def missing(self) -> str | None:
        table = any((self.root / name).is_file() for name in (TABLE, f"{TABLE}.zip"))
        if (self.root / REPORTS).is_file() and table:
            return None
        return (
            f"PadChest-GR not found: expected {(self.root / REPORTS).resolve()} and"
            f" {(self.root / TABLE).resolve()} (or .zip). See docs/datasets/padchest_gr.md"
        )

    def select(self) -> Selection:
        problem = self.missing()
        if problem:
            raise ReportCardError(problem)
        notes: list[str] = []
        table, self._blank = self._table(), 0
        images, priors = (_finder(self.root, names, notes) for names in (IMAGES, PRIORS))
        source = self.root / REPORTS
        studies: dict[str, Study] = {}
        for index, item in enumerate(read_json_file(source, list)):
            study = self._study(item, f"{source}: [{index}]", table, images, priors)
            if study.study_id in studies:
                raise ReportCardError(f"{source}: [{index}]: its StudyID occurs twice.")
            studies[study.study_id] = study
        ordered = [studies[key] for key in sorted(studies)]
        if self._blank:
            notes.append(f"{self._blank:,} findings without a sentence left out")

        def of(split: str) -> list[Rule]:
            return [
                ("in master_table", lambda s: s.study_id in table),
                (f"split {split}", lambda s: table[s.study_id]["split"] == split),
                HAS_FINDINGS,
            ]

        test, steps = filtered(ordered, "studies", of(self.split))
        train = () if self.split == "train" else filtered(ordered, "studies", of("train"))[0]
        notes += [*expectations(self.expected, len(ordered)), *text_only(test, self.root)]
        return Selection(test, train, steps, tuple(notes))

    def _table(self) -> dict[str, Row]:
        """Return StudyID → its row. Raises ReportCardError when rows of a study disagree."""
        path = self.root / TABLE
        rows = read_table(path, COLUMNS) if path.is_file() else _zipped(self.root / f"{TABLE}.zip")
        found: dict[str, Row] = {}
        for line, row in rows:
            known = found.setdefault(row["StudyID"], row)
            for name in ("split", "PatientID"):
                if known[name] != row[name]:
                    raise ReportCardError(f"{path}:{line}: another {name} than its study's first.")
        return found

    def _study(
        self, item: Any, where: str, table: Mapping[str, Row], images: Finder, priors: Finder
    ) -> Study:
        if not isinstance(item, dict) or not all(
            isinstance(item.get(name), kind)
            for name, kind in (("StudyID", str), ("ImageID", str), ("findings", list))
        ):
            raise ReportCardError(f"{where}: no StudyID, ImageID or list of findings.")
        found = [
            self._phrase(finding, f"{where}.findings[{n}]")
            for n, finding in enumerate(item["findings"])
        ]
        phrases = tuple(phrase for phrase in found if phrase.text)
        self._blank += len(found) - len(phrases)
        row = table.get(item["StudyID"], {})
        named = item.get("PreviousImageID")
        if not isinstance(named, str | None):
            raise ReportCardError(f"{where}: PreviousImageID must be a string or null.")
        previous = named if self.prior_select == "given" else None
        before = priors(previous) if previous else None
        if previous and before and not before.available:
            before = images(previous)  # a prior may be one of the 4,555 images itself
        abnormal = any(finding.get("abnormal") for finding in item["findings"])
        age, sex = row.get("PatientAge", "").strip().rstrip("Y"), row.get("PatientSex_DICOM", "")
        return Study(
            request=Request(
                study_id=item["StudyID"],
                images=(images(item["ImageID"]),),
                prior=Prior((before,)) if before else None,
                age=float(age) if age.replace(".", "", 1).isdecimal() else None,
                sex=sex_of(sex),
                task="grounded_findings",
                provenance={
                    "sentences": f"{self.language}, joined; full stop added where missing",
                    "boxes": "first reader",
                    "prior_select": self.prior_select,
                    "reading": READING,
                },
            ),
            reference=Report(" ".join(_sentence(p.text) for p in phrases) or None, None, phrases),
            patient_id=row.get("PatientID") or item["StudyID"],
            groups={
                "normal": "abnormal" if abnormal else "normal",
                "prior": "given" if named else "absent",
                "boxes": "given" if any(p.boxes for p in phrases) else "absent",
                "sex": sex_of(sex) or "unknown",
            },
        )

    def _phrase(self, finding: Any, where: str) -> Phrase:
        """Read one finding. One that is not localised, such as a negative, may have no box keys."""
        if not isinstance(finding, dict):
            raise ReportCardError(f"{where} must be an object.")
        text = finding.get(f"sentence_{self.language}") or ""
        if not isinstance(text, str):
            raise ReportCardError(f"{where}: sentence_{self.language} must be a string.")
        first, second = (
            tuple(_box(b, f"{where}.{key}[{n}]") for n, b in enumerate(_list(finding, key, where)))
            for key in ("boxes", "extra_boxes")
        )
        return Phrase(text.strip(), first, second)


Finder = Callable[[str], Image]


def _finder(root: Path, folders: tuple[str, ...], notes: list[str]) -> Finder:
    """Return a function that finds the image of an ImageID.

    Args:
        root: the data root.
        folders: folders in root that may contain the images, as a split zip or as PNGs.
        notes: gets a note when members of an archive are refused.
    """
    here = [root / name for name in folders if (root / name).is_dir()]
    for folder in here:
        parts = parts_of(folder)
        if parts:
            members, refused = members_of(parts)
            if refused:
                notes.append(f"{refused:,} members of the archive in {folder.name}/ refused")
            return partial(_from_zip, parts, members)
    inside = root.resolve()
    files = {
        path.name: path
        for folder in here
        for pattern in ("*.png", "*/*.png")
        for path in sorted(folder.glob(pattern))
        if path.resolve().is_relative_to(inside)
    }
    return lambda image_id: Image(image_id, "Frontal", files.get(image_id))


def _from_zip(parts: tuple[Path, ...], members: Mapping[str, str], image_id: str) -> Image:
    if image_id not in members:
        return Image(image_id, "Frontal")
    read = partial(read_member, parts, members[image_id], image_id, "Frontal")
    return Image(image_id, "Frontal", read=read)


def _zipped(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the rows of the one CSV in a zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            tables = [
                info
                for info in archive.infolist()
                if PurePosixPath(info.filename).name == TABLE and "__MACOSX" not in info.filename
            ]
            if len(tables) != 1 or tables[0].file_size > MAX_TABLE_BYTES:
                raise ReportCardError(f"{path} must hold one {TABLE}, at most 256 MiB.")
            with archive.open(tables[0]) as raw:
                handle = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
                yield from read_rows(handle, f"{path}/{TABLE}", COLUMNS)
    except (zipfile.BadZipFile, OSError) as error:
        raise ReportCardError(f"{path} is damaged: {error}.") from None


def _list(finding: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = finding.get(key) or []
    if not isinstance(value, list):
        raise ReportCardError(f"{where}.{key} must be a list of boxes.")
    return value


def _box(value: Any, where: str) -> Box:
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 4 or not all(type(n) in (int, float) for n in numbers):
        raise ReportCardError(f"{where} must be [x1, y1, x2, y2].")
    try:
        return Box(*map(float, numbers))
    except OverflowError:
        raise ReportCardError(f"{where} has a number that is too large.") from None
    except ValueError:
        raise ReportCardError(
            f"{where} is {numbers}: x1 < x2 and y1 < y2 in [0, 1] is expected. Correct it in the"
            " file; a box is never repaired here."
        ) from None


def _sentence(text: str) -> str:
    return text if text[-1] in ".!?" else f"{text}."
