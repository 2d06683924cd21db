"""Name → plugin, lazily, with one rule for built-in and foreign plugins alike.

A plugin is found, in this order, among
1. files given with `plugin=path/to/file.py` (the file's stem is the name),
2. entry points of any installed distribution (groups `reportcard.models`, `.metrics`,
   `.datasets`, `.annotators`), which is also how the built-in plugins are found,
3. files of this repository's `model_adapters/`, `metrics/`, `metrics/annotators/` and
   `harness/datasets/`, by file stem, so that a new file works without re-installing anything.

A file that is found by its stem holds exactly one public class with the kind's method.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from reportcard.core.errors import ReportCardError
from reportcard.core.files import digest, file_digest


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' Did you mean maira2?' or an empty string."""
    close = difflib.get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


class Registry:
    """The plugins of one kind."""

    def __init__(self, kind: str, package: str, method: str) -> None:
        self.kind = kind
        self.package = package
        self.method = method
        self._files: dict[str, Path] = {}

    def add_file(self, path: Path) -> None:
        """Offer a plugin file from anywhere; it wins over an installed plugin of that name."""
        if not path.is_file():
            raise ReportCardError(f"No plugin file at {path}.")
        self._files[path.stem] = path.resolve()

    def names(self) -> list[str]:
        return sorted({*self._files, *_entry_points(self.kind), *_stems(self.package)})

    def get(self, name: str) -> type:
        """The plugin class. Raises ReportCardError with a suggestion for an unknown name."""
        if name in self._files:
            return self._only_class(_import_file(self._files[name]))
        target = _entry_points(self.kind).get(name)
        if target is not None:
            module, _, attribute = target.partition(":")
            return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]
        if name in _stems(self.package):
            return self._only_class(importlib.import_module(f"{self.package}.{name}"))
        raise ReportCardError(
            f"Unknown {self.kind} plugin '{name}'.{did_you_mean(name, self.names())}"
            f" (reportcard list {self.kind}s)"
        )

    def build(self, name: str, options: Mapping[str, Any], label: str) -> Any:
        """The plugin constructed with its options; one that it does not take is named."""
        cls = self.get(name)
        try:
            inspect.signature(cls).bind(**options)
        except TypeError as error:
            raise ReportCardError(f"{self.kind} {label}: {error}") from None
        return cls(**options)

    def _only_class(self, module: ModuleType) -> type:
        found = [
            value
            for key, value in vars(module).items()
            if inspect.isclass(value)
            and value.__module__ == module.__name__
            and not key.startswith("_")
            and callable(getattr(value, self.method, None))
        ]
        if len(found) != 1:
            names = ", ".join(c.__name__ for c in found) or "none"
            raise ReportCardError(
                f"{module.__file__}: the file of a plugin ({self.kind}) holds exactly one public"
                f" class with {self.method}(); found {names}."
            )
        return found[0]


models = Registry("model", "reportcard.model_adapters", "generate")
metrics = Registry("metric", "reportcard.metrics", "rows")
datasets = Registry("dataset", "reportcard.data.sources", "select")
annotators = Registry("annotator", "reportcard.metrics.annotators", "annotate")
KINDS = (models, metrics, datasets, annotators)


def add_plugin_file(path: Path) -> None:
    """Register a file with the one kind whose method its class has."""
    source = path.read_text(encoding="utf-8") if path.is_file() else ""
    for registry in KINDS:
        if _looks_like(registry.method, source):
            registry.add_file(path)
            return
    raise ReportCardError(
        f"{path} is no plugin: no class in it has generate(), rows(), select() or annotate()."
        if source
        else f"No plugin file at {path}."
    )


def source_digest(plugin: type[Any]) -> str:
    """What the plugin does, as fingerprints hold it: sha256 of its file, or of several where it
    imports modules beside it that begin with "_"."""
    files: dict[str, Path] = {}
    _gather(Path(inspect.getfile(plugin)), files)
    digests = {name: file_digest(path) for name, path in files.items()}
    return digest(digests) if len(digests) > 1 else next(iter(digests.values()))


def _gather(path: Path, files: dict[str, Path]) -> None:
    files[path.name] = path
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        names = [node.module.rpartition(".")[2], *(alias.name for alias in node.names)]
        for name in names:
            beside = path.parent / f"{name}.py"
            if name.startswith("_") and beside.is_file() and beside.name not in files:
                _gather(beside, files)


@cache
def _entry_points(kind: str) -> dict[str, str]:
    return {e.name: e.value for e in entry_points(group=f"reportcard.{kind}s")}


@cache
def _stems(package: str) -> frozenset[str]:
    spec = importlib.util.find_spec(package)
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    method = {r.package: r.method for r in KINDS}[package]
    return frozenset(
        path.stem
        for folder in folders
        for path in Path(folder).glob("[a-z]*.py")
        # A cheap look at the text, so that listing plugins imports none of them. A file whose
        # classes are registered by entry points is not a plugin under its own stem.
        if _looks_like(method, path.read_text(encoding="utf-8"))
        and not any(
            value.partition(":")[0] == f"{package}.{path.stem}"
            for registry in KINDS
            for value in _entry_points(registry.kind).values()
        )
    )


def _looks_like(method: str, source: str) -> bool:
    """Whether a file has a plugin's method, or extends a class of ours that has it."""
    extends = re.search(r"^class \w+\((Staged|Isolated)Adapter\):", source, re.MULTILINE)
    return f"def {method}(" in source or (method == "generate" and extends is not None)


def _import_file(path: Path) -> ModuleType:
    name = f"reportcard_plugin_{path.stem}"
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(path):
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ReportCardError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ReportCardError(
            f"{path} failed to import: {type(error).__name__}: {error}"
        ) from error
    return module
