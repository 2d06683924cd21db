"""Rebuild the leaderboard; export or verify a release of results.

  reportcard leaderboard             write page, JSON and CSV from the scores in the results folder
  reportcard leaderboard export DIR  copy what may be published to DIR, with checksums
  reportcard leaderboard verify DIR  recompute the scores of an exported folder

Example:
  reportcard leaderboard results_dir=results --all
  reportcard leaderboard --skill
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from reportcard.cli.arguments import add_words, load_config, split_words
from reportcard.cli.output import say
from reportcard.core.errors import ReportCardError

GROUP = "Run a benchmark"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--all", action="store_true", help="also show runs with older fingerprints of a model"
    )
    parser.add_argument(
        "--skill",
        action="store_true",
        help="print each value between the best floor (0) and the ceiling (1) of its column",
    )
    add_words(parser, "[export DIR | verify DIR]", "an action, and settings (see below)")


def run(arguments: argparse.Namespace) -> int:
    names, overrides = split_words(arguments.words)
    if names:
        return _release(names, overrides, arguments.all)
    from reportcard.core.console import console
    from reportcard.publish.page.terminal_board import render_published
    from reportcard.publish.publishing_stage import publish_board

    model, files = publish_board(load_config(overrides), arguments.all, skill=arguments.skill)
    render_published(model, console())
    for path in files:
        say(f"  {path}")
    return 0


def _release(names: Sequence[str], overrides: Sequence[str], everything: bool) -> int:
    """Run `leaderboard export DIR` or `leaderboard verify DIR`."""
    if len(names) != 2 or names[0] not in ("export", "verify"):
        raise ReportCardError(f"leaderboard takes export DIR or verify DIR, not {' '.join(names)}.")
    action, folder = names[0], Path(names[1])
    config = load_config(overrides)  # also registers the plugins named on the command line
    if action == "export":
        from reportcard.publish.release.export import export

        say(export(config.results_dir, folder, everything))
        return 0
    from reportcard.publish.release.verify import verify

    found = verify(folder)
    for line in found.lines:
        say(line)
    return 2 if found.problems else 0
