"""Names with one line each, read from the YAML files and plugins."""

from __future__ import annotations

from reportcard.config import paths
from reportcard.core import registry
from reportcard.core.errors import ReportCardError

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


def _plugin_of(group: str, name: str) -> str:
    for line in (paths.conf_dir() / group / f"{name}.yaml").read_text("utf-8").splitlines():
        if line.startswith("plugin:"):
            return line.split(":", 1)[1].strip()
    return name


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
