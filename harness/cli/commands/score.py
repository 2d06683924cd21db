"""Score the finished predictions of a cohort.

Needs the predictions that `reportcard predict` wrote. Only scores that are missing or out of date
are computed.

Example:
  reportcard score model=maira2 dataset=openi_findings metrics=bleu,rouge
"""

from __future__ import annotations

import argparse

from reportcard.cli.arguments import add_overrides, load_config
from reportcard.cli.stages import run_stages

GROUP = "Run a benchmark"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    return run_stages(load_config(arguments.overrides), "score")
