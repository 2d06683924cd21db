"""A terminal for people."""

from __future__ import annotations

from rich.console import Console

ARROW = {"higher": "↑", "lower": "↓"}


def console() -> Console:
    # Off a terminal rich would fold to 80 columns and cut names.
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=160)


def number(value: float | None) -> str:
    """Four significant digits, which is more than any interval here supports."""
    return "–" if value is None else f"{value:.4g}"
