"""Knows the names that one dataset goes by, so that two names of one collection compare as equal.

Papers say "IU X-Ray" for the collection that its host calls Open-I. Everything that compares names
of datasets asks here: `explain`, the published figures, and the mark *trained on this data set*.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# A collection and its other names in papers, cards and file names.
COLLECTIONS = {
    # D. Demner-Fushman et al., J. Am. Med. Inform. Assoc. 23:304, 2016; R2Gen calls it IU X-Ray.
    "Open-I": (
        *("OpenI", "IU X-Ray", "IU Xray", "IU X-Rays", "IU CXR", "IU", "Indiana University"),
        *("Indiana University Chest X-ray Collection", "Indiana University CXR", "NLMCXR"),
    ),
    "MIMIC-CXR": ("MIMIC-CXR-JPG", "MIMIC-CXR-DB", "MIMIC", "MIMIC-CXR v2"),
    "CheXpert": ("CheXpert v1.0", "CheXpert-small"),
    "CheXpert Plus": ("CheXpertPlus",),
    "PadChest": ("BIMCV PadChest", "BIMCV-PadChest"),
    "PadChest-GR": ("PadChestGR", "BIMCV PadChest-GR"),
    "ReXGradient": ("ReXGradient-160K",),
    "MS-CXR": ("MSCXR", "MS-CXR v1"),
}
# Collections whose images come from another one.
DRAWN_FROM = {"CheXpert Plus": "CheXpert", "PadChest-GR": "PadChest", "MS-CXR": "MIMIC-CXR"}

WHOLE = ("IU", "MIMIC")  # too short to be looked for in a sentence: MIMIC-IV is another dataset


def collection_of(name: str) -> str:
    """Return the one name of a dataset, whichever of its names is given.

    What stands in brackets behind a name does not count. A name that is not known is its own.

    >>> collection_of("IU X-Ray"), collection_of("Open-I (Indiana University)")
    ('Open-I', 'Open-I')
    >>> collection_of("US-CXR")
    'US-CXR'
    """
    bare = name.split("(")[0].strip() or name
    wanted = _letters(bare)
    for title, others in COLLECTIONS.items():
        if wanted in map(_letters, (title, *others)):
            return title
    return bare


def same_dataset(a: str, b: str) -> bool:
    """Whether two names are of one dataset; PadChest-GR is not PadChest."""
    return _letters(collection_of(a)) == _letters(collection_of(b))


def names_of(name: str) -> tuple[str, ...]:
    """Return every name of a dataset, the given one first."""
    title = collection_of(name)
    return tuple(dict.fromkeys((name, title, *COLLECTIONS.get(title, ()))))


def names_dataset(text: str, dataset: str) -> bool:
    """Whether a text such as a card's `trained_on` names a dataset, or one with the same images.

    >>> names_dataset("MIMIC-CXR (findings in part rewritten)", "MS-CXR")
    True
    >>> names_dataset("OpenImages", "Open-I")
    False
    """
    said = _words(text)
    return any(_holds(said, name) for name in _sharing_images(dataset))


def _holds(said: str, name: str) -> bool:
    """Whether words hold a name."""
    return said == _words(name) if name in WHOLE else _words(name) in said


def _sharing_images(dataset: str) -> Iterator[str]:
    title = collection_of(dataset)
    family = {title, DRAWN_FROM.get(title, title)}
    family |= {part for part, whole in DRAWN_FROM.items() if whole == title}
    for one in sorted(family):
        yield from names_of(one)


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _words(text: str) -> str:
    """Return the words between blanks, so that names are found as whole words."""
    return f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} "
