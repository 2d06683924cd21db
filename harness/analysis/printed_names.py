"""Matches the names under which papers print scores with our keys: BLEU-4 is `bleu.bleu_4`.

The protocols in conf/protocol say which of our keys stands in a paper's column; one table of all
their columns is read here. A paper's name can stand for several keys (implementations of BLEU).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from reportcard.config import paths
from reportcard.config.catalogue import preset


def same_score(printed: str, key: str) -> bool:
    """Whether a printed name stands for one of our keys.

    >>> same_score("BLEU-4", "bleu.bleu_4"), same_score("BLEU-4", "bleu.bleu_2")
    (True, False)
    """
    return key in _columns().get(_plain(printed), frozenset())


def in_unit_of(printed: float, unit: str) -> float:
    """Bring a printed figure to the unit of our key: papers print 0.165 and 16.5 for one BLEU.

    >>> in_unit_of(0.165, "percent"), in_unit_of(16.5, "fraction"), in_unit_of(0.165, "fraction")
    (16.5, 0.165, 0.165)
    """
    if unit == "percent" and abs(printed) < 1:
        return round(100 * printed, 9)
    if unit == "fraction" and abs(printed) > 1:
        return round(printed / 100, 9)
    return printed


@cache
def _columns() -> Mapping[str, frozenset[str]]:
    """Return a printed name → the keys that stand in columns of that name."""
    found: dict[str, set[str]] = {}
    for protocol in paths.names("protocol"):
        for column, key in preset("protocol", protocol).get("columns", {}).items():
            if not str(key).startswith("1/"):
                found.setdefault(_plain(str(column)), set()).add(str(key))
    return {name: frozenset(keys) for name, keys in found.items()}


def _plain(name: str) -> str:
    """Return a name without case, marks and what stands in brackets behind it."""
    return re.sub(r"[^a-z0-9]", "", name.split("(")[0].lower())
