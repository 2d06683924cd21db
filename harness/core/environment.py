"""Describes the environment for run cards: versions of packages, state of the code, GPUs.

It contains no timestamps, so that two runs on one machine have the same card.
"""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from reportcard.core.errors import Json
from reportcard.core.version import __version__

PACKAGES = (
    *("numpy", "scikit-learn", "rapidfuzz", "nltk", "hydra-core", "mlflow"),
    *("torch", "transformers", "radgraph", "f1chexbert", "bert-score"),
)


@cache
def environment() -> Json:
    """Return versions, the git state of the harness, and the GPUs, as far as they are known."""
    return {
        "reportcard": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "packages": {name: v for name in PACKAGES if (v := _version(name))},
        "git": git_state(Path(__file__).parent),
        "gpus": _gpus(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git_state(folder: Path) -> Json | None:
    """Return {"commit", "dirty"} of the checkout around `folder`; None outside of one."""
    commit = _output("git", "-C", str(folder), "rev-parse", "HEAD")
    if not commit:
        return None
    return {
        "commit": commit,
        "dirty": bool(_output("git", "-C", str(folder), "status", "--porcelain", "-uno")),
    }


def _gpus() -> list[str]:
    names = _output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    return names.splitlines() if names else []


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 (fixed programs, no shell)
            command, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
