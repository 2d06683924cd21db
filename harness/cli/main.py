"""The `reportcard` command: finds the verb's function; what goes wrong becomes a sentence."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from reportcard.cli.parser import parser

MODULES = {
    verb: module
    for module, verbs in {
        "run": ("run", "predict", "score", "leaderboard", "fetch"),
        "model": ("generate", "prompt", "check", "new-model"),
        "compare": ("compare", "power", "explain"),
        "judge": ("evaluate", "audit", "validate", "judge"),
        "inspect": ("list", "doctor", "sections", "dashboard", "serve"),
    }.items()
    for verb in verbs
}
NAMES = {"new-model": "new_model", "list": "list_"}  # verbs that no function can be called


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code. User errors are one sentence on stderr, code 2."""
    known = parser()
    arguments, rest = known.parse_known_args(argv)
    # argparse fills an open-ended positional once; words may also stand after an option.
    named = getattr(arguments, "names", False)
    if rest and all(word[:1] != "-" and (named or "=" in word) for word in rest):
        arguments.overrides = [*getattr(arguments, "overrides", []), *rest]
    elif rest:
        known.error(f"unrecognised: {' '.join(rest)} (reportcard VERB --help)")
    from reportcard.api import ReportCardError  # after --help has answered: it imports NumPy

    if not hasattr(arguments, "verb"):
        known.print_help()
        return 0
    try:
        module = import_module(f"reportcard.cli.commands.{MODULES[arguments.verb]}")
        code: int = getattr(module, NAMES.get(arguments.verb, arguments.verb))(arguments)
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
        print(f"reportcard: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on where this one left off.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
