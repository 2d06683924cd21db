"""Finds the files of MIMIC-CXR: in the official tree under one root, or in two given folders.

<root>/mimic-cxr/2.1.0        mimic-cxr-reports.zip, or files/ of reports; files/ of DICOM
<root>/mimic-cxr-jpg/2.1.0    split and metadata tables, files/ of JPG
Version 2.0.0 and trees without a version folder are found, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from reportcard.api import ReportCardError
from reportcard.data.sources._mimic.mimic_tables import STUDY
from reportcard.data.sources._tables import rows_of

VERSIONS = ("2.1.0", "2.0.0", "")
REPORTS_ZIP = "mimic-cxr-reports.zip"
TABLE = "mimic-cxr-2.0.0-{}.csv.gz"  # the 2.1.0 release keeps this name
TEST_LABELS = "mimic-cxr-2.1.0-test-set-labeled.csv"
SHARED_LABELS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum"),
    *("Fracture", "Lung Lesion", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia"),
    *("Pneumothorax", "Support Devices"),
)


class Tree:
    """The paths of one installation. None: the file or folder does not exist."""

    def __init__(
        self, root: str, reports_root: str | None = None, images_root: str | None = None
    ) -> None:
        self.root = Path(root)
        self._text = _folders(self.root, "mimic-cxr", reports_root)
        self._jpg = _folders(self.root, "mimic-cxr-jpg", images_root)
        self.split, self.metadata = self._table("split"), self._table("metadata")
        zips = (folder / REPORTS_ZIP for folder in self._text)
        self.reports_zip = _first(path for path in zips if path.is_file())

    @cached_property
    def reports_folder(self) -> Path | None:
        """The files/ folder that contains unpacked reports."""
        return _first(
            place
            for folder in self._text
            for place in (folder / "files", folder / "mimic-cxr-reports" / "files")
            if place.is_dir() and any(place.glob("p1?/p*/s*.txt"))
        )

    def absent(self, reports: bool) -> list[str]:
        """Return what is missing and where it was expected. reports: whether they are needed."""
        found = []
        for name, path in (("split", self.split), ("metadata", self.metadata)):
            if path is None:
                found.append(f"{name} table {self._jpg[0] / TABLE.format(name)}")
        if reports and self.reports_zip is None and self.reports_folder is None:
            found.append(f"reports {self._text[0] / REPORTS_ZIP} (or files/p1x/…/s5xxxxxxx.txt)")
        return found

    def images(self, kind: str) -> Path | None:
        """Return the files/ folder of "jpg" or "dicom" images."""
        folders = self._jpg if kind == "jpg" else self._text
        return _first(f / "files" for f in folders if (f / "files").is_dir())

    def labels(self) -> dict[str, dict[str, str]]:
        """Return study id → the radiologist's 14 labels of the 2.1.0 test set ("1.0", "", …).

        The file's Airspace Opacity is returned as Lung Opacity, which is CheXpert's name for it.
        """
        path = _first(f / TEST_LABELS for f in self._jpg if (f / TEST_LABELS).is_file())
        if path is None:
            raise ReportCardError(f"No file at {self._jpg[0] / TEST_LABELS}.")
        found = {}
        for line, row in rows_of(path, ("study_id", *SHARED_LABELS, "Airspace Opacity")):
            study = row[0].removeprefix("s")
            if not STUDY.fullmatch(study):
                raise ReportCardError(
                    f"{path}:{line}: study_id does not have the form of MIMIC-CXR's ids."
                )
            found[f"s{study}"] = dict(zip((*SHARED_LABELS, "Lung Opacity"), row[1:], strict=True))
        return found

    def _table(self, name: str) -> Path | None:
        return _first(
            folder / file
            for folder in self._jpg
            for file in (TABLE.format(name), TABLE.format(name).removesuffix(".gz"))
            if (folder / file).is_file()
        )


def _folders(root: Path, name: str, given: str | None) -> list[Path]:
    if given is not None:
        return [Path(given)]
    return [root / name / version for version in VERSIONS]


def _first(paths: Iterable[Path]) -> Path | None:
    return next(iter(paths), None)
