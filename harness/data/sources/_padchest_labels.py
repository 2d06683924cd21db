"""Parses cells of the PadChest table that contain lists, as Python or NumPy prints them."""

from __future__ import annotations

import ast
import re
from typing import Any

CUI = re.compile(r"C\d+")


def list_of(cell: str) -> list[Any]:
    """Parse a cell such as "['loc  cardiac', ['a', 'b']]"; an empty cell gives [].

    Spaces are made single. No code is evaluated. Raises ValueError when it is no list of strings.
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
    """Parse "['C1' 'C2']" as ["C1", "C2"]; literal_eval would return ["C1C2"]."""
    return CUI.findall(cell)
