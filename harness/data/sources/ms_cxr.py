"""Reads MS-CXR: phrases of MIMIC-CXR reports with boxes (PhysioNet, credentialed).

<root>/ms-cxr/1.1.0/MS_CXR_Local_Alignment_v1.1.0.csv     (v1.0.0 of release 0.1 has no split)
<root>/mimic-cxr-jpg/2.1.0/files/…                        the images, from MIMIC-CXR-JPG

One row is one box. A study here is one (dicom_id, category_name, label_text) with all its boxes;
the paper counts 1,162 of them. Boxes are given in pixels of an image of image_width × image_height,
which is not the size of every file. They are converted to fractions, which hold for any file size.
"""

from __future__ import annotations

import re
from pathlib import Path

from reportcard.api import (
    Box,
    DatasetCard,
    Phrase,
    Report,
    ReportCardError,
    Request,
    Selection,
    Step,
    Study,
)
from reportcard.core.files import digest
from reportcard.core.imaging.read import READING
from reportcard.data.sources._mimic.index import Exam, Radiograph
from reportcard.data.sources._mimic.studies import ImageFiles
from reportcard.data.sources._mimic.tree import Tree
from reportcard.data.sources._tables import header_of, rows_of

TABLES = (
    "ms-cxr/1.1.0/MS_CXR_Local_Alignment_v1.1.0.csv",
    "ms-cxr/0.1/MS_CXR_Local_Alignment_v1.0.0.csv",
)
COLUMNS = (
    *("category_name", "label_text", "path", "x", "y", "w", "h"),
    *("image_width", "image_height", "dicom_id"),
)
IMAGE = re.compile(
    r"(?:files/)?p(1\d)/p(1\d{7})/s(5\d{7})/([0-9a-f]{8}(?:-[0-9a-f]{8}){4})\.(?:jpg|dcm)", re.ASCII
)
GIVEN = (
    "MS-CXR gives the model the phrase that is its reference text: text metrics mean nothing here,"
    " the boxes are the answer"
)
ROUNDING = 1.0  # pixels by which a box may pass the image's edge
Key = tuple[int, int, str, str, str]  # subject, study, dicom_id, category, phrase


class MsCXR:
    """The dataset plugin. Every phrase is a study of its own."""

    def __init__(
        self,
        root: str,
        split: str = "all",
        images: str = "jpg",
        table: str | None = None,
        images_root: str | None = None,
    ) -> None:
        if images not in ("jpg", "dicom"):
            raise ReportCardError(f"images is one of jpg, dicom, not {images!r}.")
        self.root, self.split, self.images = Path(root), split, images
        places = [Path(table)] if table else [self.root / name for name in TABLES]
        self._table = next((path for path in places if path.is_file()), places[0])
        self._tree = Tree(root, images_root, images_root)

    @property
    def card(self) -> DatasetCard:
        return DatasetCard(
            title="MS-CXR",
            data_class="credentialed",
            dua_id="physionet-ms-cxr",
            licence="PhysioNet Credentialed Health Data License 1.5.0",
            url="https://physionet.org/content/ms-cxr/",
            caveat=GIVEN,
        )

    def missing(self) -> str | None:
        if self._table.is_file():
            return None
        return (
            f"MS-CXR not found: expected {self._table.resolve()}, or dataset.table=/path/to.csv."
            " It comes from PhysioNet, with credentials (docs/datasets/ms_cxr.md)."
        )

    def select(self) -> Selection:
        problem = self.missing()
        if problem:
            raise ReportCardError(problem)
        phrases, splits, twice, refused = self._phrases()
        total = len(phrases) + refused
        steps = [Step("phrases with an image path of MIMIC-CXR's form", total, len(phrases))]
        keys = sorted(phrases)
        if self.split != "all":
            keys = [key for key in keys if splits[key] == self.split]
            steps.append(Step(f"split is {self.split}", len(phrases), len(keys)))
        suffix = ".dcm" if self.images == "dicom" else ".jpg"
        files = ImageFiles(self._tree.images(self.images), suffix)
        test = tuple(self._study(key, phrases[key], files) for key in keys)
        notes = [
            "the unit is a phrase on an image; the paper prints 1,162,"
            f" here {len(test):,} on {len({key[2] for key in keys}):,} images",
            *([f"boxes that occur twice, counted once: {twice:,}"] if twice else []),
            *files.notes(),
        ]
        return Selection(test, (), tuple(steps), tuple(notes), "phrase")

    def _phrases(self) -> tuple[dict[Key, set[Box]], dict[Key, str], int, int]:
        """Return boxes and split of each phrase, and counts of repeated boxes and bad paths."""
        has_split = "split" in header_of(self._table)
        if self.split != "all" and not has_split:
            raise ReportCardError(f"{self._table}:1: no column split; use dataset.split=all.")
        found: dict[Key, set[Box]] = {}
        splits: dict[Key, str] = {}
        refused: set[tuple[str, ...]] = set()
        twice = 0
        columns = (*COLUMNS, "split") if has_split else COLUMNS
        for line, row in rows_of(self._table, columns):
            category, label, path, *numbers, dicom = row[: len(COLUMNS)]
            text = " ".join(label.split())
            match = IMAGE.fullmatch(path)
            if match is None or match[2][:2] != match[1] or match[4] != dicom:
                refused.add((path, category, text))
                continue
            if not text:
                raise ReportCardError(f"{self._table}:{line}: label_text is empty.")
            key = (int(match[2]), int(match[3]), dicom, category, text)
            box = self._box(line, numbers)
            boxes = found.setdefault(key, set())
            twice += box in boxes
            boxes.add(box)
            if splits.setdefault(key, row[-1] if has_split else "") != (
                row[-1] if has_split else ""
            ):
                raise ReportCardError(f"{self._table}:{line}: this phrase has two splits.")
        return found, splits, twice, len(refused)

    def _box(self, line: int, numbers: list[str]) -> Box:
        try:
            x, y, w, h, width, height = map(float, numbers)
            if w > 0 and h > 0 and min(x, y) >= -ROUNDING and min(width, height) > 0:
                right, bottom = x + w, y + h
                if right <= width + ROUNDING and bottom <= height + ROUNDING:
                    return Box(
                        *(max(x, 0) / width, max(y, 0) / height),
                        *(min(right, width) / width, min(bottom, height) / height),
                    )
        except ValueError:
            pass
        raise ReportCardError(
            f"{self._table}:{line}: x, y, w, h are no box in image_width × image_height."
        )

    def _study(self, key: Key, boxes: set[Box], files: ImageFiles) -> Study:
        subject, study, dicom, category, text = key
        exam = Exam(subject, study, "", None, None, ())
        ordered = sorted(boxes, key=lambda b: (b.x_min, b.y_min, b.x_max, b.y_max))
        return Study(
            request=Request(
                study_id=f"s{study}/{dicom}/{digest([category, text])[:8]}",
                # The set is of frontal images; its table does not say which of AP and PA.
                images=(files.image(exam, Radiograph(dicom, "Frontal", "")),),
                task="phrase_grounding",
                phrase=text,
                provenance={"unit": "phrase", "images": self.images, "reading": READING},
            ),
            # A study without reference text is not scored.
            reference=Report(findings=text, phrases=(Phrase(text, tuple(ordered)),)),
            patient_id=f"p{subject}",
            groups={"category": category, "boxes": "1" if len(boxes) == 1 else "2+"},
        )
