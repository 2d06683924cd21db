"""`reportcard new-model NAME`: an adapter, its YAML and its test, which works at once as a toy.

The three are `harness/skeleton/*.txt` with the name put in. Nothing that exists is overwritten,
and either all three are written or none.
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
    """Write the files and say what to do next. Raises ReportCardError for a name that is no name,
    is taken, or would hide a module; and outside of a checkout."""
    root = checkout()
    check_name(name, root)
    files = {
        root / "model_adapters" / f"{name}.py": "adapter.txt",
        root / "conf" / "model" / f"{name}.yaml": "model.txt",
        root / "tests" / f"test_{name}.py": "test.txt",
    }
    for path in files:
        if path.exists() or path.is_symlink():
            raise ReportCardError(f"{path} exists already and is left alone. Take another name.")
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
        f"A toy that works. Next:\n"
        f"  reportcard check model={name}\n"
        f"  reportcard run model={name} dataset=phantom\n"
        f"  pytest tests/test_{name}.py\n"
        f"then put the real model into model_adapters/{name}.py, one stage at a time"
        " (docs/adding-a-model.md)."
    )
    return 0


def checkout() -> Path:
    """The repository that this package is run from. Raises ReportCardError for an installed one."""
    root = Path(__file__).resolve().parents[2]
    if all((root / part).exists() for part in ("pyproject.toml", "model_adapters", "conf/model")):
        return root
    raise ReportCardError(
        "new-model writes into a checkout of the repository, and this is an installed package."
        " Clone the repository; or write one file anywhere and say plugin=FILE.py model=NAME"
        " (docs/adding-a-model.md)."
    )


def class_name(name: str) -> str:
    """'my_model' → 'MyModel'"""
    return "".join(word.capitalize() for word in name.split("_"))


def packages(root: Path) -> set[str]:
    """The modules, roughly, of what the project's extras install: torch may be absent here."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    found = (re.match(r"[\w.-]+", line) for group in groups for line in group)
    return {match[0].lower().replace("-", "_") for match in found if match}


def check_name(name: str, root: Path) -> None:
    """Raises ReportCardError with the reason why a model cannot have this name."""
    if not NAME.fullmatch(name) or len(name) > 40:
        words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
        near = "_".join(words).lstrip("0123456789_")[:40]
        hint = f" Say {near}." if NAME.fullmatch(near) else ""
        raise ReportCardError(
            f"{name!r}: a name begins with a letter and has lower case letters, digits and single"
            f" _ between them, at most 40.{hint}"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or hasattr(builtins, name):
        raise ReportCardError(f"{name} is a word of Python's own. Take another name.")
    if name in registry.models.names() or name in paths.names("model"):
        raise ReportCardError(f"There is a model {name} already (reportcard list models).")
    taken = sys.stdlib_module_names | packages(root)
    if name in taken or importlib.util.find_spec(name) is not None:
        raise ReportCardError(f"{name} is the name of a module, which it would hide.")
    words_of_skeleton = re.findall(r"[A-Z]\w+", (SKELETON / "adapter.txt").read_text("utf-8"))
    if class_name(name) in words_of_skeleton:
        raise ReportCardError(
            f"Its class would be called {class_name(name)}, which its file uses for something else."
            " Take another name."
        )
