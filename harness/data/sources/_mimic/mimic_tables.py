"""Reads MIMIC-CXR-JPG's split and metadata tables by column name.

Ids are checked here, because the paths of images and reports are built from them. An error names
file and line, and never a patient's id.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from reportcard.api import ReportCardError
from reportcard.data.sources._tables import rows_of

STUDY = re.compile(r"5\d{7}", re.ASCII)
IDS = re.compile(r"1\d{7} 5\d{7} [0-9a-f]{8}(?:-[0-9a-f]{8}){4}", re.ASCII)
SPLITS = ("", "train", "validate", "test")  # "": an image without a row in the split table
# Plain tuples: there are 377,110 of each.
SplitRow = tuple[int, int, int]  # subject, study, place in SPLITS
MetadataRow = tuple[int, int, str, int | None, float | None]  # …, view, date, seconds of the day


def read_split(path: Path) -> dict[str, SplitRow]:
    """Return dicom_id → its row. A repeated row counts once.

    Raises ReportCardError when two rows of one image differ.
    """
    found: dict[str, SplitRow] = {}
    for line, (dicom, study, subject, split) in rows_of(
        path, ("dicom_id", "study_id", "subject_id", "split")
    ):
        if split not in SPLITS[1:]:
            raise ReportCardError(f"{path}:{line}: the split is train, validate or test.")
        row = (*_ids(path, line, dicom, study, subject), SPLITS.index(split))
        if found.setdefault(dicom, row) != row:
            raise ReportCardError(f"{path}:{line}: this dicom_id occurs above with other values.")
    return found


def read_metadata(path: Path) -> dict[str, MetadataRow]:
    """Return dicom_id → its row. Raises ReportCardError when two rows of one image differ."""
    found: dict[str, MetadataRow] = {}
    columns = ("dicom_id", "study_id", "subject_id", "ViewPosition", "StudyDate", "StudyTime")
    for line, (dicom, study, subject, view, date, time) in rows_of(path, columns):
        ids = _ids(path, line, dicom, study, subject)
        row = (*ids, view.strip(), study_date(date), seconds_of_day(time))
        if found.setdefault(dicom, row) != row:
            raise ReportCardError(f"{path}:{line}: this dicom_id occurs above with other values.")
    return found


@lru_cache(maxsize=100_000)
def study_date(text: str) -> int | None:
    """Return StudyDate as an integer YYYYMMDD (shifted into the future); None if it is no date."""
    try:
        date = int(float(text))
    except (ValueError, OverflowError):
        return None
    month, day = date // 100 % 100, date % 100
    return date if len(str(date)) == 8 and 1 <= month <= 12 and 1 <= day <= 31 else None


def seconds_of_day(text: str) -> float | None:
    """Return StudyTime in seconds since midnight; None when it is blank or no time of day.

    The table has HHMMSS.fff as a number, so leading zeros are lost: 80556.875 is 08:05:56.875.
    """
    try:
        value = float(text)
        whole = int(value)
    except (ValueError, OverflowError):
        return None
    hours, minutes, seconds = whole // 10_000, whole // 100 % 100, whole % 100
    if value < 0 or hours > 23 or minutes > 59 or seconds > 59:
        return None
    # Rounded to a microsecond, so that equal times are equal however they are written.
    return round(hours * 3600 + minutes * 60 + seconds + value - whole, 6)


def _ids(path: Path, line: int, dicom: str, study: str, subject: str) -> tuple[int, int]:
    if not IDS.fullmatch(f"{subject} {study} {dicom}"):
        raise ReportCardError(f"{path}:{line}: an id does not have the form of MIMIC-CXR's ids.")
    return int(subject), int(study)
