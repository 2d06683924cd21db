"""The tree of exceptions in core/errors.py is the one in the code."""

from __future__ import annotations

import ast
import builtins
import re
from collections import Counter
from pathlib import Path

from reportcard.core import errors

ROOT = Path(__file__).parents[2]
ROOMS = ("harness", "metrics", "model_adapters")


def classes() -> list[tuple[str, str]]:
    """(class, its first base) of every class in the package."""
    found = []
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef) and node.bases:
                    base = node.bases[0]
                    name = base.attr if isinstance(base, ast.Attribute) else ast.unparse(base)
                    found.append((node.name, name))
    return found


def is_exception(name: str, bases: dict[str, str]) -> bool:
    while name in bases:
        name = bases[name]
    known = getattr(builtins, name, None)
    return isinstance(known, type) and issubclass(known, BaseException)


def defined() -> list[tuple[str, str]]:
    """Public exceptions with their base. One with a leading underscore never leaves its module."""
    found = classes()
    bases = dict(found)
    return [(n, b) for n, b in found if is_exception(n, bases) and not n.startswith("_")]


def drawn() -> list[tuple[str, str]]:
    """The tree of the docstring, as (exception, base)."""
    above: dict[int, str] = {}
    found = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.fullmatch(r"    ([│├└─ ]*)([A-Z]\w+)(  .*)?", line):
            depth, name = len(match[1]) // 4, match[2]
            above[depth] = name
            if depth:
                found.append((name, above[depth - 1]))
    return found


def test_the_tree_in_the_docstring_is_that_of_the_code() -> None:
    tree = [pair for pair in drawn() if not hasattr(builtins, pair[0])]
    assert sorted(tree) == sorted(defined())
    assert len(tree) > 10


def test_no_exception_is_defined_twice() -> None:
    assert [n for n, count in Counter(name for name, _ in defined()).items() if count > 1] == []


def test_what_a_user_may_see_is_a_reportcard_error() -> None:
    """The others are raised and caught inside one room."""
    inside = ("FailureError", "BadAnswerError", "NotImportedError")
    bases = dict(defined())
    for name, base in bases.items():
        while base in bases:
            name, base = base, bases[base]
        assert name in ("ReportCardError", *inside), name
