"""Describes a cohort for `reportcard doctor`: its filters, files, views and text lengths.

No image is decoded unless a contact sheet is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

from reportcard.api import Image, ReportCardError
from reportcard.config.settings import Plugin
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.data.contact_sheet import write_contact_sheet
from reportcard.data.sources._image_lookup import is_refused

State = Literal["ok", "--", "missing"]


class DoctorLine(NamedTuple):
    """One line of `reportcard doctor`; "--" marks something optional that is missing."""

    area: str
    state: State
    text: str


def describe(
    plugin: Plugin, limit: int | None, sheet: Path | None
) -> tuple[list[DoctorLine], bool]:
    """Describe the cohort of a dataset, and return whether it could be selected.

    A contact sheet is drawn to `sheet` where it is given.
    """
    try:
        cohort = load_cohort(plugin, limit)
    except ReportCardError as error:
        return [DoctorLine("  cohort", "missing", str(error))], False
    lines = [_source(cohort), *_attrition(cohort), *_contents(cohort)]
    lines += [DoctorLine("  note", "--", note) for note in cohort.notes]
    if sheet is not None:
        lines.append(_contact_sheet(cohort, sheet))
    return lines, True


def _contact_sheet(cohort: Cohort, sheet: Path) -> DoctorLine:
    seen = write_contact_sheet(cohort, sheet)
    constant = seen.pop("constant", 0)
    counts = [f"{count} {kind}" for kind, count in sorted(seen.items())]
    counts += [f"{constant} constant"] if constant else []
    fine = not set(seen) - {"read"} and not constant
    text = f"{sheet}: images {', '.join(counts) or 'none'}"
    return DoctorLine("  contact sheet", "ok" if fine else "missing", text)


def _source(cohort: Cohort) -> DoctorLine:
    card = cohort.card
    parts = [card.title, card.data_class, card.dua_id, card.licence]
    return DoctorLine("  source", "ok", "; ".join(part for part in parts if part))


def _attrition(cohort: Cohort) -> list[DoctorLine]:
    """Return a line per filter, and one for what is left."""
    lines = [
        DoctorLine("  filter", "ok", f"{s.after:,} kept, {s.dropped:,} dropped: {s.rule}")
        for s in cohort.attrition
    ]
    patients = len({study.patient_id for study in cohort.test})
    text = f"{cohort.size} of {patients:,} patients"
    text += f"; train part {len(cohort.train):,}" if cohort.train else "; no train part"
    return [*lines, DoctorLine("  test", "ok", f"{cohort.folder}: {text}")]


def _contents(cohort: Cohort) -> list[DoctorLine]:
    """Count the images that are there, and measure the texts."""
    requests = [study.request for study in cohort.test]
    present = [image for request in requests for image in request.images]
    prior = [image for r in requests if r.prior for image in r.prior.images]
    lines = [_images("images", present)]
    if any(request.prior for request in requests):
        with_prior = sum(request.prior is not None for request in requests)
        area, state, text = _images("priors", prior)
        lines.append(DoctorLine(area, state, f"{with_prior:,} studies have one; images: {text}"))
    references = [study.reference for study in cohort.test]
    texts = {
        "findings": [reference.findings for reference in references],
        "impression": [reference.impression for reference in references],
        "indication": [request.indication for request in requests],
    }
    lines += [DoctorLine(f"  {name}", "ok", _lengths(found)) for name, found in texts.items()]
    phrases = [phrase for reference in references for phrase in reference.phrases]
    if phrases:
        boxes = sum(len(phrase.boxes) for phrase in phrases)
        lines.append(DoctorLine("  phrases", "ok", f"{len(phrases):,}, with {boxes:,} boxes"))
    policies = Counter(
        f"{key}={value}" for request in requests for key, value in request.provenance.items()
    )
    if policies:
        counts = [f"{name} ({count:,})" for name, count in sorted(policies.items())]
        lines.append(DoctorLine("  policies", "ok", ", ".join(counts)))
    return lines


def _images(area: str, images: Sequence[Image]) -> DoctorLine:
    """Count the images that can be read, without opening one."""
    drawn = (image for image in images if image.path is None and image.read is not None)
    here = sum(image.path is not None and image.path.is_file() for image in images)
    here += sum(not is_refused(image) for image in drawn)
    views = Counter(image.view or "view unknown" for image in images)
    counts = ", ".join(f"{view} {count:,}" for view, count in sorted(views.items()))
    state: State = "ok" if here == len(images) else "missing" if here else "--"
    text = f"{here:,} of {len(images):,} are here ({counts or 'none listed'})"
    return DoctorLine(f"  {area}", state, text)


def _lengths(texts: Sequence[str | None]) -> str:
    """Return the median and range of the texts' lengths in words, and how many are missing."""
    words = [len(text.split()) for text in texts if text and text.strip()]
    absent = len(texts) - len(words)
    if not words:
        return "none"
    spread = f"{median(words):g} words ({min(words):,} to {max(words):,})"
    return f"{len(words):,} studies, {spread}" + (f"; {absent:,} have none" if absent else "")
