"""Write the files of a new model: adapter, YAML and test.

Example:
  reportcard new-model my_model
"""

from __future__ import annotations

import argparse

from reportcard.cli.output import say

GROUP = "Work on one model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="lower case with underscores: my_model")


def run(arguments: argparse.Namespace) -> int:
    from reportcard.models.scaffold import write_model

    return write_model(arguments.name, say)
