"""Download public data (openi) or metric weights, verified by hash.

Examples:
  reportcard fetch openi
  reportcard fetch weights chexbert radgraph
"""

from __future__ import annotations

import argparse

from reportcard.cli.arguments import add_words, load_config, split_words
from reportcard.cli.output import say
from reportcard.core.errors import ReportCardError

GROUP = "Run a benchmark"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["openi", "weights"], help="what to download")
    add_words(
        parser, "NAME", "names of weights: chexbert radgraph bertscore; and settings, see below"
    )


def run(arguments: argparse.Namespace) -> int:
    names, overrides = split_words(arguments.words)
    if arguments.what == "weights":
        from reportcard.core.weights import fetch_weights, weights_dir

        fetch_weights(names, weights_dir(), say)
        return 0
    if names:
        raise ReportCardError(f"fetch openi takes key=value settings only, not {' '.join(names)}.")
    from reportcard.data.cohort import open_dataset

    config = load_config(overrides)
    datasets = [open_dataset(plugin) for plugin in config.datasets if plugin.plugin == "openi"]
    datasets[0].fetch(say)  # type: ignore[attr-defined]
    return 0
