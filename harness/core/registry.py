"""Finds plugins by name: models, metrics, datasets and annotators.

A plugin is a public class that has the method of its kind, whether it defines or inherits it:
`generate` of a model, `rows` of a metric, `select` of a dataset, `annotate` of an annotator.
It is looked for in three places, in this order:

1. what the user offers: `plugin=FILE.py`, `plugin=FOLDER` or `plugin=dotted.module`, each also
   with `:CLASS` at its end. It is imported at once.
2. the folders of this package: `model_adapters/`, `metrics/`, `metrics/annotators/` and
   `harness/data/sources/`. Their files are read and not imported (core/python_source.py), so a
   new file works at once and listing is quick. No built-in plugin has an entry point.
3. the entry points of installed distributions, in the groups `reportcard.models`,
   `reportcard.metrics`, `reportcard.datasets` and `reportcard.annotators`.

A file's only plugin is named after the file. Where a file has several, as `baselines.py`, each is
named after its class: `EmptyReport` is `empty_report`.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from reportcard.core import python_source
from reportcard.core.errors import ReportCardError

# Names that modules of this repository had before everything moved into `reportcard`.
OLD_IMPORT_NAMES = ("harness", "metrics", "model_adapters")
# Modules of offered files are called so. engine=ray sends modules with this prefix to its workers.
OFFERED_PREFIX = "reportcard_plugin_"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ' Did you mean maira2?', or an empty string where nothing is close."""
    close = difflib.get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


def snake_case(name: str) -> str:
    """Return the plugin name of a class.

    >>> snake_case("EmptyReport"), snake_case("OpenAIChat")
    ('empty_report', 'open_ai_chat')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@dataclass(frozen=True)
class Target:
    """Where a plugin that is not imported yet is to be found. doc: its docstring's first line."""

    module: str
    attribute: str
    doc: str = ""


class Registry:
    """The plugins of one kind.

    Args:
        kind: model, metric, dataset or annotator.
        package: the package whose files are the built-in plugins.
        method: the method that makes a class a plugin of this kind.
    """

    def __init__(self, kind: str, package: str, method: str) -> None:
        self.kind = kind
        self.package = package
        self.method = method
        self._offered: dict[str, type] = {}

    def names(self) -> list[str]:
        """Return the names of all plugins of this kind."""
        return sorted({*self._offered, *self._built_in(), *_entry_points(self.kind)})

    def describe(self, name: str) -> str:
        """Return the first line of a plugin's docstring without importing it, or ''."""
        if name in self._offered:
            return (inspect.getdoc(self._offered[name]) or "").split("\n", 1)[0]
        target = self._target(name)
        if not target.doc and target.attribute:
            found = python_source.resolve(target.module, target.attribute)
            return found.doc if isinstance(found, python_source.ClassRef) else ""
        return target.doc

    def get(self, name: str) -> type:
        """Import a plugin and return its class.

        Raises ReportCardError for an unknown name, with a suggestion, and for a file that cannot
        be imported.
        """
        if name in self._offered:
            return self._offered[name]
        target = self._target(name)
        module = _import_module(target.module)
        if not target.attribute:  # a file that could not be parsed, or an entry point of a module
            return _only(self._classes_in(module), module, self.kind, self.method)
        found = getattr(module, target.attribute, None)
        if not inspect.isclass(found):
            raise ReportCardError(
                f"{self.kind} plugin '{name}': {target.module} has no class {target.attribute}."
            )
        return found

    def build(self, name: str, options: Mapping[str, Any], label: str) -> Any:
        """Return the plugin, constructed with its options.

        Args:
            name: the plugin's name.
            options: keyword arguments of its constructor.
            label: how error messages call it.

        Raises ReportCardError that names an option which the plugin does not take.
        """
        cls = self.get(name)
        try:
            inspect.signature(cls).bind(**options)
        except TypeError as error:
            raise ReportCardError(f"{self.kind} {label}: {error}") from None
        return cls(**options)

    def effective(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that a plugin works with: those given, else its own defaults."""
        parameters = inspect.signature(self.get(name)).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        return {**defaults, **options}

    def _target(self, name: str) -> Target:
        target = self._built_in().get(name) or _entry_points(self.kind).get(name)
        if target is None:
            raise ReportCardError(
                f"Unknown {self.kind} plugin '{name}'.{did_you_mean(name, self.names())}"
                f" (reportcard list {self.kind}s)"
            )
        return target

    def _built_in(self) -> Mapping[str, Target]:
        return _scan(self.package, self.method)

    def _classes_in(self, module: ModuleType) -> list[type]:
        """The plugins of this kind that an imported module, or its package, defines."""
        found = [
            value
            for key, value in vars(module).items()
            if inspect.isclass(value)
            and not key.startswith("_")
            and not value.__name__.startswith("_")
            and f"{value.__module__}.".startswith(f"{module.__name__}.")
            and callable(getattr(value, self.method, None))
            and not inspect.isabstract(value)
        ]
        return list(dict.fromkeys(found))


models = Registry("model", "reportcard.model_adapters", "generate")
metrics = Registry("metric", "reportcard.metrics", "rows")
datasets = Registry("dataset", "reportcard.data.sources", "select")
annotators = Registry("annotator", "reportcard.metrics.annotators", "annotate")
KINDS = (models, metrics, datasets, annotators)
METHODS = "generate(), rows(), select() or annotate()"


def offer(place: str | Path) -> None:
    """Import a user's plugins, so that they can be named; they win over built-in ones.

    Args:
        place: a Python file, a folder of such files, or the dotted name of a module that can be
            imported; each may end in ":CLASS", which a file with several plugins needs.

    Raises ReportCardError that says what is wrong with the file, and what to do.
    """
    where, colon, chosen = str(place).rpartition(":")
    if not colon or not chosen.isidentifier() or Path(str(place)).exists():
        where, chosen = str(place), ""
    path = Path(where).expanduser()
    if path.is_dir():
        _offer_folder(path.resolve(), chosen)
    elif path.is_file():
        _offer_module(_import_file(path.resolve()), path.stem, where, chosen)
    elif path.suffix == ".py" or not all(part.isidentifier() for part in where.split(".")):
        raise ReportCardError(f"No plugin file at {where}.")
    else:
        if python_source.find_module(where) is None:
            raise ReportCardError(
                f"No plugin file or folder at {where}, and no module of this name can be imported."
            )
        _offer_module(_import_module(where), where.rpartition(".")[2], where, chosen)


def _offer_module(module: ModuleType, stem: str, where: str, chosen: str) -> None:
    by_kind = {registry: registry._classes_in(module) for registry in KINDS}
    found = {registry: classes for registry, classes in by_kind.items() if classes}
    if chosen:
        found = {
            registry: [one for one in classes if one.__name__ == chosen]
            for registry, classes in found.items()
            if any(one.__name__ == chosen for one in classes)
        }
        if not found:
            known = sorted({c.__name__ for classes in by_kind.values() for c in classes})
            raise ReportCardError(
                f"{where} has no plugin class {chosen}.{did_you_mean(chosen, known)}"
                f" It has {', '.join(known) or 'none'}."
            )
    if not found:
        raise ReportCardError(f"{where} is no plugin: {_why_none(module)}")
    for registry, classes in found.items():
        one = _only(classes, module, registry.kind, registry.method, where)
        registry._offered[snake_case(chosen) if chosen else stem] = one


def _only(
    classes: list[type], module: ModuleType, kind: str, method: str, where: str | None = None
) -> type:
    """The one class of a list. where: how the user called its file."""
    if len(classes) == 1:
        return classes[0]
    place = where or module.__file__ or module.__name__
    names = [one.__name__ for one in classes]
    if not names:
        raise ReportCardError(f"{place} is no {kind} plugin: {_why_none(module, (method,))}")
    one = names[-1]
    raise ReportCardError(
        f"{place}: a plugin file ({kind}) has exactly one public class with {method}(); found"
        f" {', '.join(names)}. Choose one: plugin={place}:{one}, which is then called"
        f" {snake_case(one)}. Or give the others a name that begins with _."
    )


def _why_none(module: ModuleType, methods: Iterable[str] = ()) -> str:
    """Why a module has no plugin: what its classes lack."""
    wanted = tuple(methods) or tuple(registry.method for registry in KINDS)
    words = f"{wanted[0]}()" if len(wanted) == 1 else METHODS
    near = []
    for key, value in vars(module).items():
        if not inspect.isclass(value):
            continue
        has = [name for name in wanted if callable(getattr(value, name, None))]
        own = f"{value.__module__}.".startswith(f"{module.__name__}.")
        if has and own and inspect.isabstract(value):
            lacks = ", ".join(sorted(getattr(value, "__abstractmethods__", ())))
            near.append(f"{key} does not define {lacks} of its base class")
        elif has and own:
            near.append(f"{key} has {has[0]}(), but a plugin's name does not begin with _")
        elif has:
            near.append(f"{key} is imported from {value.__module__}; extend it here")
    hint = f" ({'; '.join(near)})" if near else ""
    return f"no public class in it has or inherits {words}{hint}."


def _offer_folder(folder: Path, chosen: str) -> None:
    """Offer every file of a folder that defines a plugin; files without one are helpers."""
    files = sorted(p for p in folder.glob("*.py") if not p.name.startswith("_"))
    package = _package_of(folder)
    found = False
    for path in files:
        name = f"{package}.{path.stem}"
        try:
            defined = {
                one.name
                for registry in KINDS
                for one in python_source.with_method(name, path, registry.method)
            }
        except SyntaxError as error:
            raise ReportCardError(_syntax_problem(path, error)) from None
        if defined and (not chosen or chosen in defined):
            found = True
            _offer_module(_import_file(path), path.stem, str(path), chosen)
    if not found:
        raise ReportCardError(
            f"{folder} has no plugin: no public class in its {len(files)} *.py files"
            f" {f'is {chosen} and ' if chosen else ''}has or inherits {METHODS}."
        )


# Finding and importing.


@cache
def _entry_points(kind: str) -> dict[str, Target]:
    found = {}
    for one in entry_points(group=f"reportcard.{kind}s"):
        module, _, attribute = one.value.partition(":")
        found[one.name] = Target(module, attribute)
    return found


@cache
def _scan(package: str, method: str) -> dict[str, Target]:
    """The plugins of a package's files: name → where. Imports none of them."""
    init = python_source.find_module(package)
    found: dict[str, Target] = {}
    for path in sorted(init.parent.glob("[a-z]*.py")) if init else ():
        module = f"{package}.{path.stem}"
        try:
            classes = python_source.with_method(module, path, method)
        except SyntaxError:
            found[path.stem] = Target(module, "", "cannot be parsed")  # `get` says why
            continue
        for one in classes:
            name = path.stem if len(classes) == 1 else snake_case(one.name)
            found[name] = Target(module, one.name, one.doc)
    return found


def _package_of(folder: Path) -> str:
    """The package that files of a user's folder are imported into.

    So two folders may hold files of one name, and a file can import another one beside it by
    `from ._helper import …`.
    """
    name = OFFERED_PREFIX + sha256(str(folder).encode()).hexdigest()[:8]
    known = sys.modules.get(name)
    if known is not None and _is_changed(name, known):
        for key in [k for k in sys.modules if k == name or k.startswith(f"{name}.")]:
            del sys.modules[key]
        known = None
    if known is None:
        init = folder / "__init__.py"
        if init.is_file():
            spec = importlib.util.spec_from_file_location(
                name, init, submodule_search_locations=[str(folder)]
            )
        else:
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(folder)]
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        module.__dict__["_imported_at"] = time.time_ns()
        _execute(module, init)
    return name


def _is_changed(package: str, known: ModuleType) -> bool:
    """Whether a file of the package was edited since it was imported, as in a notebook."""
    since: int = known.__dict__["_imported_at"]
    files = [
        Path(module.__file__)
        for name, module in list(sys.modules.items())
        if (name == package or name.startswith(f"{package}.")) and module.__file__
    ]
    return any(not file.is_file() or file.stat().st_mtime_ns > since for file in files)


def _import_file(path: Path) -> ModuleType:
    """Import a user's file, or return it as it was imported before."""
    package = _package_of(path.parent)
    name = f"{package}.{path.stem.replace('.', '_')}"
    if path.name == "__init__.py":
        name = package
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ReportCardError(f"{path} is not a Python file (.py).")
    module = importlib.util.module_from_spec(spec)
    _execute(module, path)
    return module


def _execute(module: ModuleType, path: Path) -> None:
    """Run a file as this module. It stays in sys.modules only if that succeeds."""
    spec = module.__spec__
    assert spec is not None
    sys.modules[module.__name__] = module
    if spec.loader is None or not spec.has_location:
        return  # a folder without __init__.py
    loader = spec.loader
    try:
        _explained(lambda: loader.exec_module(module), path)
    except BaseException:
        sys.modules.pop(module.__name__, None)
        raise


def _import_module(name: str) -> ModuleType:
    path = python_source.find_module(name) or Path(name)
    module: ModuleType = _explained(lambda: importlib.import_module(name), path)
    return module


def _explained(action: Callable[[], Any], path: Path) -> Any:
    """Import something; whatever goes wrong becomes a sentence about the file."""
    try:
        return action()
    except (KeyboardInterrupt, ReportCardError):
        raise
    except SyntaxError as error:
        raise ReportCardError(_syntax_problem(path, error)) from error
    except SystemExit as error:
        raise ReportCardError(
            f"{path} ends Python while it is imported (SystemExit: {error.code}). Put the code that"
            ' makes it a program under if __name__ == "__main__":.'
        ) from error
    except BaseException as error:
        said = f"{path} failed to import: {type(error).__name__}: {error}"
        raise ReportCardError(f"{said}{_import_hint(path, error)}") from error


def _import_hint(path: Path, error: BaseException) -> str:
    """What to do about a module that is not there."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is None:
        return ""
    top = missing.partition(".")[0]
    if top in OLD_IMPORT_NAMES:
        return (
            ". The import name is now reportcard: from reportcard.api import ModelCard, …"
            " (docs/adding-a-model.md)."
        )
    if (path.parent / f"{top}.py").is_file() or (path.parent / top).is_dir():
        return f". It lies beside the plugin: write from .{missing} import …"
    return ""


def _syntax_problem(path: Path, error: SyntaxError) -> str:
    if "unicode error" in str(error.msg) or "encoding" in str(error.msg):
        return f"{error.filename or path} is not UTF-8 ({error.msg}). Save the file as UTF-8."
    place = f"{error.filename or path}" + (f", line {error.lineno}" if error.lineno else "")
    text = f": {error.text.strip()}" if error.text and error.text.strip() else ""
    return f"{place}: {type(error).__name__}: {error.msg}{text}"
