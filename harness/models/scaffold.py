"""Writes the files of `reportcard new-model NAME`: an adapter, its YAML file and its test.

They are copies of harness/models/skeleton/*.txt with the name filled in, and work at once as a toy.
No existing file is overwritten, and either all three are written or none.
"""

from __future__ import annotations

import builtins
import importlib.util
import keyword
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from reportcard.api import ReportCardError
from reportcard.config import paths
from reportcard.core import registry
from reportcard.core.files import write_atomic

SKELETON = Path(__file__).parent / "skeleton"
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def write_model(name: str, say: Callable[[str], None]) -> int:
    """Write the three files and print the next steps.

    Raises ReportCardError for a name that is invalid, taken, or would hide a module, and outside of
    a checkout.
    """
    root = checkout()
    check_name(name, root)
    files = {
        root / "model_adapters" / f"{name}.py": "adapter.txt",
        root / "conf" / "model" / f"{name}.yaml": "model.txt",
        root / "tests" / "model_adapters" / f"test_{name}.py": "test.txt",
    }
    for path in files:
        if path.exists() or path.is_symlink():
            raise ReportCardError(f"{path} exists already. Choose another name.")
    written: list[Path] = []
    try:
        for path, skeleton in files.items():
            text = (SKELETON / skeleton).read_text(encoding="utf-8")
            write_atomic(path, text.replace("CLASS", class_name(name)).replace("NAME", name))
            written.append(path)
    except OSError:
        for path in written:
            path.unlink()
        raise
    for path in files:
        say(f"  {path}")
    say(
        f"These files work as a toy model. Next:\n"
        f"  reportcard check model={name}\n"
        f"  reportcard run model={name} dataset=phantom\n"
        f"  pytest tests/model_adapters/test_{name}.py\n"
        f"Then replace the toy in model_adapters/{name}.py by your model, one stage at a time"
        " (docs/adding-a-model.md)."
    )
    return 0


def checkout() -> Path:
    """Return the repository that this package runs from.

    Raises ReportCardError for an installed package.
    """
    root = Path(__file__).resolve().parents[2]
    if all((root / part).exists() for part in ("pyproject.toml", "model_adapters", "conf/model")):
        return root
    raise ReportCardError(
        "new-model writes into a checkout of the repository, and this is an installed package."
        " Clone the repository; or write one file anywhere and say plugin=FILE.py model=NAME"
        " (docs/adding-a-model.md)."
    )


def class_name(name: str) -> str:
    """Turn 'my_model' into 'MyModel'."""
    return "".join(word.capitalize() for word in name.split("_"))


def packages(root: Path) -> set[str]:
    """Return the names of the project's dependencies, also of extras that are not installed."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    found = (re.match(r"[\w.-]+", line) for group in groups for line in group)
    return {match[0].lower().replace("-", "_") for match in found if match}


def check_name(name: str, root: Path) -> None:
    """Raise ReportCardError with the reason if a model cannot have this name."""
    if not NAME.fullmatch(name) or len(name) > 40:
        words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
        near = "_".join(words).lstrip("0123456789_")[:40]
        hint = f" Try {near}." if NAME.fullmatch(near) else ""
        raise ReportCardError(
            f"{name!r} is not a valid name: it starts with a letter, has only lower-case letters,"
            f" digits and single _ between them, and at most 40 characters.{hint}"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or hasattr(builtins, name):
        raise ReportCardError(f"{name} is a Python keyword or built-in. Choose another name.")
    if name in registry.models.names() or name in paths.names("model"):
        raise ReportCardError(f"There is already a model {name} (reportcard list models).")
    taken = sys.stdlib_module_names | packages(root)
    if name in taken or importlib.util.find_spec(name) is not None:
        raise ReportCardError(
            f"{name} is the name of a module that the file would hide. Choose another."
        )
    words_of_skeleton = re.findall(r"[A-Z]\w+", (SKELETON / "adapter.txt").read_text("utf-8"))
    if class_name(name) in words_of_skeleton:
        raise ReportCardError(
            f"The class would be called {class_name(name)}, a name that its file already uses."
            " Choose another name."
        )
