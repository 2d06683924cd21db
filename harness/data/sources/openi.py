"""Reads Open-I, the Indiana University chest X-ray collection (3,955 reports, CC BY-NC-ND 4.0).

Reports come from NLMCXR_reports.tgz (`reportcard fetch openi`) or from a folder of its XML files.
The view of each image comes from data/openi_views.csv, which says frontal or lateral per image and
is derived from the public Kaggle file `indiana_projections.csv`. The DICOM tag View Position is not
used because it is wrong for a third of the images.

Cohorts
    findings     findings and at least one frontal view: 3,199 studies, 3,307 frontal images.
                 Train part: the 226 other studies with findings (no frontal view, or no image).
    r2gen_test   R2Gen's split of the 2,955 studies with findings and at least two images:
                 590 test, 2,069 train; the 296 validation studies are in neither.
"""

from __future__ import annotations

import contextlib
import csv
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element, ParseError

from reportcard.api import (
    DatasetCard,
    Image,
    Json,
    Report,
    ReportCardError,
    Request,
    Selection,
    Step,
    Study,
)
from reportcard.core.download import ARCHIVE, fetch_openi
from reportcard.core.files import canonical, digest, file_digest, read_jsonl, write_atomic

FOLDER = "ecgen-radiology"
INDEX_VERSION = 2
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # becomes part of a path
MAX_XML_BYTES = 1_000_000  # the largest of the 3,955 has under 20 kB


@dataclass(frozen=True, slots=True)
class OpenIRecord:
    """One parsed report. An absent section is "". `mesh`: tags of its human indexers."""

    id: str
    findings: str
    impression: str
    indication: str
    comparison: str
    mesh: tuple[str, ...]
    images: tuple[str, ...]

    @classmethod
    def of_json(cls, row: Json) -> OpenIRecord:
        """Read a line of the parsed reports. Raises KeyError or TypeError for anything else."""
        return cls(**{**row, "mesh": tuple(row["mesh"]), "images": tuple(row["images"])})


class OpenI:
    """The dataset plugin, with one of its named cohorts selected."""

    def __init__(self, root: str, cohort: Literal["findings", "r2gen_test"] = "findings") -> None:
        self.root = Path(root)
        if cohort not in ("findings", "r2gen_test"):
            raise ReportCardError(f"Open-I has no cohort '{cohort}'; it has findings, r2gen_test.")
        self.cohort = cohort

    @property
    def card(self) -> DatasetCard:
        return DatasetCard(
            title="Open-I (Indiana University)",
            data_class="open",
            licence="CC BY-NC-ND 4.0",
            url="https://openi.nlm.nih.gov/",
        )

    def missing(self) -> str | None:
        if self._archive().is_file() or self._folder().is_dir():
            return None
        return (
            f"Open-I reports not found: expected {self._archive().resolve()} or"
            f" {self._folder().resolve()}/*.xml."
            " Run: reportcard fetch openi"
        )

    def fetch(self, say: Callable[[str], None]) -> None:
        """Download the reports (no images) and verify their hash."""
        fetch_openi(self.root, say)

    def select(self) -> Selection:
        problem = self.missing()
        if problem:
            raise ReportCardError(problem)
        records, damaged = self._records()
        studies = [self._study(record) for record in records]
        steps = [Step("reports in the collection", len(studies) + len(damaged), len(studies))]
        notes = [f"damaged file left out: {name}" for name in damaged]

        present = [s for s in studies if s.reference.findings]
        steps.append(Step("findings not empty", len(studies), len(present)))
        if self.cohort == "findings":
            test = [s for s in present if any(i.view == "Frontal" for i in s.request.images)]
            steps.append(Step("at least one frontal view", len(present), len(test)))
            chosen = {s.study_id for s in test}
            train = [s for s in present if s.study_id not in chosen]
        else:
            pairs = [s for s in present if len(s.request.images) >= 2]
            steps.append(Step("at least two images", len(present), len(pairs)))
            split = _r2gen_split()
            test = [s for s in pairs if split.get(s.study_id) == "test"]
            train = [s for s in pairs if split.get(s.study_id) == "train"]
            steps.append(Step("R2Gen test split", len(pairs), len(test)))
        if not any(image.path for s in test for image in s.request.images):
            notes.append(
                f"text only: no images under {self.root} (models that need pixels cannot run)"
            )
        return Selection(tuple(test), tuple(train), tuple(steps), tuple(notes))

    def mesh_tags(self) -> dict[str, tuple[str, ...]]:
        """Return, for all studies, study id → the indexers' MeSH tags, as "Term/qualifier/…".

        Raises ReportCardError when the reports are not in place.
        """
        return {record.id: record.mesh for record in self._all()}

    def reports(self) -> dict[str, Report]:
        """Return study id → report for every report of the collection, whatever the cohort."""
        return {r.id: Report(r.findings, r.impression) for r in self._all()}

    def _all(self) -> list[OpenIRecord]:
        problem = self.missing()
        if problem:
            raise ReportCardError(problem)
        return self._records()[0]

    def _archive(self) -> Path:
        return self.root / ARCHIVE

    def _folder(self) -> Path:
        return self.root / FOLDER

    def _records(self) -> tuple[list[OpenIRecord], list[str]]:
        """Return the parsed reports in id order, and the names of damaged files.

        Parsing 20 MB of XML takes two seconds, so the result is stored beside the archive under a
        name with the archive's digest.
        """
        if self._archive().is_file():
            source = self._archive()
            index = self.root / f"reports-{file_digest(source)[:8]}-v{INDEX_VERSION}.jsonl"
            known = _read_index(index)
            if known is not None:
                return known
            records, damaged = parse_reports(_archive_members(source))
            rows = [asdict(record) for record in records]
            head = {"damaged": damaged, "records_sha256": digest(rows)}
            lines = [canonical(row) for row in (head, *rows)]
            # In a read-only data root, the next run parses again.
            with contextlib.suppress(OSError):
                write_atomic(index, "\n".join(lines) + "\n")
            return records, damaged
        files = sorted(self._folder().glob("*.xml"))
        return parse_reports((path.name, path.read_bytes()) for path in files)

    def _study(self, record: OpenIRecord) -> Study:
        views, files = _views(), _image_files(self.root)
        images = tuple(
            Image(name, views.get(name, "Unknown"), files.get(name))
            for name in sorted(record.images)
        )
        frontal = sum(image.view == "Frontal" for image in images)
        normal = [term.lower() for term in record.mesh] == ["normal"]
        return Study(
            request=Request(
                study_id=record.id,
                images=images,
                indication=record.indication or None,
                comparison=record.comparison or None,
                # No provenance, because published fingerprints (c9fa24e6) were made without it.
            ),
            reference=Report(record.findings, record.impression),
            # Open-I publishes one report per study and no patient key.
            patient_id=record.id,
            groups={
                "normal": "normal" if normal else "abnormal",
                "frontal_images": str(frontal),
                "indication": "given" if record.indication else "absent",
            },
        )


def _read_index(path: Path) -> tuple[list[OpenIRecord], list[str]] | None:
    """Return the parsed reports of an earlier run; None when the file is absent or incomplete."""
    try:
        (_, head), *rows = read_jsonl(path)
        if digest([row for _, row in rows]) != head["records_sha256"]:
            return None
        return [OpenIRecord.of_json(row) for _, row in rows], head["damaged"]
    except (ReportCardError, ValueError, KeyError, TypeError):
        return None


@cache
def _image_files(root: Path) -> dict[str, Path]:
    """Return image id → file for the PNGs in root or in a folder below it, as the tgz unpacks."""
    return {path.stem: path for pattern in ("*.png", "*/*.png") for path in root.glob(pattern)}


@cache
def _views() -> dict[str, str]:
    with (Path(__file__).parent / "data" / "openi_views.csv").open(encoding="utf-8") as handle:
        return {row["image_id"]: row["view"] for row in csv.DictReader(handle)}


@cache
def _r2gen_split() -> dict[str, str]:
    path = Path(__file__).parent / "data" / "openi_r2gen_split.csv"
    with path.open(encoding="utf-8") as handle:
        return {row["study_id"]: row["split"] for row in csv.DictReader(handle)}


def _archive_members(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".xml"):
                    handle = archive.extractfile(member)
                    assert handle is not None
                    # One byte over the limit shows that a member is too large.
                    yield member.name, handle.read(MAX_XML_BYTES + 1)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ReportCardError(
            f"{path} is damaged ({error}). Delete it and run: reportcard fetch openi"
        ) from error


def parse_reports(files: Iterable[tuple[str, bytes]]) -> tuple[list[OpenIRecord], list[str]]:
    """Parse XML reports, given as (name, bytes).

    Returns the records in numeric order of their ids, and the names of damaged files.
    Raises ReportCardError when two files have the same study id.
    """
    records: dict[str, OpenIRecord] = {}
    where: dict[str, str] = {}
    damaged = []
    for name, data in files:
        try:
            record = _parse_report(data)
        except ValueError as error:
            damaged.append(f"{name} ({error})")
            continue
        study_id = record.id
        if study_id in records:
            raise ReportCardError(f"Study id {study_id} is in two files: {where[study_id]}, {name}")
        records[study_id], where[study_id] = record, name
    return [records[key] for key in sorted(records, key=_numeric)], sorted(damaged)


def _numeric(study_id: str) -> tuple[int, str]:
    digits = study_id.removeprefix("CXR")
    return (int(digits), study_id) if digits.isdecimal() else (2**62, study_id)


def _parse_report(data: bytes) -> OpenIRecord:
    """Parse one <eCitation>. Raises ValueError saying what is wrong with it."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    if not data.strip():
        raise ValueError("empty file")
    if len(data) > MAX_XML_BYTES:
        raise ValueError(f"more than {MAX_XML_BYTES:,} bytes")
    try:
        root: Element = fromstring(data, forbid_dtd=True)
    except ParseError as error:
        raise ValueError(f"not well-formed XML: {error}") from None
    except DefusedXmlException as error:
        raise ValueError(f"DTD or entity refused: {type(error).__name__}") from None
    uid = root.find("uId")
    study_id = "" if uid is None else uid.get("id", "")
    if not study_id:
        raise ValueError("no <uId id=…>")
    sections = {
        node.get("Label", "").lower(): (node.text or "").strip()
        for node in root.iter("AbstractText")
    }
    images = [node.get("id", "") for node in root.iterfind("parentImage")]
    for name in (study_id, *images):
        if not SAFE_ID.fullmatch(name):
            raise ValueError(f"id {name[:80]!r} could leave the data root")
    return OpenIRecord(
        id=study_id,
        findings=sections.get("findings", ""),
        impression=sections.get("impression", ""),
        indication=sections.get("indication", ""),
        comparison=sections.get("comparison", ""),
        mesh=tuple((node.text or "").strip() for node in root.iterfind("MeSH/major")),
        images=tuple(images),
    )
