"""Reads your own data from a table and a folder of images (docs/datasets/folder.md).

The table has one row per study, or several rows with the same study_id. Only study_id and one of
findings and impression are required. The columns are:

    study_id findings impression indication technique comparison patient_id age sex split
    image, image_1, image_2, …   paths below root/images; in JSONL also `images`, a list
    view, view_1, view_2, …      beside image, image_1, …; in JSONL also `views`
    group_<name>                 a subgroup that tables are broken down by: group_ward, group_device

The file is CSV, TSV, JSONL or JSON in UTF-8. When an image file does not exist, only its own study
fails, at the time when a model reads it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

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
from reportcard.core.registry import did_you_mean
from reportcard.core.user_files import Record, listed, read_records
from reportcard.data.sources._examples import PER_YEAR, one_of
from reportcard.data.sources._exchange import (
    Attrition,
    cell,
    cells,
    has_text,
    image_notes,
    natural,
    table_in,
)
from reportcard.data.sources._image_lookup import image_at

TEXTS = ("findings", "impression", "indication", "technique", "comparison")
SINGLE = (*TEXTS, "patient_id", "age", "sex", "split")
IMAGE = re.compile(r"image_?(\d*)")
IMAGE_OR_VIEW = re.compile(r"(image|view)(s|_?\d*)")
VIEWS = {
    **dict.fromkeys(("pa", "posteroanterior", "postero_anterior"), "PA"),
    **dict.fromkeys(("ap", "anteroposterior", "antero_posterior"), "AP"),
    **{"frontal": "Frontal", "lateral": "Lateral", "lat": "Lateral", "ll": "LL"},
}
SEXES = {"f": "F", "female": "F", "w": "F", "m": "M", "male": "M"}
PROVENANCE = {"image_select": "all", "reading": READING}  # one object for a million studies
AGE = re.compile(r"(\d{1,3}(?:\.\d+)?)(?:([YMWD])|)", re.IGNORECASE)


class Folder:
    """The dataset plugin for a user's table.

    table           the file in root; null: the only table there
    images          the folder that image paths start from, relative to root
    split           the rows that are tested, where there is a split column; "train" rows are the
                    train part that fitted baselines read
    reference       findings | impression | any: what a study must have to be tested
    data_class      open | registered | credentialed; only open data may be sent to a judge on
                    another machine
    dua_id          the name of the data use agreement in conf/egress.yaml
    """

    def __init__(
        self,
        root: str,
        table: str | None = None,
        images: str = ".",
        split: str = "test",
        reference: str = "findings",
        title: str = "a folder",
        data_class: DataClass = "credentialed",
        dua_id: str | None = None,
    ) -> None:
        one_of(reference, ("findings", "impression", "any"), "reference")
        one_of(data_class, ("open", "registered", "credentialed"), "data_class")
        self.root, self.table, self.images = Path(root), table, images
        self.split, self.reference = split.strip().lower(), reference
        self.card = DatasetCard(title, data_class, dua_id)

    def missing(self) -> str | None:
        found = table_in(self.root, self.table)
        return f"No table of studies: {found}." if isinstance(found, str) else None

    def select(self) -> Selection:
        found = table_in(self.root, self.table)
        if isinstance(found, str):
            raise ReportCardError(f"No table of studies: {found}.")
        records = read_records(found)
        columns = list(dict.fromkeys(c for record in records for c in record.row))
        notes = _check(found, columns)
        named = any(IMAGE_OR_VIEW.fullmatch(c) and c.startswith("image") for c in columns)

        groups: dict[str, list[Record]] = {}
        for record in records:
            groups.setdefault(_study_id(record), []).append(record)
        attrition = Attrition("rows in the table", records)
        firsts = {id(rows[0]) for rows in groups.values()}
        attrition.keep("studies (rows joined by study_id)", records, lambda r: id(r) in firsts)
        splits = {name: (_one(rows, "split") or "").lower() for name, rows in groups.items()}
        everything = [self._study(name, groups[name]) for name in sorted(groups, key=natural)]
        studies, train = everything, list[Study]()
        if "split" in columns:
            rule = f"split = {self.split}"
            studies = attrition.keep(rule, studies, lambda s: splits[s.study_id] == self.split)
            if not studies:
                there = Counter(splits.values())
                spelled = listed([f"{k or 'blank'}: {n:,}" for k, n in sorted(there.items())])
                raise ReportCardError(f"{found}: no row with split {self.split} ({spelled}).")
            if self.split != "train":
                train = [s for s in everything if splits[s.study_id] == "train"]
        rule = "findings or impression" if self.reference == "any" else self.reference
        studies = attrition.keep(
            f"{rule} not empty", studies, lambda s: has_text(s, self.reference)
        )
        if named:
            studies = attrition.keep("an image is named", studies, lambda s: bool(s.request.images))
        train = [study for study in train if has_text(study, self.reference)]
        notes += image_notes(studies, self.root)
        return Selection(tuple(studies), tuple(train), tuple(attrition.steps), tuple(notes))

    def _study(self, name: str, rows: Sequence[Record]) -> Study:
        findings, impression = (_one(rows, column) for column in TEXTS[:2])
        indication, technique, comparison = (_as_written(rows, column) for column in TEXTS[2:])
        request = Request(
            study_id=name,
            images=self._images(rows),
            indication=indication or None,
            technique=technique or None,
            comparison=comparison or None,
            age=_age(rows),
            sex=_sex(rows),
            provenance=PROVENANCE,
        )
        groups = {c for row in rows for c in row.row if c.startswith("group_")}
        return Study(
            request=request,
            reference=Report(findings, impression),
            patient_id=_one(rows, "patient_id") or name,
            groups={c.removeprefix("group_"): _one(rows, c) or "absent" for c in sorted(groups)},
        )

    def _images(self, rows: Sequence[Record]) -> tuple[Image, ...]:
        """Return the images in the order of columns; rows are ordered by their first image."""
        found = [named for row in rows if (named := _named_images(row))]
        pairs = [pair for named in sorted(found, key=lambda n: natural(n[0][0])) for pair in named]
        twice = [path for path, n in Counter(path for path, _ in pairs).items() if n > 1]
        if twice:
            raise ReportCardError(f"{rows[-1].where}: the study names an image twice.")
        folder = self.root / self.images
        return tuple(image_at(folder, path, view, path) for path, view in pairs)


def _check(path: Path, columns: Sequence[str]) -> list[str]:
    """Raise ReportCardError for a wrong header; return notes on columns that are not read."""
    known = ("study_id", *SINGLE)
    where = f"{path}:1" if path.suffix.lower() in (".csv", ".tsv") else f"{path}"
    if "study_id" not in columns:
        guess = did_you_mean("study_id", columns)
        raise ReportCardError(f"{where}: no column study_id; there are {listed(columns)}.{guess}")
    if not {"findings", "impression"} & set(columns):
        guess = did_you_mean("findings", columns)
        raise ReportCardError(
            f"{where}: no column findings or impression; there are {listed(columns)}.{guess}"
        )
    unread = [
        c
        for c in columns
        if c not in known and not IMAGE_OR_VIEW.fullmatch(c) and not c.startswith("group_")
    ]
    hints = [f"{c}{did_you_mean(c, set(known) - set(columns))}" for c in unread]
    return [f"columns that are not read: {listed(hints)}"] if unread else []


def _study_id(record: Record) -> str:
    name = (cell(record, "study_id") or "").strip()
    if not name:
        raise ReportCardError(f"{record.where}: the study_id is blank.")
    return name


def _one(rows: Sequence[Record], column: str) -> str | None:
    """Return the value of a column in the rows of one study, without white space around it.

    None if no row has the column, "" if all are blank. Raises ReportCardError when rows differ.
    """
    found = _as_written(rows, column)
    return None if found is None else found.strip()


def _as_written(rows: Sequence[Record], column: str) -> str | None:
    """Return the same with its white space: models show their prompt's texts as they are."""
    said: dict[str, str] = {}
    where: dict[str, str] = {}
    present = False
    for record in rows:
        text = cell(record, column) if column != "age" else _number(record, column)
        if text is not None:
            present = True
            if text.strip():
                # The least of two spellings, so that the order of rows does not matter.
                said[text.strip()] = min(text, said.get(text.strip(), text))
                where.setdefault(text.strip(), record.where)
    if len(said) > 1:
        raise ReportCardError(
            f"{' and '.join(list(where.values())[:2])}: rows of one study differ in '{column}'."
        )
    return next(iter(said.values())) if said else ("" if present else None)


def _number(record: Record, column: str) -> str | None:
    value = record.row.get(column)
    return str(value) if isinstance(value, float) else cell(record, column)


def _age(rows: Sequence[Record]) -> float | None:
    """Return the age in years, from "72", "72.5", or DICOM's "072Y", "018M", "003W", "010D"."""
    text = _one(rows, "age")
    if not text:
        return None
    match = AGE.fullmatch(text)
    if match is None:
        raise ReportCardError(
            f"{rows[0].where}: the age is neither a number of years nor like 072Y; leave it blank"
            " where it is not known."
        )
    return round(float(match[1]) / PER_YEAR[(match[2] or "Y").upper()], 2)


def _sex(rows: Sequence[Record]) -> str | None:
    text = _one(rows, "sex")
    return SEXES.get(text.lower(), text) if text else None


def _named_images(record: Record) -> list[tuple[str, str]]:
    """Return (path, view) of each image, in the order of image, image_1, image_2, …, images."""
    paths: list[tuple[str, str]] = []
    numbers = [(int(m[1] or 0), c) for c in record.row if (m := IMAGE.fullmatch(c))]
    for _, column in sorted(numbers):
        path = (cell(record, column) or "").strip()
        if path:
            view = cell(record, column.replace("image", "view", 1)) or ""
            paths.append((path, _view(view)))
    many, views = cells(record, "images"), cells(record, "views")
    if views and len(views) != len(many):
        raise ReportCardError(
            f"{record.where}: {len(many)} images and {len(views)} views; give one view per image."
        )
    paths += zip(many, map(_view, views or [""] * len(many)), strict=True)
    return paths


def _view(text: str) -> str:
    """Return the standard name of a view; keep an unknown word; a blank is "Unknown"."""
    word = text.strip()
    return VIEWS.get(word.lower().replace(" ", "").replace("-", ""), word) or "Unknown"
