"""Writes docs/commands.md from the command line's own help: `python docs/commands.py`."""

from __future__ import annotations

import argparse
import re
from itertools import groupby
from pathlib import Path

from reportcard.cli.arguments import OVERRIDES
from reportcard.cli.parser import (
    GROUPS,
    Command,
    command_names,
    command_parser,
    load_command,
    summary,
)

HEAD = """\
# Commands

<!-- Written by docs/commands.py from the command line's own help; a test compares the two. -->

`reportcard --help` lists the commands, `reportcard COMMAND --help` explains one. The exit code is 0
for success, 2 for an error that is printed as one sentence, and 130 after Ctrl-C. Options and
`key=value` settings may be in any order.
"""


def page() -> str:
    found = [(name, load_command(name)) for name in command_names()]
    parts = [HEAD]
    for group in GROUPS:
        parts.append(f"## {group}\n")
        parts += [_command(name, command) for name, command in found if group == command.GROUP]
    parts.append(f"## Settings\n\n```text\n{OVERRIDES}```\n")
    return "\n".join(parts)


def _command(name: str, command: Command) -> str:
    lines = (command.__doc__ or "").strip().splitlines()[1:]
    blocks = [f"### {name}\n", f"{summary(command)}\n"]
    for indented, part in groupby(lines, key=lambda line: line.startswith("  ")):
        text = "\n".join(line.removeprefix("  ") for line in part).strip()
        if indented:
            language = "sh" if text.startswith("reportcard ") and "  " not in text else "text"
            text = f"```{language}\n{text}\n```"
        if text:
            blocks.append(f"{text}\n")
    rows = [
        f"| `{_name(action)}` | {_plain(action.help or '')} |"
        for action in command_parser(command)._actions
        if action.dest != "help"
    ]
    return "\n".join([*blocks, "| argument | meaning |", "|---|---|", *rows, ""])


def _name(action: argparse.Action) -> str:
    choices = ",".join(map(str, action.choices or ()))
    value = action.metavar or (f"{{{choices}}}" if choices else action.dest.upper())
    if not action.option_strings:
        return str(value if action.metavar or choices else action.dest).replace("|", "\\|")
    return action.option_strings[0] + ("" if action.nargs == 0 else f" {value}")


def _plain(text: str) -> str:
    """Escape what Markdown would read: pipes and words in angle or curly brackets stay as text."""
    return re.sub(r"([|<])", r"\\\1", text.replace("%%", "%"))


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
