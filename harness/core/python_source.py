"""Reads Python source files without importing them: their classes, imports and code.

Importing a model adapter can take seconds, because many import torch. So `reportcard list` finds
plugins in the syntax tree (`ast`), and a model's fingerprint is computed from the same tree.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from reportcard.core.files import digest, file_digest


@dataclass(frozen=True)
class ClassRef:
    """A class statement at the top level of a module."""

    module: str
    node: ast.ClassDef

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def doc(self) -> str:
        """The first line of its docstring, or an empty string."""
        return (ast.get_docstring(self.node) or "").split("\n", 1)[0]


@dataclass(frozen=True)
class ModuleRef:
    """A module that a name in the source stands for."""

    name: str


def read_source(path: Path) -> bytes:
    """The bytes of a source file."""
    return path.read_bytes()


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file; each text is parsed once.

    Raises SyntaxError, also for a file that is not in its encoding.
    """
    return _parse(read_source(path))


@lru_cache(maxsize=512)
def _parse(source: bytes) -> ast.Module:
    try:
        return ast.parse(source)
    except ValueError as error:  # a null byte, before Python 3.12
        raise SyntaxError(str(error)) from None


def find_module(name: str) -> Path | None:
    """Where a module's source lies, found without importing it; None when it has none."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module without a spec, such as __main__
        spec = None
    if spec is None:
        return None
    if not rest:
        origin = Path(spec.origin) if spec.origin else None
        return origin if origin and origin.suffix == ".py" and origin.is_file() else None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    for part in rest[:-1]:
        folders = [folder / part for folder in folders if (folder / part).is_dir()]
    for folder in folders:
        for path in (folder / rest[-1] / "__init__.py", folder / f"{rest[-1]}.py"):
            if path.is_file():
                return path
    return None


def statements(body: list[ast.stmt], type_checking: bool = False) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported, those inside `if` and `try` included.

    type_checking: include what stands under `if TYPE_CHECKING:`, which never runs.
    """
    for node in body:
        yield node
        if isinstance(node, ast.If):
            if type_checking or not _is_type_checking(node.test):
                yield from statements(node.body, type_checking)
            yield from statements(node.orelse, type_checking)
        elif isinstance(node, ast.Try):
            for part in (node.body, *(h.body for h in node.handlers), node.orelse, node.finalbody):
                yield from statements(part, type_checking)
        elif isinstance(node, ast.With):
            yield from statements(node.body, type_checking)


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def absolute(node: ast.ImportFrom, module: str, file: str) -> str:
    """The module that a `from … import` names, with relative dots resolved. file: its name."""
    if not node.level:
        return node.module or ""
    package = module if file == "__init__.py" else module.rpartition(".")[0]
    for _ in range(node.level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{node.module}" if node.module else package


def imports(module: str, path: Path) -> frozenset[str]:
    """The modules that a file imports, at its top or inside functions; also candidates.

    `from a.b import c` gives `a.b` and `a.b.c`, because c may be a module. What stands under
    `if TYPE_CHECKING:` is not imported when the file runs, and is left out.
    """
    return _imports(module, path.name, read_source(path))


@lru_cache(maxsize=1024)
def _imports(module: str, file: str, source: bytes) -> frozenset[str]:
    found: set[str] = set()
    todo: list[ast.AST] = [_parse(source)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, module, file)
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            todo += node.orelse
        else:
            todo += ast.iter_child_nodes(node)
    return frozenset(found)


def classes(module: str, path: Path) -> list[ClassRef]:
    """The classes that a module defines at its top level."""
    return [
        ClassRef(module, node)
        for node in statements(parse(path).body)
        if isinstance(node, ast.ClassDef)
    ]


def resolve(module: str, name: str, depth: int = 20) -> ClassRef | ModuleRef | None:
    """What a name at the top level of a module stands for: a class or a module, or unknown.

    It follows imports under another name, relative imports, re-exports, `import *` and aliases
    (`Base = staged.StagedAdapter`).
    """
    path = find_module(module)
    if path is None or depth == 0:
        return None
    try:
        body = parse(path).body
    except SyntaxError:
        return None
    for node in reversed(list(statements(body))):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return ClassRef(module, node)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if node.value and any(isinstance(t, ast.Name) and t.id == name for t in targets):
                return follow(module, node.value, depth - 1)
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname == name:
                    return ModuleRef(alias.name)
                if not alias.asname and alias.name.partition(".")[0] == name:
                    return ModuleRef(name)
        if isinstance(node, ast.ImportFrom):
            base = absolute(node, module, path.name)
            for alias in node.names:
                if alias.name == "*":
                    if found := resolve(base, name, depth - 1):
                        return found
                elif (alias.asname or alias.name) == name:
                    return _member(base, alias.name, depth - 1)
    return None


def follow(module: str, node: ast.expr, depth: int = 20) -> ClassRef | ModuleRef | None:
    """What an expression in a module stands for: `Base`, `staged.Base`, `Base[int]`."""
    if depth == 0:
        return None
    if isinstance(node, ast.Subscript):
        return follow(module, node.value, depth)
    if isinstance(node, ast.Name):
        return resolve(module, node.id, depth)
    if isinstance(node, ast.Attribute):
        owner = follow(module, node.value, depth)
        return _member(owner.name, node.attr, depth - 1) if isinstance(owner, ModuleRef) else None
    return None


def _member(module: str, name: str, depth: int) -> ClassRef | ModuleRef | None:
    found = resolve(module, name, depth)
    if found is None and find_module(f"{module}.{name}"):
        return ModuleRef(f"{module}.{name}")
    return found


def members(found: ClassRef, depth: int = 20) -> dict[str, bool]:
    """The attributes of a class and of its bases: name → whether it is still abstract."""
    known: dict[str, bool] = {}
    for base in reversed(found.node.bases):
        parent = follow(found.module, base) if depth else None
        if isinstance(parent, ClassRef):
            known |= members(parent, depth - 1)
    for node in statements(found.node.body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            known[node.name] = any(_is_abstract(mark) for mark in node.decorator_list)
        elif isinstance(node, ast.Assign):
            known |= {t.id: False for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name):
            known[node.target.id] = False
    return known


def _is_abstract(mark: ast.expr) -> bool:
    return "abstractmethod" in (getattr(mark, "id", ""), getattr(mark, "attr", ""))


def with_method(module: str, path: Path, method: str) -> list[ClassRef]:
    """The public classes of a module that have or inherit a method and are not abstract."""
    found = []
    for one in classes(module, path):
        if not one.name.startswith("_"):
            known = members(one)
            if method in known and not any(known.values()):
                found.append(one)
    return found


# Canonical code.

# A module that reads its own docstrings may put them into a prompt, so they are code there.
READS_DOCSTRINGS = {"__doc__", "getdoc"}


def code_of(tree: ast.Module) -> list[Any]:
    """What a module does: its syntax tree without comments, docstrings and positions.

    The tree is written by us and not by `ast.dump`, whose output differs between versions of
    Python (3.13 leaves out empty fields). Empty fields are left out, so `type_params` of 3.12 do
    not matter where there are none.
    """
    keep = bool(READS_DOCSTRINGS & identifiers(tree))
    return [_canonical(node, keep) for node in tree.body if keep or not _is_idle(node)]


def _canonical(value: ast.AST, keep: bool) -> list[Any]:
    if isinstance(value, ast.Constant):
        constant = value.value
        if isinstance(constant, bytes):
            return ["bytes", constant.hex()]
        if isinstance(constant, str):
            return ["str", constant]
        return [type(constant).__name__, repr(constant)]
    fields: dict[str, Any] = {}
    for name, part in ast.iter_fields(value):
        if isinstance(value, ast.JoinedStr):  # Python 3.12 writes some empty strings into f-strings
            part = [one for one in value.values if getattr(one, "value", None) != ""]
        if name in ("ctx", "type_comment", "type_ignores", "kind"):
            continue
        if isinstance(part, list):
            items = [
                _canonical(item, keep) if isinstance(item, ast.AST) else item
                for item in part
                if keep or not _is_idle(item)
            ]
            if items:
                fields[name] = items
        elif isinstance(part, ast.AST):
            fields[name] = _canonical(part, keep)
        elif part is not None:
            fields[name] = part
    return [type(value).__name__, fields]


def _is_idle(node: object) -> bool:
    """Whether a statement does nothing: a docstring, any other lone constant, or `pass`."""
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def identifiers(tree: ast.AST) -> set[str]:
    """Every word in a tree that may name something: names, attributes, keywords and strings."""
    found: set[str] = set()
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            if isinstance(value, str) and (name != "value" or value.isidentifier()):
                found.add(value)
            elif isinstance(value, list):
                found.update(item for item in value if isinstance(item, str))
    return found


def code_digest(path: Path) -> str:
    """sha256 of what a Python file does; comments, docstrings and layout do not matter.

    A file that this version of Python cannot parse counts with all its bytes.
    """
    source = read_source(path)
    try:
        return _code_digest(source)
    except SyntaxError:
        return file_digest(path)


@lru_cache(maxsize=512)
def _code_digest(source: bytes) -> str:
    return digest(code_of(_parse(source)))
