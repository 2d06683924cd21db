"""Shows the result of `reportcard check` in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from reportcard.core.console import console

if TYPE_CHECKING:
    from reportcard.analysis.check.under_test import Check


def check_table(model: str, checks: Sequence[Check]) -> None:
    """Print one line per check of a model."""
    table = Table(title=Text(f"{model} on the phantom"), title_justify="left", show_header=False)
    for check in checks:
        style = {"pass": "green", "FAIL": "bold red"}.get(check.state, "dim")
        # A reason may quote a model or an exception, so control characters are replaced.
        reason = "".join(
            c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in check.reason
        )
        table.add_row(Text(check.name), Text(check.state, style=style), Text(reason))
    console().print(table)
