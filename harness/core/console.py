"""The rich console that prints tables, and how numbers are shown in them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

UNRELIABLE = "‡"  # beside an interval that is not to be relied on
ARROW = {"higher": "↑", "lower": "↓"}


def console() -> Console:
    """Return a console for stdout."""
    # Where stdout is no terminal, rich would fold to 80 columns and cut names.
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=160)


def unreliable_lines(doubts: Iterable[tuple[str, str | None]]) -> list[str]:
    """Return a line per reason why intervals are unreliable, with the scores that it is said of.

    doubts: (score, reason), None where the interval is fine.
    """
    found: dict[str, list[str]] = {}
    for name, reason in doubts:
        if reason:
            found.setdefault(reason, []).append(name)
    return [
        f"{UNRELIABLE} interval unreliable: {reason} ({', '.join(dict.fromkeys(names))})"
        for reason, names in found.items()
    ]


def number(value: float | None) -> str:
    """Return a number with four significant digits, or – for None."""
    return "–" if value is None else f"{value:.4g}"
