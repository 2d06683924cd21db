"""Turns studies into examples: chooses their images, and filters them with an attrition table.

unit             study       one example per study
                 pair        one example per frontal image, with its report (LLaVA-Rad)
frontal_select   all         every frontal image, PA before AP, then by id
                 first       the one with the smallest id
                 prefer_pa   one: PA before AP before other frontal views, then the smallest id
lateral_select   all         every other image, including images of unknown view
                 first       the lateral image with the smallest id
                 none        no other image

A pair has one image and no lateral. Every n counts units; the unit is recorded in the provenance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from reportcard.api import FRONTAL_VIEWS, Image, ReportCardError, Step, Study
from reportcard.core.imaging.read import READING
from reportcard.data.sources._image_lookup import is_refused

PAIR = "image-report pair"


def one_of(value: str, choices: Sequence[str], option: str) -> str:
    """Return the value of an option. Raises ReportCardError naming the choices."""
    if value not in choices:
        raise ReportCardError(f"{option} is one of {', '.join(choices)}, not {value!r}.")
    return value


def has_frontal(study: Study) -> bool:
    return any(image.frontal for image in study.request.images)


def has_findings(study: Study) -> bool:
    return bool((study.reference.findings or "").strip())


Rule = tuple[str, Callable[[Study], bool]]
HAS_FINDINGS: Rule = ("findings not empty", has_findings)
HAS_FRONTAL: Rule = ("frontal view", has_frontal)


@dataclass(frozen=True)
class ExamplePolicy:
    """The options of a dataset that say what an example is."""

    unit: str = "study"
    frontal_select: str = "all"
    lateral_select: str = "all"
    require_frontal: bool = True

    def __post_init__(self) -> None:
        one_of(self.unit, ("study", "pair"), "unit")
        one_of(self.frontal_select, ("all", "first", "prefer_pa"), "frontal_select")
        one_of(self.lateral_select, ("all", "first", "none"), "lateral_select")

    @property
    def counted(self) -> str:
        """What the attrition table counts: studies or images."""
        return "studies" if self.unit == "study" else "images"

    @property
    def rules(self) -> list[Rule]:
        return [HAS_FRONTAL] if self.require_frontal or self.unit == "pair" else []

    @property
    def provenance(self) -> dict[str, str]:
        names = ("unit", "frontal_select", "lateral_select")
        return {name: getattr(self, name) for name in names} | {"reading": READING}

    @property
    def example(self) -> str:
        """What one example is (Selection.unit)."""
        return "study" if self.unit == "study" else PAIR

    def of(self, studies: Iterable[Study]) -> list[Study]:
        """Turn studies with all their images into examples, in id order.

        With unit=pair, lateral images become examples, too, so that the filter on frontal views
        can count them.
        """
        found: list[Study] = []
        for study in studies:
            if self.unit == "study":
                found.append(_with(study, self._chosen(study.request.images), study.study_id))
                continue
            frontal = self._chosen(tuple(i for i in study.request.images if i.frontal))
            others = [i for i in study.request.images if not i.frontal]
            found += [
                _with(study, (image,), f"{study.study_id}/{PurePosixPath(image.image_id).name}")
                for image in (*frontal, *others)
            ]
        return sorted(found, key=lambda study: study.study_id)

    def _chosen(self, images: Sequence[Image]) -> tuple[Image, ...]:
        ordered = sorted(images, key=lambda image: image.image_id)
        frontal = [image for image in ordered if image.frontal]
        others = [image for image in ordered if not image.frontal]
        if self.frontal_select != "first":
            frontal.sort(key=lambda image: FRONTAL_VIEWS.index(image.view))
        if self.frontal_select != "all":
            frontal = frontal[:1]
        if self.lateral_select != "all":
            others = [image for image in others if image.lateral]
            others = others[:1] if self.lateral_select == "first" else []
        return (*frontal, *others)


def _with(study: Study, images: tuple[Image, ...], study_id: str) -> Study:
    if images == study.request.images and study_id == study.study_id:
        return study
    return replace(study, request=replace(study.request, study_id=study_id, images=images))


def filtered(
    examples: Sequence[Study], first: str, rules: Sequence[Rule]
) -> tuple[tuple[Study, ...], tuple[Step, ...]]:
    """Apply the rules one after another.

    Args:
        examples: what to filter.
        first: what the first line of the attrition table counts.
        rules: (name, test) of each rule.

    Returns the examples that pass all, and the attrition table.
    """
    kept = list(examples)
    steps = [Step(first, len(kept), len(kept))]
    for name, wanted in rules:
        before = len(kept)
        kept = [study for study in kept if wanted(study)]
        steps.append(Step(name, before, len(kept)))
    return tuple(kept), tuple(steps)


Expected = Mapping[str, Mapping[str, int]]  # unit → who prints it → n


def expectations(expected: Mapping[str, int] | None, n: int) -> tuple[str, ...]:
    """Return notes with published numbers beside ours; they are never enforced."""
    return tuple(f"{who} prints {k:,}; here {n:,}" for who, k in (expected or {}).items())


def text_only(test: Sequence[Study], root: Path) -> tuple[str, ...]:
    """Return a note when there are no images under root."""
    images = (image for study in test for image in study.request.images)
    if any(image.available and not is_refused(image) for image in images):
        return ()
    return (f"text only: no images under {root} (models that need pixels cannot run)",)


# Units of an age per year, as DICOM writes ages: 072Y, 018M.
PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


def sex_of(cell: str) -> str | None:
    """Return "F" for "Female" or "F", "M" likewise, and None for anything else."""
    letter = cell.strip()[:1].upper()
    return letter if letter in ("F", "M") else None
