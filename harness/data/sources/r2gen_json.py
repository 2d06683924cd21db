"""Reads R2Gen's annotation.json: {"train": […], "val": […], "test": […]}, one report per row.

    {"id": "…", "report": "…", "image_path": ["…/0.png", "…/1.png"], "split": "test"}

The MIMIC file also has `study_id` and `subject_id`, and one row per image, so its unit and its n
are images. `subject_id` is the patient, by which confidence intervals resample.

The list that contains a row gives its split. A widespread copy of the file spells "test" as four
spaces: such a list is read as test if there is no other, rows with such a split stay in their list,
and notes report both. The file has no views (0.png is not always frontal), so all are "Unknown".

R2Gen scores cleaned and shortened references (`protocol=r2gen`). This module reads the raw reports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from reportcard.api import (
    DataClass,
    DatasetCard,
    Report,
    ReportCardError,
    Request,
    Selection,
    Study,
)
from reportcard.core.files import read_json
from reportcard.core.imaging.read import READING
from reportcard.core.user_files import Record
from reportcard.data.sources._examples import PAIR, one_of
from reportcard.data.sources._exchange import (
    Attrition,
    cell,
    cells,
    counted,
    has_text,
    image_notes,
    natural,
    patient,
    table_in,
)
from reportcard.data.sources._image_lookup import image_at

SPLITS = ("train", "val", "test")


def read_annotations(path: Path) -> tuple[dict[str, list[Record]], list[str]]:
    """Return split → rows in file order, and notes on unusual spellings.

    Raises ReportCardError naming the file and the row (`file: test[3]`) when it has another shape.
    """
    value = read_json(path)
    counts: Counter[str] = Counter()
    found: dict[str, list[Record]] = {}
    for key, rows in value.items():
        name = key.strip().lower() or ("test" if "test" not in value else key)
        name = "val" if name in ("valid", "validate", "validation", "dev") else name
        if name not in SPLITS or not isinstance(rows, list) or name in found:
            raise ReportCardError(
                f"{path}: expected an object with the lists {', '.join(SPLITS)}; found {key!r}."
            )
        if not key.strip():
            counts[f"the list of the test part is called {key!r} in the file"] += 1
        found[name] = [_row(path, name, number, row, counts) for number, row in enumerate(rows)]
    return found, counted(counts)


def _row(path: Path, split: str, number: int, row: object, counts: Counter[str]) -> Record:
    where = f"{path}: {split}[{number}]"
    if not isinstance(row, dict) or not {"id", "report", "image_path"} <= set(row):
        raise ReportCardError(f"{where}: expected an object with id, report, image_path.")
    record = Record(where, row)
    own = cell(record, "split")
    if own is not None and not own.strip():
        counts["{n} rows spell their split as blanks; the list that contains them decides"] += 1
    elif own is not None and own.strip().lower() != split:
        counts["{n} rows name another split than the list that contains them, which decides"] += 1
    return record


class R2GenJson:
    """The dataset plugin for R2Gen's exchange format.

    table    the annotation file in root
    images   the folder that image paths start from, relative to root
    split    the list that is the test part; the list "train" is the train part
    """

    def __init__(
        self,
        root: str,
        table: str = "annotation.json",
        images: str = "images",
        split: str = "test",
        title: str = "R2Gen annotation.json",
        data_class: DataClass = "credentialed",
        dua_id: str | None = None,
    ) -> None:
        one_of(split, SPLITS, "split")
        one_of(data_class, ("open", "registered", "credentialed"), "data_class")
        self.root, self.table, self.images, self.split = Path(root), table, images, split
        self.card = DatasetCard(title, data_class, dua_id)

    def missing(self) -> str | None:
        found = table_in(self.root, self.table)
        return f"R2Gen annotations not found: {found}." if isinstance(found, str) else None

    def select(self) -> Selection:
        problem = self.missing()
        if problem:
            raise ReportCardError(problem)
        lists, notes = read_annotations(self.root / self.table)
        rows = [(split, row) for split, found in lists.items() for row in found]
        attrition = Attrition("rows in the file", rows)
        chosen = attrition.keep(f"list {self.split}", rows, lambda row: row[0] == self.split)
        studies = self._studies([row for _, row in chosen])
        studies = attrition.keep("report not empty", studies, lambda s: has_text(s, "findings"))
        studies = attrition.keep("an image is named", studies, lambda s: bool(s.request.images))
        train = self._studies(lists.get("train", []) if self.split != "train" else [])
        return Selection(
            tuple(studies),
            tuple(study for study in train if has_text(study, "findings")),
            tuple(attrition.steps),
            (*notes, *_shared(lists), *image_notes(studies, self.root)),
            PAIR if any("study_id" in row.row for _, row in chosen) else "study",
        )

    def _studies(self, rows: Sequence[Record]) -> list[Study]:
        return sorted(map(self._study, rows), key=lambda study: natural(study.study_id))

    def _study(self, record: Record) -> Study:
        name = (cell(record, "id") or "").strip()
        if not name:
            raise ReportCardError(f"{record.where}: the id is blank.")
        folder = self.root / self.images
        request = Request(
            study_id=name,
            images=tuple(image_at(folder, p, "Unknown", p) for p in cells(record, "image_path")),
            provenance={"image_select": "all", "views": "not given", "reading": READING},
        )
        return Study(
            request=request,
            reference=Report(findings=cell(record, "report")),
            patient_id=patient(request, record, "subject_id"),
        )


def _shared(lists: Mapping[str, Sequence[Record]]) -> list[str]:
    """Return a note when a patient is in train and test, which no official split has."""
    train, test = (
        {(cell(row, "subject_id") or "") for row in lists.get(name, ())} - {""}
        for name in ("train", "test")
    )
    return [f"{len(train & test):,} subjects are in train and in test"] if train & test else []
