"""Predict, score and publish: the whole benchmark, resumable.

Runs every chosen model on every chosen cohort, scores the reports, logs to MLflow where it is
installed, and writes the leaderboard. What is up to date is not done again.

Examples:
  reportcard run --fetch
  reportcard run model=empty_report,replay model.predictions=mine.csv dataset=openi_findings
"""

from __future__ import annotations

import argparse

from reportcard.cli.arguments import add_exact_buckets, add_overrides, load_config
from reportcard.cli.stages import run_stages

GROUP = "Run a benchmark"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fetch", action="store_true", help="download open data that is missing")
    add_exact_buckets(parser)
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.overrides, arguments.exact_buckets)
    return run_stages(config, "predict", "score", "publish", fetch=arguments.fetch)
