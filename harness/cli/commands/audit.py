"""Measure which errors made on purpose a judge or metric detects.

The reports are invented and edited by us, so the errors are known and any judge may read them.

Examples:
  reportcard audit metrics --metrics bleu,rouge --out audit/
  reportcard audit judge judge=local
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reportcard.cli.arguments import add_overrides, comma_list

GROUP = "Metrics and judges"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["judge", "metrics"], help="what to audit")
    parser.add_argument(
        "--metrics", help="comma list (default: chexprompt for judge, every metric for metrics)"
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=2,
        metavar="N",
        help="how often the judge is asked each question (default: 2)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write the tables, JSON and a plot to this folder"
    )
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    from reportcard.analysis.audit import run_audit

    return run_audit(
        arguments.what,
        metrics=comma_list(arguments.metrics),
        overrides=arguments.overrides,
        repeats=arguments.repeats,
        out=arguments.out,
    )
