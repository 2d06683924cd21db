"""Reads CheXpert Plus (Stanford AIMI): one CSV row per image, reports in sections.

The first three parts of `path_to_image` identify a study. The CSV names .jpg files; the files are
.png below PNG/ (or PNG/PNG/, as the archive unpacks). About a quarter of the rows have findings; a
blank cell and a literal backslash-n both mean that a section is absent. Texts are kept as written,
with capitals and "1.2." numbering, because normalising is left to the metrics.

The cohort is one split (`valid`, the published evaluation split) where findings are present. The
train part is the train split with findings. `unit`, `frontal_select` and `lateral_select` are
explained in _examples.py.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath

from reportcard.api import (
    DatasetCard,
    Image,
    Report,
    ReportCardError,
    Request,
    Selection,
    Study,
)
from reportcard.core.files import read_jsonl
from reportcard.data.sources._examples import (
    HAS_FINDINGS,
    ExamplePolicy,
    Expected,
    Rule,
    expectations,
    filtered,
    sex_of,
    text_only,
)
from reportcard.data.sources._image_lookup import ImageLookup
from reportcard.data.sources._tables import Row, one_per, read_table

TABLE = "df_chexpert_plus_240401.csv"
ROOTS = ("PNG", "PNG/PNG", "")  # folders in which <split>/<patient>/<study>/<view>.png was found
SPLITS = ("train", "valid")
COLUMNS = (
    *("path_to_image", "frontal_lateral", "ap_pa", "deid_patient_id"),
    *("section_clinical_history", "section_history", "section_comparison", "section_technique"),
    *("section_findings", "section_impression", "age", "sex", "split"),
)
REPORT = tuple(name for name in COLUMNS if name.startswith("section_"))


class ChexpertPlus:
    """The dataset plugin, with one of the splits as the test part."""

    def __init__(
        self,
        root: str,
        split: str = "valid",
        unit: str = "study",
        frontal_select: str = "all",
        lateral_select: str = "all",
        require_frontal: bool = True,
        expected: Expected | None = None,
    ) -> None:
        self.root = Path(root)
        self.split = split
        self.examples = ExamplePolicy(unit, frontal_select, lateral_select, require_frontal)
        self.expected = (expected or {}).get(unit)

    @property
    def card(self) -> DatasetCard:
        return DatasetCard(
            title="CheXpert Plus (Stanford AIMI)",
            data_class="registered",
            dua_id="stanford-chexpert-plus",
            licence="Stanford University Dataset Research Use Agreement",
            url="https://doi.org/10.71718/6nvz-pm34",
        )

    def missing(self) -> str | None:
        if self._table().is_file():
            return None
        return (
            f"CheXpert Plus not found: expected {self._table().resolve()}, and images as"
            " PNG/<split>/<patient>/<study>/<view>.png beside it. See docs/datasets/"
            "chexpert_plus.md"
        )

    def select(self) -> Selection:
        problem = self.missing()
        if problem:
            raise ReportCardError(problem)
        studies, splits, notes = self._studies()
        if self.split not in splits.values():
            known = ", ".join(sorted(set(splits.values())))
            raise ReportCardError(f"{self._table()} has no split '{self.split}'; it has {known}.")
        examples = self.examples.of(studies)
        rules = [HAS_FINDINGS, *self.examples.rules]

        def of(split: str) -> Rule:
            return f"split {split}", lambda s: splits[_study_key(s.study_id)] == split

        test, steps = filtered(examples, self.examples.counted, [of(self.split), *rules])
        train = (
            ()
            if self.split == "train"
            else filtered(examples, self.examples.counted, [of("train"), *rules])[0]
        )
        notes += (*expectations(self.expected, len(test)), *text_only(test, self.root))
        return Selection(test, train, steps, notes, self.examples.example)

    def labels(self, section: str = "findings") -> dict[str, dict[str, float | None]]:
        """Return study → CheXbert labels of a section, from chexbert_labels/<section>_fixed.json.

        The file has one JSON line per path_to_image. The images of a study have the same labels.
        """
        path = self.root / "chexbert_labels" / f"{section}_fixed.json"
        found: dict[str, dict[str, float | None]] = {}
        for line, row in read_jsonl(path):
            if not isinstance(row.get("path_to_image"), str):
                raise ReportCardError(f"{path}:{line}: no path_to_image.")
            key = _study_key(row.pop("path_to_image"))
            found[key] = {name: None if v is None else float(v) for name, v in row.items()}
        return found

    def _table(self) -> Path:
        return self.root / TABLE

    def _studies(self) -> tuple[list[Study], dict[str, str], tuple[str, ...]]:
        """Return the studies with all images, study → split, and notes on the table."""
        by_study: dict[str, list[Row]] = defaultdict(list)
        splits: dict[str, str] = {}
        for line, row in read_table(self._table(), COLUMNS):
            if row["path_to_image"].count("/") < 3:
                raise ReportCardError(
                    f"{self._table()}:{line}: path_to_image is not"
                    " <split>/<patient>/<study>/<view>.jpg."
                )
            key = _study_key(row["path_to_image"])
            if splits.setdefault(key, row["split"]) != row["split"]:
                raise ReportCardError(
                    f"{self._table()}:{line}: another split than its study's first."
                )
            by_study[key].append(row)
        lookup, studies, differing, repeated = ImageLookup(self.root), [], 0, 0
        present = [name for name in ROOTS if any((self.root / name / s).is_dir() for s in SPLITS)]
        for key, listed in sorted(by_study.items()):
            rows = one_per("path_to_image", listed)
            repeated += len(listed) - len(rows)
            differing += len({tuple(row[name] for name in REPORT) for row in listed}) > 1
            studies.append(self._study(key, rows, lookup, present or list(ROOTS[:1])))
        notes = lookup.notes()
        if repeated:
            notes += (f"{repeated:,} rows repeat a path of their study: left out",)
        if differing:
            notes += (f"{differing:,} studies have rows with different reports: first path taken",)
        return studies, splits, notes

    def _study(self, key: str, rows: list[Row], lookup: ImageLookup, folders: list[str]) -> Study:
        first = rows[0]
        images = tuple(_image(row, lookup, folders) for row in rows)
        indication = _section(first["section_clinical_history"]) or _section(
            first["section_history"]
        )
        age = first["age"].strip()
        return Study(
            request=Request(
                study_id=key,
                images=images,
                indication=indication,
                technique=_section(first["section_technique"]),
                comparison=_section(first["section_comparison"]),
                age=float(age) if age.replace(".", "", 1).isdecimal() else None,
                sex=sex_of(first["sex"]),
                provenance={
                    **self.examples.provenance,
                    "indication": "section_clinical_history, else section_history",
                },
            ),
            reference=Report(
                _section(first["section_findings"]), _section(first["section_impression"])
            ),
            patient_id=first["deid_patient_id"] or PurePosixPath(key).parts[1],
            groups={
                "sex": sex_of(first["sex"]) or "unknown",
                "indication": "given" if indication else "absent",
                "frontal_images": str(sum(image.frontal for image in images)),
            },
        )


def _study_key(path: str) -> str:
    """Return valid/patient1/study1 for valid/patient1/study1/view1_frontal.jpg."""
    return "/".join(path.split("/")[:3])


def _image(row: Row, lookup: ImageLookup, folders: list[str]) -> Image:
    path = row["path_to_image"]
    stem = path.removesuffix(".jpg")
    view = row["frontal_lateral"].strip() or "Unknown"
    if view == "Frontal" and row["ap_pa"].strip() in ("AP", "PA"):
        view = row["ap_pa"].strip()
    return lookup.image(stem, view, *(f"{root}/{stem}.png".lstrip("/") for root in folders))


def _section(cell: str) -> str | None:
    """Return a section as written, None if it is blank or a literal backslash-n."""
    return None if cell.strip() in ("", "\\n") else cell
