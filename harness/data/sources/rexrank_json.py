"""Reads ReXrank's JSON: one object, study id → sections, image paths, views, split and context.

    {"<id>": {"key_image_path", "image_path": […], "report", "section_findings",
              "section_impression", "split", "frontal_lateral": […], "context"}}

`frontal_lateral` describes all images of a study, and `image_path` lists those that were kept. In
46 of the 590 rows of the IU file their lengths differ, so it is unknown which image has which view.
The views of such a study are "Unknown", and a note counts these studies. Notes also count studies
whose key image is a lateral view or is not in the list.

ReXrank's references contain the word "None" for an absent section. That is done by the protocol
(`protocol=rexrank`); here an absent section is None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from reportcard.api import (
    DataClass,
    DatasetCard,
    Image,
    Report,
    ReportCardError,
    Request,
    Selection,
    Study,
)
from reportcard.core.imaging.read import READING
from reportcard.core.user_files import Record, by_id, read_records
from reportcard.data.sources._examples import one_of
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

COLUMNS = ("image_path", "section_findings", "section_impression")


class RexrankJson:
    """The dataset plugin for ReXrank's exchange format.

    table           the JSON file in root; null: the only one there
    images          the folder that image paths start from, relative to root
    split           which rows are the test part; null: all of them. "train" rows are the train part
    image_select    all: the images of the row, in its order; key: the key image alone
    """

    def __init__(
        self,
        root: str,
        table: str | None = None,
        images: str = ".",
        split: str | None = "test",
        image_select: Literal["all", "key"] = "all",
        title: str = "ReXrank JSON",
        data_class: DataClass = "credentialed",
        dua_id: str | None = None,
    ) -> None:
        one_of(image_select, ("all", "key"), "image_select")
        one_of(data_class, ("open", "registered", "credentialed"), "data_class")
        self.root, self.table, self.images = Path(root), table, images
        self.split = None if split is None else split.strip().lower()
        self.image_select = image_select
        self.card = DatasetCard(title, data_class, dua_id)

    def missing(self) -> str | None:
        found = table_in(self.root, self.table, (".json",))
        return f"ReXrank JSON not found: {found}." if isinstance(found, str) else None

    def select(self) -> Selection:
        found = table_in(self.root, self.table, (".json",))
        if isinstance(found, str):
            raise ReportCardError(f"ReXrank JSON not found: {found}.")
        records = by_id(read_records(found))
        rows = [(records[name], name) for name in sorted(records, key=natural)]
        for record, _ in rows:
            absent = [column for column in COLUMNS if column not in record.row]
            if absent:
                raise ReportCardError(f"{record.where}: no {', '.join(absent)}; is this ReXrank's?")
        attrition = Attrition("rows in the file", rows)
        chosen = rows
        if self.split is not None:
            rule = f"split = {self.split}"
            chosen = attrition.keep(rule, rows, lambda row: _split(row[0]) == self.split)
        studies = [self._study(record, name) for record, name in chosen]
        studies = attrition.keep("findings or impression", studies, lambda s: has_text(s, "any"))
        studies = attrition.keep("an image is named", studies, lambda s: bool(s.request.images))
        others = rows if self.split not in (None, "train") else []
        train = [self._study(record, name) for record, name in others if _split(record) == "train"]
        odd = Counter(oddity for s in studies for oddity in _oddities(records[s.study_id]))
        return Selection(
            tuple(studies),
            tuple(study for study in train if has_text(study, "any")),
            tuple(attrition.steps),
            (*counted(odd), *image_notes(studies, self.root)),
        )

    def _study(self, record: Record, name: str) -> Study:
        images, views = self._images(record)
        request = Request(
            study_id=name,
            images=images,
            indication=context if (context := cell(record, "context") or "").strip() else None,
            provenance={
                "image_select": self.image_select,
                "views": views,
                "indication": "context",
                "reading": READING,
            },
        )
        findings, impression = (cell(record, f"section_{n}") for n in ("findings", "impression"))
        return Study(
            request=request,
            reference=Report(findings, impression),
            patient_id=patient(request, record, "patient_id", "subject_id"),
        )

    def _images(self, record: Record) -> tuple[tuple[Image, ...], str]:
        paths, views = cells(record, "image_path"), cells(record, "frontal_lateral")
        fits = len(views) == len(paths)
        folder = self.root / self.images
        images = tuple(
            image_at(folder, path, (views[i] if fits else "") or "Unknown", path)
            for i, path in enumerate(paths)
        )
        if self.image_select == "key":
            key = _key(record)
            images = tuple(image for image in images if image.image_id == key)[:1] or images[:1]
        return images, "frontal_lateral" if fits else "list does not fit"


def _oddities(record: Record) -> Iterator[str]:
    """Yield what is wrong with a row's lists, each as a note with a place for the count."""
    paths, views = cells(record, "image_path"), cells(record, "frontal_lateral")
    fits, key = len(views) == len(paths), _key(record)
    if not fits:
        yield "{n} studies whose view list does not fit the image list: views Unknown"
    elif "Frontal" not in views:
        yield "{n} studies with no frontal view"
    if key not in paths:
        yield "{n} studies whose key image is none of their images"
    elif fits and views[paths.index(key)] == "Lateral":
        yield "{n} studies whose key image is a lateral view"


def _key(record: Record) -> str:
    return (cell(record, "key_image_path") or "").strip()


def _split(record: Record) -> str:
    return (cell(record, "split") or "").strip().lower()
