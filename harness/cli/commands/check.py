"""Test a model adapter on synthetic studies.

Checks that answers do not depend on the batch, that bad input fails alone, that no reference
reaches the model, and that the text changes with the image. Needs no data. The result is written to
results/checks/MODEL/check.json, and the leaderboard shows it.

Example:
  reportcard check model=my_model plugin=my_model.py
"""

from __future__ import annotations

import argparse

from reportcard.cli.arguments import add_overrides, load_config
from reportcard.cli.output import say

GROUP = "Work on one model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--studies",
        type=int,
        default=20,
        metavar="N",
        help="studies for the test of image use (2 to 1000; default: 20)",
    )
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    from reportcard.analysis.check import check_models

    return check_models(load_config(arguments.overrides), arguments.studies, say)
