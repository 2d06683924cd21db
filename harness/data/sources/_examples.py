"""From studies with a view per image to examples: which images one has, and what filters leave.

unit             study       one example per study
                 pair        one example per frontal image, with its report (LLaVA-Rad)
frontal_select   all         every frontal image, PA before AP, then by id
                 first       the one of the smallest id
                 prefer_pa   one: PA, else AP, else another frontal, of the smallest id
lateral_select   all         every other image, those of unknown view too
                 first       of the lateral ones the smallest id
                 none        no other image

A pair has its one image and no lateral. The unit decides every n, and stands in the provenance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from reportcard.api import FRONTAL_VIEWS, Image, ReportCardError, Step, Study
from reportcard.core.imaging.read import READING
from reportcard.data.sources._inside import is_refused

PAIR = "image-report pair"


def one_of(value: str, choices: Sequence[str], option: str) -> str:
    """An option's value. Raises ReportCardError naming the choices."""
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
class Examples:
    """What an example of a cohort is: options of a dataset, checked."""

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
        """What the attrition table counts."""
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
        """Selection.unit: what one example is."""
        return "study" if self.unit == "study" else PAIR

    def of(self, studies: Iterable[Study]) -> list[Study]:
        """Studies with all their images → examples in id order; in a pair's unit, those of lateral
        images too: the filter on frontal ones counts them."""
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
    """What passes every rule, and the attrition: what each rule was given and what it kept."""
    kept = list(examples)
    steps = [Step(first, len(kept), len(kept))]
    for name, wanted in rules:
        before = len(kept)
        kept = [study for study in kept if wanted(study)]
        steps.append(Step(name, before, len(kept)))
    return tuple(kept), tuple(steps)


Expected = Mapping[str, Mapping[str, int]]  # unit → who prints it → n


def expectations(expected: Mapping[str, int] | None, n: int) -> tuple[str, ...]:
    """A published n beside ours: for the reader to compare, never asserted."""
    return tuple(f"{who} prints {k:,}; here {n:,}" for who, k in (expected or {}).items())


def text_only(test: Sequence[Study], root: Path) -> tuple[str, ...]:
    images = (image for study in test for image in study.request.images)
    if any(image.available and not is_refused(image) for image in images):
        return ()
    return (f"text only: no images under {root} (models that need pixels refuse)",)


# Units of an age per year, as DICOM writes ages: 072Y, 018M.
PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


def sex_of(cell: str) -> str | None:
    """ "Female", "F" → "F"; anything but the two is None."""
    letter = cell.strip()[:1].upper()
    return letter if letter in ("F", "M") else None
