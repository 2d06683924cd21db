"""List models, datasets, metrics, protocols or suites.

Example:
  reportcard list models
"""

from __future__ import annotations

import argparse

from reportcard.cli.arguments import add_json_flag
from reportcard.cli.output import say

GROUP = "Look around"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    choices = ["models", "datasets", "metrics", "protocols", "suites"]
    parser.add_argument("what", choices=choices, help="what to list")
    add_json_flag(parser)


def run(arguments: argparse.Namespace) -> int:
    from reportcard.cli.listing import show_list

    return show_list(arguments.what, arguments.json, say)
