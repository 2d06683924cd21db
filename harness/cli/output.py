"""Prints to the terminal and writes results as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def say(text: str) -> None:
    """Print a line at once, also where stdout is a file."""
    print(text, flush=True)


def say_aside(text: str) -> None:
    """Print a line to stderr, for commands whose stdout may be JSON."""
    print(text, file=sys.stderr, flush=True)


def to_stdout(path: Path | None) -> bool:
    """Return whether the user asked for JSON on stdout, so that nothing else is printed there."""
    return path == Path("-")


def write_result(path: Path | None, value: Any) -> None:
    """Write a result as JSON to a file or, for `-`, to stdout; None writes nothing."""
    from reportcard.core.files import write_atomic

    if path is not None:
        text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        print(text, end="") if to_stdout(path) else write_atomic(path, text)


def _finite(value: Any) -> Any:
    """Replace NaN, which JSON does not have, by null."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list | tuple) else value
