"""Check this machine and the configured run for what is missing.

Says how to get what is missing. With dataset=NAME it also selects the cohort and describes it.

Examples:
  reportcard doctor
  reportcard doctor dataset=openi_findings --contact-sheet sheet.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reportcard.cli.arguments import add_overrides, load_config

GROUP = "Look around"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--contact-sheet",
        type=Path,
        metavar="FILE.png",
        help="draw ten studies of the dataset: images, views, boxes, text lengths",
    )
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    from reportcard.cli.machine_check import report
    from reportcard.cli.tables import doctor_table

    config = load_config(arguments.overrides)
    lines, can_start = report(config, config.datasets_named, arguments.contact_sheet)
    doctor_table(lines)
    return 0 if can_start else 2
