"""Assigns studies to subgroups, by labels only.

`Study.groups`, which a dataset fills, takes precedence. View, sex, age, prior and the length of the
reference are computed from the study otherwise. A group is left out if all studies have one value
or if there are more than twelve values (a hospital per row, for instance).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reportcard.api import Image, Study

MOST_VALUES = 12
UNKNOWN = "unknown"
AGES = ((45, "under 45"), (65, "45 to 64"), (float("inf"), "65 up"))


def groups_of(studies: Sequence[Study]) -> dict[str, list[str]]:
    """Return group → the value of each study, in their order.

    >>> from reportcard.api import Report, Request
    >>> women = [Study(Request(i, sex="F"), Report("Clear."), i) for i in "ab"]
    >>> men = [Study(Request(i, sex="M"), Report("Clear."), i) for i in "cd"]
    >>> groups_of(women + men)
    {'sex': ['F', 'F', 'M', 'M']}
    """
    lengths = _lengths([_words(study) for study in studies])
    found = [
        {
            "view": _views(study.request.images),
            "sex": study.request.sex or UNKNOWN,
            "age": _age(study.request.age),
            "prior": "given" if study.request.prior else "absent",
            "length": length,
            **study.groups,
        }
        for study, length in zip(studies, lengths, strict=True)
    ]
    names = sorted({name for groups in found for name in groups})
    table = {name: [str(groups.get(name, UNKNOWN)) for groups in found] for name in names}
    return {name: values for name, values in table.items() if 1 < len(set(values)) <= MOST_VALUES}


def in_order(group: str, values: Mapping[str, object]) -> list[str]:
    """Return the values of a group in the order for tables: ages and lengths rise, unknown last."""
    rising = ("short", "medium", "long", *(name for _, name in AGES))

    def place(value: str) -> tuple[bool, int, str]:
        starts = [i for i, word in enumerate(rising) if value.startswith(word)]
        return value == UNKNOWN, starts[0] if starts else -1, value

    return sorted(values, key=place)


def _views(images: Sequence[Image]) -> str:
    if not images:
        return "no image"
    frontal, lateral = any(i.frontal for i in images), any(i.lateral for i in images)
    if frontal and lateral:
        return "frontal and lateral"
    return "frontal" if frontal else "lateral" if lateral else UNKNOWN


def _age(age: float | None) -> str:
    return UNKNOWN if age is None else next(name for top, name in AGES if age < top)


def _words(study: Study) -> int:
    reference = study.reference
    return len((reference.text() or reference.text(("impression",))).split())


def _lengths(words: Sequence[int]) -> list[str]:
    """Return the tertile of each reference's length; equal lengths are in one tertile."""
    ordered = sorted(words)
    low, high = (ordered[k * (len(ordered) - 1) // 3] for k in (1, 2)) if ordered else (0, 0)
    names = (
        f"short (to {low} words)",
        f"medium (to {high} words)",
        f"long (over {high} words)",
    )
    return [names[(n > low) + (n > high)] for n in words]
