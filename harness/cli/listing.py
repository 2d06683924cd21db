"""Prints `reportcard list`: names with one line each, from YAML files and plugins."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

from reportcard.config.catalogue import entries


def show_list(what: str, as_json: bool, say: Callable[[str], None]) -> int:
    """Print the members of a group; models are shown with their status and what they need."""
    from reportcard.cli.systems import rows
    from reportcard.cli.tables import list_table, systems_table

    named = [] if what == "models" else entries(what)
    listed = rows() if what == "models" else []
    if as_json:
        found = [asdict(row) for row in listed] or [
            {"name": name, "line": line} for name, line in named
        ]
        say(json.dumps(found, indent=2, ensure_ascii=False))
    elif listed:
        systems_table(listed)
    else:
        list_table(what, named)
    return 0
