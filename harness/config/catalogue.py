"""Lists what the command line can name, with one line each, without importing a plugin.

Names and lines come from the YAML files of `conf/`, and where a plugin has no YAML file from the
docstring of its class.
"""

from __future__ import annotations

from functools import cache

import yaml

from reportcard.config import paths
from reportcard.core import registry
from reportcard.core.errors import Json, ReportCardError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What `reportcard list` takes → the folder of conf/, and the plugins of this kind.
GROUPS = {
    "models": ("model", registry.models),
    "datasets": ("dataset", registry.datasets),
    "metrics": ("metrics", registry.metrics),
    "protocols": ("protocol", None),
    "suites": ("suite", None),
}


def entries(what: str) -> list[tuple[str, str]]:
    """Return (name, one line) of every member of a group, such as "metrics", sorted by name."""
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
    own = dict(_keys(path.read_text("utf-8")) if path.is_file() else {})
    parents = [parent for parent in own.pop("defaults", ()) if isinstance(parent, str)]
    found: Json = {}
    for keys in (*(preset(group, parent) for parent in parents if parent != "_self_"), own):
        for key, value in keys.items():
            old = found.get(key)
            if isinstance(old, dict) and isinstance(value, dict):
                value = {**old, **value}
            found[key] = value
    return found


@cache
def _keys(text: str) -> Json:
    """The keys of a YAML file. A listing asks for each file several times."""
    keys = yaml.load(text, Loader=LOADER)  # noqa: S506 (a safe loader)
    return keys if isinstance(keys, dict) else {}


def _plugin_of(group: str, name: str) -> str:
    return str(preset(group, name).get("plugin", name))


def line(what: str, name: str) -> str:
    """Return the first comment line of a name's YAML file, else its plugin's docstring's first.

    A plugin that cannot be found gives the error's sentence.
    """
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
        return plugins.describe(name)
    except ReportCardError as error:
        return str(error)
