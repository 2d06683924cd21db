"""Builds the help page and the parser of each command from the modules in `commands/`.

A command is a module in `commands/` with two functions, `add_arguments(parser)` and
`run(arguments)`. Its docstring is its help: the first line is the summary, the rest is shown by
`reportcard COMMAND --help`. Its `GROUP` is its heading on the page of `reportcard --help`.
"""

from __future__ import annotations

import argparse
import pkgutil
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Protocol, cast

from reportcard.cli import commands
from reportcard.core.version import __version__

GROUPS = (
    "Run a benchmark",
    "Work on one model",
    "Compare results",
    "Metrics and judges",
    "Look around",
)
DESCRIPTION = (
    "Benchmark chest X-ray report generation: run models over fixed cohorts, score\n"
    "the reports with confidence intervals, and publish a leaderboard whose numbers\n"
    "can be traced."
)
EPILOG = (
    "Start with:  reportcard run --fetch    (baselines on Open-I; no GPU, no account)\n"
    "Then:        reportcard COMMAND --help"
)


class Command(Protocol):
    """A module in `commands/`."""

    __doc__: str | None
    __name__: str
    GROUP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, arguments: argparse.Namespace) -> int: ...


def command_names() -> list[str]:
    """Return the name of every command, as the user types it."""
    return [found.name.replace("_", "-") for found in pkgutil.iter_modules(commands.__path__)]


def load_command(name: str) -> Command:
    """Import the module of a command. An unknown name ends the program with a suggestion."""
    known = command_names()
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"Did you mean {near[0]}?" if near else "See: reportcard --help"
        top_parser().error(f"there is no command '{name}'. {hint}")
    module = import_module(f"reportcard.cli.commands.{name.replace('-', '_')}")
    return cast("Command", module)


def parse(command: Command, words: Sequence[str]) -> argparse.Namespace:
    """Parse the words after a command's name; options and key=value may be in any order."""
    parser = command_parser(command)
    arguments, unknown = parser.parse_known_intermixed_args(list(words))
    if unknown:
        options = [o for action in parser._actions for o in action.option_strings]
        near = get_close_matches(unknown[0].split("=")[0], options, 1)
        hint = f"; did you mean {near[0]}?" if near else f" (see {parser.prog} --help)"
        parser.error(f"unknown argument {unknown[0]}{hint}")
    return arguments


def command_parser(command: Command) -> argparse.ArgumentParser:
    """Build the parser of one command; its description is the module's docstring."""
    name = command.__name__.rpartition(".")[2].replace("_", "-")
    parser = argparse.ArgumentParser(
        prog=f"reportcard {name}",
        description=(command.__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    return parser


def top_parser() -> argparse.ArgumentParser:
    """Build the parser of `reportcard --help` and `reportcard --version`."""
    parser = argparse.ArgumentParser(
        prog="reportcard", usage="reportcard [--help] [--version] COMMAND ...", add_help=False
    )
    parser.add_argument("-h", "--help", action=_Help, nargs=0)
    parser.add_argument("--version", action="version", version=f"reportcard {__version__}")
    return parser


class _Help(argparse.Action):
    """Prints the help page, for which every command is imported, only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        print(help_page())
        parser.exit()


def help_page() -> str:
    """Return the page of `reportcard --help`: every command with its summary, by group."""
    lines = [top_parser().format_usage(), DESCRIPTION]
    found = [(name, load_command(name)) for name in command_names()]
    for group in GROUPS:
        lines += ["", f"{group}:"]
        lines += [f"  {n:<12} {summary(c)}" for n, c in found if group == c.GROUP]
    return "\n".join([*lines, "", EPILOG])


def summary(command: Command) -> str:
    """Return the first line of a command's docstring."""
    return (command.__doc__ or "").strip().partition("\n")[0]
