"""The folder of YAML files, and the names in it, for readers that need no Hydra."""

from __future__ import annotations

from pathlib import Path

from reportcard.core.errors import ReportCardError


def conf_dir() -> Path:
    """Return the folder of Hydra groups: `conf/` of the checkout, or of the installed package.

    Raises ReportCardError when the package was installed without it.
    """
    folder = (Path(__file__).parent.parent / "conf").resolve()
    if (folder / "config.yaml").is_file():
        return folder
    raise ReportCardError(f"No configuration at {folder}; reinstall cxr-reportcard.")


def names(group: str) -> list[str]:
    """Return the options of a config group: the stems of its YAML files, sorted."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
