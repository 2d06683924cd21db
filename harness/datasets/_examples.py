"""From studies with a view per image to examples: which images one has, and what filters leave.

`frontal_select` fixes the unit, and with it every n:
    study       one example per study, with all its images; frontal ones first, PA before AP
    all         one example per frontal image (LLaVA-Rad's image-report pairs)
    prefer_pa   one example per study, with one frontal image: PA, else AP, else the smallest id
    first       one example per study, with the frontal image of the smallest id
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from harness.api import Image, ReportCardError, Step, Study
from harness.datasets._inside import is_refused

FrontalSelect = Literal["study", "all", "prefer_pa", "first"]
PREFERRED = ("PA", "AP", "AP_horizontal", "Frontal")


def one_of(value: str, choices: object, option: str) -> str:
    """An option's value. Raises ReportCardError naming the choices of the Literal."""
    known = get_args(choices)
    if value not in known:
        raise ReportCardError(f"{option}={value}: it is one of {', '.join(known)}.")
    return value


def is_frontal(image: Image) -> bool:
    return image.view in PREFERRED


def has_frontal(study: Study) -> bool:
    return any(is_frontal(image) for image in study.request.images)


def has_findings(study: Study) -> bool:
    return bool((study.reference.findings or "").strip())


def by_preference(image: Image) -> tuple[int, str]:
    """Sort key: PA, AP, AP_horizontal, other frontal, the rest; then the id."""
    frontal = is_frontal(image)
    return (PREFERRED.index(image.view) if frontal else len(PREFERRED), image.image_id)


def as_examples(studies: Iterable[Study], frontal_select: str) -> list[Study]:
    """Studies under a policy, in id order. Those without a frontal view are left to a filter."""
    found: list[Study] = []
    for study in studies:
        images = sorted(study.request.images, key=by_preference)
        frontal = [image for image in images if is_frontal(image)]
        if frontal_select == "all":
            found += [_with(study, (i,), f"{study.study_id}#{i.image_id}") for i in images]
        elif frontal_select == "study" or not frontal:
            found.append(_with(study, tuple(images), study.study_id))
        else:
            by_id = min(frontal, key=lambda image: image.image_id)
            one = frontal[0] if frontal_select == "prefer_pa" else by_id
            found.append(_with(study, (one,), study.study_id))
    return sorted(found, key=lambda study: study.study_id)


def _with(study: Study, images: tuple[Image, ...], study_id: str) -> Study:
    if images == study.request.images and study_id == study.study_id:
        return study
    return replace(study, request=replace(study.request, study_id=study_id, images=images))


Rule = tuple[str, Callable[[Study], bool]]
HAS_FINDINGS: Rule = ("findings not empty", has_findings)
HAS_FRONTAL: Rule = ("frontal view", has_frontal)


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


def expectations(expected: Mapping[str, int] | None, n: int) -> tuple[str, ...]:
    """A published n beside ours: for the reader to compare, never asserted."""
    return tuple(f"{who} prints {k:,}; here {n:,}" for who, k in (expected or {}).items())


def text_only(test: Sequence[Study], root: Path) -> tuple[str, ...]:
    images = (image for study in test for image in study.request.images)
    if any(image.available and not is_refused(image) for image in images):
        return ()
    return (f"text only: no images under {root} (models that need pixels refuse)",)


def sex_of(cell: str) -> str | None:
    """ "Female", "F" → "F"; anything but the two is None."""
    letter = cell.strip()[:1].upper()
    return letter if letter in ("F", "M") else None
