"""The rich console that prints tables, and how numbers are shown in them."""

from __future__ import annotations

from rich.console import Console

ARROW = {"higher": "↑", "lower": "↓"}


def console() -> Console:
    """Return a console for stdout."""
    # Where stdout is no terminal, rich would fold to 80 columns and cut names.
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=160)


def number(value: float | None) -> str:
    """Return a number with four significant digits, or – for None."""
    return "–" if value is None else f"{value:.4g}"
