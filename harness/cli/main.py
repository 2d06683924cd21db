"""Runs the `reportcard` command: finds the command's module and turns errors into one sentence."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from reportcard.cli.parser import help_page, load_command, parse, top_parser
from reportcard.core.errors import ReportCardError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    An error that the user can act on is printed to stderr as one sentence, with exit code 2.
    Wrong arguments end in SystemExit(2), as argparse does it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        print(help_page())
        return 0
    if words[0].startswith("-"):
        top_parser().parse_args(words[:1])
    command = load_command(words[0])
    arguments = parse(command, words[1:])
    try:
        code: int = command.run(arguments)
        sys.stdout.flush()
        return code
    except ReportCardError as error:
        print(f"reportcard: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # The reader (head, less) closed early; the interpreter must not complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        where = f"{error.filename}: " if error.filename else ""
        print(f"reportcard: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to continue.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
