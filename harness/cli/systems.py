"""Every known system with its status, and whether it can run on this machine (conf/systems.yaml).

Made for a listing that answers at once: YAML files are read without Hydra, an adapter is
constructed and asked `missing()`, and torch is looked for and never imported.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from fnmatch import fnmatchcase

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
HERE = ("native port", "chat preset")  # run in this process, with torch
NEEDS_GPU_EXTRA = "needs: pip install 'cxr-reportcard[gpu]' (make setup-gpu)"


@dataclass(frozen=True)
class Listed:
    """One system of the literature, however it is run. `models`: keys or "name*"."""

    name: str
    status: str
    weights: str
    licence: str
    reason: str
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One line of the listing.

    here: "ready", why not, or "–" where there is nothing to run. line: what the key's YAML file or
    class says of itself.
    """

    model: str
    system: str
    status: str
    here: str
    weights: str
    licence: str
    reason: str
    line: str


def systems() -> list[Listed]:
    text = (conf_dir() / "systems.yaml").read_text("utf-8")
    found = [
        Listed(**{**row, "models": tuple(row.get("models", ()))})
        for row in yaml.load(text, Loader=LOADER)  # noqa: S506
    ]
    for system in found:
        if system.status not in STATUSES:
            raise ReportCardError(f"systems.yaml: {system.name}: no such status {system.status}.")
    return found


def keys_of(system: Listed, known: list[str]) -> list[str]:
    """The model=… keys of this checkout that a system names."""
    return [key for key in known if any(fnmatchcase(key, name) for name in system.models)]


def rows() -> list[Row]:
    """Every system in the order of the file, then plugins that it does not name."""
    known, found, listed = names("model"), [], set()
    for system in systems():
        keys = keys_of(system, known)
        listed.update(keys)
        found += [_row(system, key) for key in keys or [""]]
    configured = {preset("model", key).get("plugin", key) for key in known}
    for key in [k for k in known if k not in listed] + [
        name for name in registry.models.names() if name not in configured
    ]:
        own = Listed(key, "plugin", "its own", "its own", "a plugin of your own", (key,))
        found.append(_row(own, key))
    return found


def _row(system: Listed, key: str) -> Row:
    here = _here(system.status, key) if key else "–"
    if not key and system.models:
        here = "not in this checkout"
    said = line("models", key) if key else ""
    facts = (system.weights, system.licence, system.reason)
    return Row(key, system.name, system.status, here, *facts, said)


def _here(status: str, key: str) -> str:
    """Ready, or in a few words what is missing."""
    node = preset("model", key)
    if status in HERE and importlib.util.find_spec("torch") is None:
        return NEEDS_GPU_EXTRA
    options = {k: v for k, v in node.items() if k not in RESERVED}
    unset = [k for k, v in options.items() if v == "???"]
    if unset:
        return f"needs: {', '.join(f'model.{k}=…' for k in unset)}"
    try:
        adapter = registry.models.build(node.get("plugin", key), options, key)
        ask = getattr(adapter, "missing", None)
        reason = ask() if ask is not None else None
    except Exception as error:  # a plugin is somebody's code: it costs its own row
        reason = str(error) if isinstance(error, ReportCardError) else type(error).__name__
    return f"needs: {reason}" if reason else "ready"
