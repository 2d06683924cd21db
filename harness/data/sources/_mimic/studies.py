"""Builds the Study of a chosen example: its texts, image files and prior."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reportcard.api import Image, Prior, Report, ReportCardError, Request, Study
from reportcard.data.sources._image_lookup import ImageLookup
from reportcard.data.sources._mimic.index import Exam, Radiograph
from reportcard.data.sources._mimic.reports import ReportTexts
from reportcard.data.sources._mimic.select import PriorPolicy, pick_frontals, pick_lateral, tied
from reportcard.data.sources.report_sections import findings_sections, section_row


@dataclass(frozen=True, slots=True)
class Parsed:
    """A report's sections with single spaces. "": absent or empty.

    `has_row` is False for the 54 studies that are not in the official parser's table.
    """

    findings: str
    impression: str
    indication: str
    technique: str
    comparison: str
    has_row: bool


@dataclass(frozen=True, slots=True)
class Example:
    """One exam with the images that the model gets, and its reference."""

    exam: Exam
    images: tuple[Radiograph, ...]
    findings: str = ""
    impression: str = ""
    indication: str | None = None  # "": LLaVA-Rad's file has an empty one, which its prompt shows
    technique: str = ""
    comparison: str = ""


class StudyTexts:
    """Parses reports on demand, each once."""

    def __init__(self, reports: ReportTexts, parser: str) -> None:
        self.reports = reports
        self._official = parser == "official"
        self._known: dict[int, Parsed | None] = {}

    def of(self, exam: Exam) -> Parsed | None:
        """Return the parsed report; None when it is absent or damaged."""
        if exam.study not in self._known:
            self._known[exam.study] = self._parse(exam)
        return self._known[exam.study]

    def _parse(self, exam: Exam) -> Parsed | None:
        text = self.reports.text(exam.subject, exam.study)
        if text is None:
            return None
        found = findings_sections(text)
        row: Mapping[str, str | None] | None = found
        if self._official:
            row = section_row(text, f"s{exam.study}")
        words = {name: " ".join((value or "").split()) for name, value in (row or {}).items()}
        return Parsed(
            findings=words.get("findings", ""),
            impression=words.get("impression", ""),
            indication=found.get("indication") or found.get("history", ""),
            technique=found.get("technique", ""),
            comparison=found.get("comparison", ""),
            has_row=row is not None,
        )


class ImageFiles:
    """Finds the file of each image below the folder of images.

    `problems` counts images without a file, and files that are links to elsewhere. Files are
    decoded only when a model reads them; one that cannot be decoded fails its own study.
    """

    def __init__(self, files: Path | None, suffix: str) -> None:
        self._lookup = None if files is None else ImageLookup(files)
        self._suffix = suffix
        self.problems: Counter[str] = Counter()

    def image(self, exam: Exam, radiograph: Radiograph) -> Image:
        name, view = radiograph.dicom_id, radiograph.view or "Unknown"
        if self._lookup is None:
            return Image(name, view)
        folder = f"p{exam.subject // 1_000_000}/p{exam.subject}/s{exam.study}"
        image = self._lookup.image(name, view, f"{folder}/{name}{self._suffix}")
        if not image.available:
            self.problems["without a file"] += 1
        elif image.path is None:
            self.problems["with a file outside the data root (a link)"] += 1
        return image

    def notes(self) -> list[str]:
        if self._lookup is None:
            return ["text only: no folder of images (models that need pixels cannot run)"]
        return [f"images {what}: {n:,}" for what, n in sorted(self.problems.items())]


class Studies:
    """Turns examples into studies by one set of policies. `priors` counts how priors were found."""

    def __init__(
        self,
        patients: Mapping[int, list[Exam]],
        texts: StudyTexts,
        files: ImageFiles,
        policy: PriorPolicy,
        provenance: Mapping[str, str],
    ) -> None:
        self._patients, self._texts, self._files = patients, texts, files
        self._policy, self._provenance = policy, provenance
        self._frontal_select = provenance["frontal_select"]
        self.priors: Counter[str] = Counter()

    def study(self, example: Example) -> Study:
        exam, pair = example.exam, self._provenance["unit"] == "pair"
        lateral = pick_lateral(exam, self._provenance["lateral_select"])
        prior = self._prior(exam)
        views = [image.view or "Unknown" for image in example.images]
        name = f"s{exam.study}"
        return Study(
            request=Request(
                study_id=f"{name}/{example.images[0].dicom_id}" if pair else name,
                images=tuple(self._files.image(exam, i) for i in (*example.images, *lateral)),
                prior=prior,
                indication=example.indication,
                technique=example.technique or None,
                comparison=example.comparison or None,
                provenance=self._provenance,
            ),
            reference=Report(example.findings, example.impression or None),
            patient_id=f"p{exam.subject}",
            groups={
                "view": "+".join(dict.fromkeys(views)),
                "indication": "given" if (example.indication or "").strip() else "absent",
                "prior": "given" if prior else "absent",
            },
        )

    def _prior(self, exam: Exam) -> Prior | None:
        candidates = self._policy.candidates(exam, self._patients[exam.subject])
        self.priors["the order of two earlier studies is unknown"] += tied(candidates)
        for candidate in candidates if self._policy.look_back else candidates[:1]:
            if candidate.split not in ("", exam.split):
                raise ReportCardError("A prior of MIMIC-CXR would come from another split.")
            images = pick_frontals(candidate, self._frontal_select)
            parsed = self._texts.of(candidate)
            if images and parsed and (parsed.findings or parsed.impression):
                self.priors["given"] += 1
                report = Report(parsed.findings or None, parsed.impression or None)
                return Prior(tuple(self._files.image(candidate, i) for i in images), report)
        missing = "without a frontal image or a report" if candidates else "no earlier study"
        self.priors[missing] += 1
        return None

    def notes(self) -> list[str]:
        if self._policy.select == "none":
            return []
        counts = (f"{what} {n:,}" for what, n in sorted(self.priors.items()) if n)
        return [f"priors: {', '.join(counts)}"]
