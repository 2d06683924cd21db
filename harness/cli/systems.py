"""Lists every known system with its status, and whether it can run on this machine.

The systems are those of conf/systems.yaml. A listing must answer at once: YAML files are read
without Hydra, and each adapter is constructed and asked what is missing, while packages as large
as torch are looked for and not imported. So "ready" says that packages and weights are here;
whether the model fits on the GPU is checked by `reportcard doctor` and before a run.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

import yaml

from reportcard.api import ReportCardError
from reportcard.config.catalogue import LOADER, line, preset
from reportcard.config.compose import RESERVED
from reportcard.config.paths import conf_dir, names
from reportcard.core import registry

STATUSES = (
    *("native port", "chat preset", "isolated worker", "http", "replay only"),
    *("documented template only", "baseline"),
)
WITH_TORCH = ("native port", "chat preset")  # statuses of models that run in this process
NEEDS_GPU_EXTRA = "needs: pip install 'cxr-reportcard[gpu]' (make setup-gpu)"
LARGE_PACKAGES = ("torch", "transformers", "tensorflow", "jax")  # seconds to import


@dataclass(frozen=True)
class KnownSystem:
    """One system of the literature, however it is run.

    models: the model=… keys that run it; "name*" means every key that begins so.
    """

    name: str
    status: str
    weights: str
    licence: str
    reason: str
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class CatalogueRow:
    """One line of `reportcard list models`.

    here: "ready", what is missing on this machine, or "–" where there is nothing to run.
    line: the first line of the key's YAML file, or of its class.
    """

    model: str
    system: str
    status: str
    here: str
    weights: str
    licence: str
    reason: str
    line: str


def systems() -> list[KnownSystem]:
    """Read conf/systems.yaml. Raises ReportCardError for a status that does not exist."""
    text = (conf_dir() / "systems.yaml").read_text("utf-8")
    found = [
        KnownSystem(**{**row, "models": tuple(row.get("models", ()))})
        for row in yaml.load(text, Loader=LOADER)  # noqa: S506
    ]
    for system in found:
        if system.status not in STATUSES:
            raise ReportCardError(f"systems.yaml: {system.name}: no such status {system.status}.")
    return found


def keys_of(system: KnownSystem, known: list[str]) -> list[str]:
    """Return the model=… keys of this checkout that run a system."""
    return [key for key in known if any(fnmatchcase(key, name) for name in system.models)]


def rows() -> list[CatalogueRow]:
    """Return every system in the order of the file, then the plugins that it does not name."""
    known, found, listed = names("model"), [], set()
    for system in systems():
        keys = keys_of(system, known)
        listed.update(keys)
        found += [_row(system, key) for key in keys or [""]]
    configured = {preset("model", key).get("plugin", key) for key in known}
    for key in [k for k in known if k not in listed] + [
        name for name in registry.models.names() if name not in configured
    ]:
        own = KnownSystem(key, "plugin", "its own", "its own", "a plugin of your own", (key,))
        found.append(_row(own, key))
    return found


def _row(system: KnownSystem, key: str) -> CatalogueRow:
    here = _here(system.status, key) if key else "–"
    if not key and system.models:
        here = "not in this checkout"
    described = line("models", key) if key else ""
    facts = (system.weights, system.licence, system.reason)
    return CatalogueRow(key, system.name, system.status, here, *facts, described)


def _here(status: str, key: str) -> str:
    """Return "ready", or in a few words what is missing."""
    node = preset("model", key)
    if status in WITH_TORCH and importlib.util.find_spec("torch") is None:
        return NEEDS_GPU_EXTRA
    options = {k: v for k, v in node.items() if k not in RESERVED}
    unset = [k for k, v in options.items() if v == "???"]
    if unset:
        return f"needs: {', '.join(f'model.{k}=…' for k in unset)}"
    try:
        with large_packages_unimported():
            adapter = registry.models.build(node.get("plugin", key), options, key)
            ask = getattr(adapter, "missing", None)
            reason = ask() if ask is not None else None
    except Exception as error:  # a plugin is somebody's code: its error costs its own row only
        if _needs_large_package(error):
            reason = None  # nothing that is checked before the device is missing
        else:
            reason = str(error) if isinstance(error, ReportCardError) else type(error).__name__
    return f"needs: {reason}" if reason else "ready"


class NotImportedError(ImportError):
    """A listing got to the import of a large package."""


class _NotImported:
    """A finder and loader of large packages: it finds them, and refuses to import them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in LARGE_PACKAGES or PathFinder.find_spec(fullname, path) is None:
            return None
        return ModuleSpec(fullname, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python create the module as usual."""

    def exec_module(self, module: ModuleType) -> None:
        raise NotImportedError(f"{module.__name__} is not imported for a listing.")


@contextmanager
def large_packages_unimported() -> Iterator[None]:
    """Let an adapter see that torch is installed, but not import it.

    `missing()` of a native port checks packages, files and then the device, which needs torch and
    takes seconds. An import of torch raises NotImportedError here.
    """
    finder = _NotImported()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def _needs_large_package(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, NotImportedError):
        error = error.__cause__ or error.__context__
    return error is not None
