"""Builds and reads an index of MIMIC-CXR's tables and reports, so that a cohort opens quickly.

The index is one NumPy .npz (no pickles, no report text). It holds the split and metadata tables and
the directory of the reports' zip as columns. It lies beside the tables or, where the data root is
read-only, under `$REPORTCARD_CACHE/indexes`. Its key is made of INDEX_VERSION, the sha256 of both
tables, and the size and time of the zip; an index with another key, or a damaged one, is built
again. A cohort reads only the patients of its split, and opens only their reports.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from reportcard.api import ReportCardError
from reportcard.core.files import canonical, digest, file_digest, write_atomic
from reportcard.core.weights import weights_dir
from reportcard.data.sources._mimic.mimic_tables import SPLITS, read_metadata, read_split
from reportcard.data.sources._mimic.reports import COLUMNS, Columns, zip_columns

INDEX_VERSION = 1
NAME = "reportcard-index.npz"
IMAGE_COLUMNS = ("subject", "study", "dicom", "split", "view", "date", "seconds")


@dataclass(frozen=True, slots=True)
class Radiograph:
    """One image. view: None if it has no metadata row. split: "" if it has no split row."""

    dicom_id: str
    view: str | None
    split: str


@dataclass(frozen=True, slots=True)
class Exam:
    """One study, with its images in dicom_id order. Date and time are those of the earliest."""

    subject: int
    study: int
    split: str
    date: int | None
    seconds: float | None
    images: tuple[Radiograph, ...]


@dataclass(frozen=True)
class Sources:
    """The files that an index is built from. reports_zip: None if reports lie in a folder."""

    split: Path
    metadata: Path
    reports_zip: Path | None

    def key(self) -> str:
        """Return the digest that changes when one of the files changes."""
        found: list[object] = [INDEX_VERSION, file_digest(self.split), file_digest(self.metadata)]
        if self.reports_zip is not None:
            stat = self.reports_zip.stat()
            found += [stat.st_size, stat.st_mtime_ns]
        return digest(found)


@dataclass(frozen=True)
class IndexHead:
    """The key of an index and its counts. `views`: the ViewPosition that each code stands for."""

    key: str
    views: list[str]
    images: int
    studies: int
    split_without_metadata: int
    metadata_without_split: int


@dataclass(frozen=True)
class Index:
    """Columns of the images, ordered by (subject, study, dicom), and columns of the zip."""

    head: IndexHead
    columns: Mapping[str, np.ndarray]

    def patients(self, split: str) -> dict[int, list[Exam]]:
        """Return subject → all exams, by study id, for subjects with an image in the split."""
        subjects, splits = self.columns["subject"], self.columns["split"]
        wanted = np.unique(subjects[splits == SPLITS.index(split)])
        rows = np.flatnonzero(np.isin(subjects, wanted))
        views = self.head.views
        table = zip(*(self.columns[name][rows].tolist() for name in IMAGE_COLUMNS), strict=True)
        found: dict[int, list[Exam]] = {}
        for (subject, study), images in groupby(table, key=itemgetter(0, 1)):
            found.setdefault(subject, []).append(_exam(subject, study, list(images), views))
        return found

    def reports(self) -> Columns:
        """Return the columns that say where each report lies in the zip."""
        return {name: self.columns[name] for name in COLUMNS}


def open_index(sources: Sources) -> Index:
    """Read the index of these files, or build and save it when there is no valid one."""
    key = sources.key()
    where = digest([str(p.resolve()) for p in (sources.split, sources.metadata)])[:12]
    places = (
        sources.split.parent / NAME,
        weights_dir().parent / "indexes" / f"mimic-cxr-{where}.npz",
    )
    for place in places:
        known = _read(place, key)
        if known is not None:
            return known
    head, columns = _build(sources, key)
    arrays: dict[str, Any] = {
        "head": np.frombuffer(canonical(asdict(head)).encode(), np.uint8),
        **columns,
    }
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    for place in places:
        # Many data roots are read-only. Without a writable cache, the next run builds again.
        with contextlib.suppress(OSError):
            if place is places[1]:
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(place, buffer.getvalue())
            break
    return Index(head, columns)


def _read(path: Path, key: str) -> Index | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            head = IndexHead(**json.loads(file["head"].tobytes()))
            if head.key != key:
                return None
            return Index(head, {name: file[name] for name in (*IMAGE_COLUMNS, *COLUMNS)})
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
        return None


def _build(sources: Sources, key: str) -> tuple[IndexHead, dict[str, np.ndarray]]:
    split, metadata = read_split(sources.split), read_metadata(sources.metadata)
    for dicom in split.keys() & metadata.keys():
        if split[dicom][:2] != metadata[dicom][:2]:
            raise ReportCardError(
                f"{sources.split} and {sources.metadata} give one image to different studies:"
                " they are not of one release."
            )
    dicoms = sorted(split.keys() | metadata.keys())
    nowhere = (0, 0, 0)
    unknown = (0, 0, None, None, None)
    listed = [split.get(dicom, nowhere) for dicom in dicoms]
    described = [metadata.get(dicom, unknown) for dicom in dicoms]
    views = sorted({row[2] for row in metadata.values()})
    codes: dict[str | None, int] = {None: -1}
    codes.update((view, code) for code, view in enumerate(views))
    columns = {
        "subject": np.array([a[0] or b[0] for a, b in zip(listed, described, strict=True)], "<i4"),
        "study": np.array([a[1] or b[1] for a, b in zip(listed, described, strict=True)], "<i4"),
        "dicom": np.array(dicoms, "S44"),
        "split": np.array([row[2] for row in listed], "i1"),
        "view": np.array([codes[row[2]] for row in described], "<i2"),
        "date": np.array([row[3] or 0 for row in described], "<i4"),
        "seconds": np.array([row[4] for row in described], "<f8"),  # None becomes NaN
    }
    order = np.lexsort((columns["study"], columns["subject"]))  # stable: dicom_id comes last
    columns = {name: column[order] for name, column in columns.items()}
    _check_patients(columns, sources.split)
    head = IndexHead(
        key=key,
        views=views,
        images=len(dicoms),
        studies=len(np.unique(columns["study"])),
        split_without_metadata=len(split.keys() - metadata.keys()),
        metadata_without_split=len(metadata.keys() - split.keys()),
    )
    zipped = sources.reports_zip
    empty = {name: np.array([], kind) for name, kind in COLUMNS.items()}
    return head, {**columns, **(empty if zipped is None else zip_columns(zipped))}


def _check_patients(columns: Mapping[str, np.ndarray], path: Path) -> None:
    """Raise ReportCardError unless every study has one patient and every patient one split.

    It follows that no prior can come from another split.
    """
    listed = columns["split"] > 0
    pairs = np.unique(np.stack([columns["subject"], columns["split"]])[:, listed], axis=1)
    torn = pairs.shape[1] - len(np.unique(pairs[0]))
    if torn:
        raise ReportCardError(
            f"{path}: {torn} patients are in two splits; the official split is by patient."
        )
    owners = np.unique(np.stack([columns["study"], columns["subject"]]), axis=1)
    torn = owners.shape[1] - len(np.unique(owners[0]))
    if torn:
        raise ReportCardError(f"{path}: {torn} studies belong to two patients.")


def _exam(subject: int, study: int, rows: list[tuple], views: list[str]) -> Exam:  # type: ignore[type-arg]
    dates = [row[5] for row in rows if row[5]]
    date = min(dates, default=None)
    times = [row[6] for row in rows if row[5] == date and row[6] == row[6]]
    return Exam(
        subject,
        study,
        split=SPLITS[max(row[3] for row in rows)],
        date=date,
        seconds=min(times, default=None) if date else None,
        images=tuple(
            Radiograph(row[2].decode(), None if row[4] < 0 else views[row[4]], SPLITS[row[3]])
            for row in rows
        ),
    )
