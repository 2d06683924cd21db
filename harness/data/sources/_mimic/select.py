"""Chooses the images and the prior of a study that a model gets. Every policy has a name.

frontal_select   all         every AP and PA image, PA first, then by dicom_id
                 first       the one with the smallest dicom_id
                 prefer_pa   one: PA before AP, then the smallest dicom_id
lateral_select   none        no lateral image
                 first       the LATERAL or LL image with the smallest dicom_id
                 random:<n>  one of them, drawn with seed n and the study id
prior_select     none        no prior
                 previous    the latest earlier study (cxrmate: by date, then time)
                 strictly_earlier   the latest of an earlier date (Libra)
same_day         allow | forbid: whether an earlier study of the same day can be the prior

View positions are used as they are in the table, as in LLaVA-Rad's 2,461 pairs. The authors'
notebook counts 3,653 "frontal" test images because it fills in blank view positions by hand
(MIT-LCP/mimic-cxr@3190146 notebooks/generate-stats-from-paper.ipynb).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from reportcard.api import ReportCardError
from reportcard.data.sources._mimic.index import Exam, Radiograph

FRONTAL = ("PA", "AP")
LATERAL = ("LATERAL", "LL")


def check_option(name: str, value: object, known: Sequence[str]) -> None:
    """Raise ReportCardError when a dataset's option has no such value."""
    if value not in known:
        raise ReportCardError(f"{name} is one of {', '.join(known)}, not {value!r}.")


def pick_frontals(exam: Exam, policy: str) -> tuple[Radiograph, ...]:
    """Choose among the AP and PA images of a study that are in its split."""
    return pick([i for i in exam.images if i.view in FRONTAL and i.split == exam.split], policy)


def pick(images: Sequence[Radiograph], policy: str) -> tuple[Radiograph, ...]:
    """Apply a frontal_select to AP and PA images, whose order does not matter."""
    found = sorted(images, key=lambda image: image.dicom_id)
    if policy == "first":
        return tuple(found[:1])
    found.sort(key=lambda image: FRONTAL.index(image.view or ""))
    return tuple(found[:1] if policy == "prefer_pa" else found)


def pick_lateral(exam: Exam, policy: str) -> tuple[Radiograph, ...]:
    """Apply a lateral_select to the lateral images of a study that are in its split."""
    found = [i for i in exam.images if i.view in LATERAL and i.split == exam.split]
    if policy == "none" or not found:
        return ()
    found.sort(key=lambda image: image.dicom_id)
    if policy == "first":
        return (found[0],)
    return (random.Random(f"{policy}:{exam.study}").choice(found),)


def check_lateral(policy: str) -> None:
    """Raise ReportCardError when there is no such lateral_select."""
    word, _, seed = policy.partition(":")
    if policy not in ("none", "first") and not (word == "random" and seed.isdecimal()):
        raise ReportCardError(
            f"lateral_select is one of none, first, random:<seed>, not {policy!r}."
        )


@dataclass(frozen=True, slots=True)
class PriorPolicy:
    """How the prior of a study is chosen among all studies of the patient.

    look_back: when the chosen study has no frontal image or no report, take the one before it
    (True), or give no prior (False).
    """

    select: str = "none"
    same_day: str | None = None
    look_back: bool = False

    def __post_init__(self) -> None:
        check_option("prior_select", self.select, ("none", "previous", "strictly_earlier"))
        if self.same_day is not None:
            check_option("same_day", self.same_day, ("allow", "forbid"))
        if self.select == "strictly_earlier" and self.same_day == "allow":
            raise ReportCardError("prior_select=strictly_earlier and same_day=allow contradict.")

    @property
    def allows_same_day(self) -> bool:
        """Whether an earlier study of the same day can be the prior."""
        return self.select == "previous" and self.same_day != "forbid"

    @property
    def provenance(self) -> dict[str, str]:
        """Return the policy in one spelling: previous + same_day=forbid is strictly_earlier."""
        if self.select == "none":
            return {"prior_select": "none"}
        return {
            "prior_select": "previous" if self.allows_same_day else "strictly_earlier",
            "same_day": "allow" if self.allows_same_day else "forbid",
            "look_back": "yes" if self.look_back else "no",
        }

    def candidates(self, exam: Exam, history: Sequence[Exam]) -> list[Exam]:
        """Return the earlier studies, the latest first; none when the study has no date.

        Within a day, a study without a time counts as the earliest, and two studies with the same
        time are not each other's prior. Candidates whose order is unknown are sorted by study id,
        which says nothing about time (`tied` counts them).
        """
        if self.select == "none" or exam.date is None:
            return []
        found = [other for other in history if _before(other, exam, self.allows_same_day)]
        return sorted(found, key=_newest_first)


def tied(candidates: Sequence[Exam]) -> bool:
    """Return whether the order of the first two candidates is unknown."""
    if len(candidates) < 2 or candidates[0].date != candidates[1].date:
        return False
    one, two = candidates[0].seconds, candidates[1].seconds
    return one is None or two is None or one == two


def _before(other: Exam, exam: Exam, same_day: bool) -> bool:
    if other.study == exam.study or other.date is None or exam.date is None:
        return False
    if other.date != exam.date:
        return other.date < exam.date
    known = other.seconds is not None and exam.seconds is not None
    return same_day and known and (other.seconds or 0) < (exam.seconds or 0)


def _newest_first(exam: Exam) -> tuple[int, float, int]:
    return -(exam.date or 0), -(-1.0 if exam.seconds is None else exam.seconds), exam.study
