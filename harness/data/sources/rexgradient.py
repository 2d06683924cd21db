"""Reads ReXGradient-160K (Gradient Health, Harvard): public splits of 160,000 studies.

We read `metadata/<split>_metadata_view_position.json`, which maps an id to texts, image paths and
views. `<split>_metadata.csv` beside it is used only to compare the number of studies. Paths begin
with `../deid_png/`, which lies in the root here. A list of views may be shorter than the list of
paths; the images after its end get the view `Unknown` and are counted.

The test set of the ReXrank website is a different, private one. The unit is a study.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from reportcard.api import DatasetCard, Json, Report, ReportCardError, Request, Selection, Study
from reportcard.data.sources._examples import (
    HAS_FINDINGS,
    PER_YEAR,
    ExamplePolicy,
    Expected,
    Rule,
    expectations,
    filtered,
    sex_of,
    text_only,
)
from reportcard.data.sources._image_lookup import ImageLookup
from reportcard.data.sources._tables import read_json_file, read_table

SPLITS = ("train", "valid", "test")
VIEWS = {
    **dict.fromkeys(("PA", "POSTERO_ANTERIOR"), "PA"),
    **dict.fromkeys(("AP", "ANTERO_POSTERIOR", "AP AXIAL"), "AP"),
    **dict.fromkeys(("LATERAL", "LL", "RL", "LEFT LATERAL", "RIGHT LATERAL"), "Lateral"),
}


class ReXGradient:
    """The dataset plugin, with one of the public splits as the test part."""

    def __init__(
        self,
        root: str,
        split: str = "test",
        unit: str = "study",
        frontal_select: str = "all",
        lateral_select: str = "all",
        require_frontal: bool = False,
        train: bool = True,
        expected: Expected | None = None,
    ) -> None:
        self.root = Path(root)
        if split not in SPLITS:
            raise ReportCardError(
                f"ReXGradient has no split '{split}'; it has {', '.join(SPLITS)}."
            )
        self.split = split
        self.examples = ExamplePolicy(unit, frontal_select, lateral_select, require_frontal)
        self.train = train and split != "train"
        self.expected = (expected or {}).get(unit)

    @property
    def card(self) -> DatasetCard:
        return DatasetCard(
            title="ReXGradient-160K",
            data_class="registered",
            dua_id="rexgradient",
            licence="ReXGradient Non-Commercial Data Access and Use Agreement",
            url="https://huggingface.co/datasets/rajpurkarlab/ReXGradient-160K",
        )

    def missing(self) -> str | None:
        absent = [
            str(path.resolve())
            for path in (self._metadata(split) for split in self._wanted())
            if not path.is_file()
        ]
        if not absent:
            return None
        return (
            f"ReXGradient not found: expected {' and '.join(absent)}, and images below deid_png/"
            " beside metadata/. See docs/datasets/rexgradient.md"
        )

    def select(self) -> Selection:
        problem = self.missing()
        if problem:
            raise ReportCardError(problem)
        lookup = ImageLookup(self.root)
        odd: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
        parts = {
            split: [
                self._study(key, item, f"{self._metadata(split)}: entry {n}", lookup, odd[split])
                for key, (n, item) in sorted(self._entries(split).items())
            ]
            for split in self._wanted()
        }
        rules: list[Rule] = [
            HAS_FINDINGS,
            ("at least one image", lambda s: bool(s.request.images)),
            *self.examples.rules,
        ]
        (test, steps), (train, _) = (
            filtered(self.examples.of(parts.get(name, [])), first, rules)
            for name, first in (
                (self.split, f"{self.examples.counted} of split {self.split}"),
                ("train", "train"),
            )
        )
        notes = (
            *self._notes(len(parts[self.split]), odd[self.split]),
            *lookup.notes(),
            *expectations(self.expected, len(parts[self.split])),
            *text_only(test, self.root),
        )
        return Selection(test, train if self.train else (), steps, notes, self.examples.example)

    def _wanted(self) -> list[str]:
        return [self.split, *(["train"] if self.train else [])]

    def _metadata(self, split: str) -> Path:
        return self.root / "metadata" / f"{split}_metadata_view_position.json"

    def _entries(self, split: str) -> dict[str, tuple[int, Any]]:
        """Return id → (position in the file, entry). Errors name the position, not the id."""
        items = read_json_file(self._metadata(split), dict).items()
        return {key: (n, item) for n, (key, item) in enumerate(items)}

    def _study(
        self, key: str, item: Any, where: str, lookup: ImageLookup, odd: Counter[str]
    ) -> Study:
        if not isinstance(item, dict):
            raise ReportCardError(f"{where} must be an object.")
        paths, views = (_strings(item, name, where) for name in ("ImagePath", "ImageViewPosition"))
        odd["lists of views shorter than the list of images"] += len(views) < len(paths)
        odd["lists of views longer than the list of images"] += len(views) > len(paths)
        images = []
        # A path that is listed twice is one image, with the first view that is given for it.
        spelled: dict[str, str | None] = {}
        for path, spelling in zip(paths, views + [None] * len(paths), strict=False):
            spelled[path] = spelled.get(path) or spelling
        odd["image paths listed twice in a study: left out"] += len(paths) - len(spelled)
        for path, spelling in spelled.items():
            view = VIEWS.get((spelling or "").strip().upper(), "Unknown")
            odd["views of a spelling that is not mapped"] += view == "Unknown" and bool(spelling)
            below = path.removeprefix("../")
            images.append(lookup.image(below.removesuffix(".png"), view, below))
        text = {name: _text(item, name, where) for name in ("Findings", "Impression")}
        context = {name: _text(item, name, where) for name in ("Indication", "Comparison")}
        sex = sex_of(str(item.get("PatientSex") or ""))
        return Study(
            request=Request(
                study_id=key,
                images=tuple(images),
                indication=context["Indication"],
                comparison=context["Comparison"],
                age=years(str(item.get("PatientAge") or "")),
                sex=sex,
                provenance={**self.examples.provenance, "short view list": "Unknown"},
            ),
            reference=Report(text["Findings"], text["Impression"]),
            patient_id=str(item.get("PatientID") or key),
            groups={
                "sex": sex or "unknown",
                "indication": "given" if context["Indication"] else "absent",
                "frontal_images": str(sum(image.frontal for image in images)),
            },
        )

    def _notes(self, n: int, odd: Counter[str]) -> tuple[str, ...]:
        notes = [f"{count:,} {what}" for what, count in sorted(odd.items()) if count]
        table = self.root / "metadata" / f"{self.split}_metadata.csv"
        if table.is_file():
            rows = sum(1 for _ in read_table(table, ()))
            if rows != n:
                notes.append(f"{table.name} has {rows:,} rows; the JSON {n:,} studies")
        return tuple(notes)


def _strings(item: Json, name: str, where: str) -> list[Any]:
    """Return a list of str and None; a single string becomes a list of one, null an empty list."""
    value = item.get(name)
    values = [value] if isinstance(value, str) else value or []
    allowed = (str, type(None)) if name == "ImageViewPosition" else str
    if not isinstance(values, list) or not all(isinstance(v, allowed) for v in values):
        raise ReportCardError(f"{where}: {name} must be a list of strings.")
    return values


def _text(item: Json, name: str, where: str) -> str | None:
    value = item.get(name)
    if value is not None and not isinstance(value, str):
        raise ReportCardError(f"{where}: {name} must be a string or null.")
    return value if value and value.strip() else None


def years(age: str) -> float | None:
    """Return a DICOM age string in years: "072Y" is 72.0, "006M" is 0.5; None if it is none."""
    found = re.fullmatch(r"(\d{3})([YMWD])", age.strip())
    return None if found is None else int(found[1]) / PER_YEAR[found[2]]
