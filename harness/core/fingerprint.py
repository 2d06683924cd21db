"""Computes the digest of the code that decides a model's answers, for the model's fingerprint.

Covered are: the module of the adapter and of each of its base classes; the modules that these
import from beside them (in `model_adapters/` those that begin with `_`, and folders); and what
they import from `reportcard.models` and of core/model_answer.py, which says what of a model's text
is its answer. Imports are followed from module to module, inside functions
too. Comments, docstrings and layout do not count (core/python_source.py). Other code that can
change an answer has a version of its own, as `data/masks.py` does. docs/decisions/0013 says why.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from pathlib import Path
from sysconfig import get_paths
from typing import Any, TypeGuard

from reportcard.core import python_source
from reportcard.core.files import digest
from reportcard.core.python_source import code_digest, code_of, identifiers, imports, parse

PACKAGE = "reportcard"
TOOLS = {"reportcard.models", "reportcard.core.model_answer"}  # what adapters are made with
# A module that uses one of these may reach a class without naming it.
REACHES_ANY_CLASS = {"globals", "__subclasses__", "__init_subclass__", "getmembers"}


def source_digest(plugin: type[Any]) -> str:
    """Return the digest of everything in the code that decides what a plugin answers."""
    sources = sources_of(plugin)
    left_out = _unused_classes(plugin, sources)
    return digest(
        {
            _stable_name(name): _without(path, left_out[name])
            if left_out.get(name)
            else code_digest(path)
            for name, path in sources.items()
        }
    )


def sources_of(plugin: type[Any]) -> dict[str, Path]:
    """Return the files that decide what a plugin answers: name of the module → file."""
    starts = {base.__module__: _file_of(base) for base in plugin.__mro__ if _counts(base, plugin)}
    found: dict[str, Path] = {}
    todo = [(name, path) for name, path in starts.items() if path]
    homes = {_home(name) for name in starts} | TOOLS
    folders = {path.parent for path in starts.values() if path}
    while todo:
        name, path = todo.pop()
        if name in found:
            continue
        found[name] = path
        todo += _located(name, homes, set())  # the __init__.py of its packages
        try:
            imported = imports(name, path)
        except SyntaxError:
            continue  # code_digest takes all its bytes
        for other in imported:
            todo += _located(other, homes, folders if name in starts else {path.parent})
    return dict(sorted(found.items()))


def _located(name: str, homes: set[str], folders: set[Path]) -> list[tuple[str, Path]]:
    """The file of an imported module, and of the packages around it, where it is covered."""
    parts = name.split(".")
    around = [".".join(parts[: i + 1]) for i in range(len(parts))]
    found = [
        (one, path)
        for one in around
        if any(f"{one}.".startswith(f"{home}.") for home in homes)
        if (path := python_source.find_module(one))
    ]
    if found or parts[0] == PACKAGE:
        return found
    # A user's file may import another one beside it by its bare name.
    for folder in folders:
        beside = folder.joinpath(*parts)
        for path in (beside.with_name(f"{beside.name}.py"), beside / "__init__.py"):
            if path.is_file() and not _is_installed(path):
                return [(name, path)]
    return []


def _home(module: str) -> str:
    """The package whose modules are covered when this module imports them."""
    if module.partition(".")[0] == PACKAGE:
        return module.rpartition(".")[0]
    return module.partition(".")[0]


def _file_of(cls: type[Any]) -> Path | None:
    try:
        return Path(inspect.getfile(cls))
    except (TypeError, OSError):  # built in, or typed into a session
        return None


def _counts(base: type[Any], plugin: type[Any]) -> bool:
    """Whether a class of the plugin's bases is code of ours or of the plugin's author."""
    top = base.__module__.partition(".")[0]
    if top in (PACKAGE, plugin.__module__.partition(".")[0]):
        return True
    path = _file_of(base)
    return path is not None and not _is_installed(path)


def _is_installed(path: Path) -> bool:
    """Whether a file belongs to Python or to an installed package."""
    known = get_paths()
    return any(path.is_relative_to(known[key]) for key in ("stdlib", "purelib", "platlib"))


def _stable_name(module: str) -> str:
    """A module's name without the folder that a user's file lies in."""
    from reportcard.core.registry import OFFERED_PREFIX

    return module.partition(".")[2] if module.startswith(OFFERED_PREFIX) else module


def _unused_classes(plugin: type[Any], sources: Mapping[str, Path]) -> dict[str, set[str]]:
    """The classes that a plugin does not use in the files of itself and its bases.

    `baselines.py` holds seven models, and an edit of one must not change the other six. A public
    class is left out where no other covered code has its name as a word, not even in a string.
    Everything else in the file is covered: functions, constants, and classes with a decorator, a
    metaclass or a name that begins with `_`.
    """
    own = {(base.__module__, base.__name__) for base in plugin.__mro__}
    modules = {module for module, _ in own}
    try:
        trees = {name: parse(path) for name, path in sources.items()}
    except SyntaxError:
        return {}
    candidates = {
        (name, node.name): node
        for name in modules & trees.keys()
        for node in trees[name].body
        if _is_plain_class(node) and (name, node.name) not in own
    }
    if not candidates:
        return {}
    words: set[str] = set()
    for name, tree in trees.items():
        for node in tree.body:
            if candidates.get((name, getattr(node, "name", ""))) is not node:
                words |= identifiers(node)
    if words & REACHES_ANY_CLASS:
        return {}
    while used := [key for key in candidates if key[1] in words]:
        for key in used:
            words |= identifiers(candidates.pop(key))
    left_out: dict[str, set[str]] = {}
    for module, name in candidates:
        left_out.setdefault(module, set()).add(name)
    return left_out


def _is_plain_class(node: ast.stmt) -> TypeGuard[ast.ClassDef]:
    return (
        isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")
        and not node.decorator_list
        and not node.keywords
    )


def _without(path: Path, names: set[str]) -> str:
    """The digest of a file's code without some of its classes."""
    tree = parse(path)
    body = [n for n in tree.body if not (isinstance(n, ast.ClassDef) and n.name in names)]
    return digest(code_of(ast.Module(body, [])))
