"""Generate reports for a cohort, continuing where it stopped.

Example:
  reportcard predict model=maira2 dataset=openi_findings model.batch_size=4
"""

from __future__ import annotations

import argparse

from reportcard.cli.arguments import add_exact_buckets, add_overrides, load_config
from reportcard.cli.stages import run_stages

GROUP = "Run a benchmark"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_exact_buckets(parser)
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.overrides, arguments.exact_buckets)
    return run_stages(config, "predict")
