"""Names with one line each, read from the YAML files and plugins."""

from __future__ import annotations

import yaml

from reportcard.config import paths
from reportcard.core import registry
from reportcard.core.errors import Json, ReportCardError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

GROUPS = {
    "models": ("model", registry.models),
    "datasets": ("dataset", registry.datasets),
    "metrics": ("metrics", registry.metrics),
    "protocols": ("protocol", None),
    "suites": ("suite", None),
}


def entries(what: str) -> list[tuple[str, str]]:
    """(name, one line) of everything that a key of the command line can name."""
    group, plugins = GROUPS[what]
    names = set(paths.names(group))
    if plugins is not None:
        used = {_plugin_of(group, name) for name in names}
        names |= set(plugins.names()) - used
    return [(name, line(what, name)) for name in sorted(names)]


def preset(group: str, name: str) -> Json:
    """Return the keys of `conf/GROUP/NAME.yaml` with those of the files that it inherits from.

    This reads YAML only, without Hydra, because listing must be quick. A name without a file gives
    an empty dictionary.
    """
    path = paths.conf_dir() / group / f"{name}.yaml"
    text = path.read_text("utf-8") if path.is_file() else ""
    own = yaml.load(text, Loader=LOADER)  # noqa: S506 (a safe loader)
    if not isinstance(own, dict):
        return {}
    parents = [parent for parent in own.pop("defaults", ()) if isinstance(parent, str)]
    found: Json = {}
    for keys in (*(preset(group, parent) for parent in parents if parent != "_self_"), own):
        for key, value in keys.items():
            old = found.get(key)
            if isinstance(old, dict) and isinstance(value, dict):
                value = {**old, **value}
            found[key] = value
    return found


def _plugin_of(group: str, name: str) -> str:
    return str(preset(group, name).get("plugin", name))


def line(what: str, name: str) -> str:
    """The YAML file's first comment line, else the first line of the plugin's docstring."""
    group, plugins = GROUPS[what]
    path = paths.conf_dir() / group / f"{name}.yaml"
    if path.is_file():
        first = path.read_text("utf-8").split("\n", 1)[0]
        if first.startswith("#"):
            return first.lstrip("# ")
        name = _plugin_of(group, name)
    if plugins is None:
        return ""
    try:
        return (plugins.get(name).__doc__ or "").strip().split("\n")[0]
    except ReportCardError as error:
        return str(error)
