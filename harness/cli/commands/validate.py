"""Measure agreement of metrics and a judge with radiologists.

Compares with the error counts of ReXVal or RadEvalX, which you download from PhysioNet.

Example:
  reportcard validate rexval --root ~/data/rexval --metrics bleu,rouge
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reportcard.cli.arguments import add_overrides, comma_list

GROUP = "Metrics and judges"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["rexval", "radevalx"], help="the data set")
    parser.add_argument(
        "--root", type=Path, required=True, metavar="DIR", help="folder with its files"
    )
    parser.add_argument("--metrics", help="comma list (default: every metric that can run)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    from reportcard.analysis.validation import run_validation

    return run_validation(
        arguments.what,
        root=arguments.root,
        metrics=comma_list(arguments.metrics),
        overrides=arguments.overrides,
        json_out=arguments.json,
    )
