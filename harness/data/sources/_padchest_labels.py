"""Cells of the PadChest table that hold lists: Python reprs, and NumPy reprs without commas."""

from __future__ import annotations

import ast
import re
from typing import Any

CUI = re.compile(r"C\d+")


def list_of(cell: str) -> list[Any]:
    """ "['loc  cardiac', ['a', 'b']]" → the list, blanks squeezed; [] for an empty cell.

    Raises ValueError when it is no list of strings; never evaluates code.
    """
    if cell.strip() in ("", "nan"):
        return []
    try:
        value = ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError("not a list of strings") from None
    if not isinstance(value, list):
        raise ValueError("not a list of strings")
    return [_clean(item) for item in value]


def _clean(item: Any) -> Any:
    if isinstance(item, list):
        return [_clean(part) for part in item]
    if isinstance(item, str):
        return " ".join(item.split())
    raise ValueError("not a list of strings")


def cuis_of(cell: str) -> list[str]:
    """ "['C1' 'C2']" → ["C1", "C2"]; literal_eval would answer ["C1C2"]."""
    return CUI.findall(cell)
