"""Explain why two numbers differ, from what is recorded of both.

A and B are each one of:
  LABEL or COHORT/LABEL   a model of the results folder
  a score folder or file
  published:SYSTEM        a number from a paper

Example:
  reportcard explain llava_rad published:LLaVA-Rad --metric bleu
"""

from __future__ import annotations

import argparse

from reportcard.cli.arguments import (
    add_json,
    add_words,
    at_most,
    check_scored,
    load_config_and_cohorts,
    split_words,
)
from reportcard.cli.output import to_stdout, write_result
from reportcard.core.errors import ReportCardError

GROUP = "Compare results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metric", help="a metric or one of its scores: rouge, bleu.bleu_4")
    add_json(parser)
    add_words(parser, "A B", "two results, and settings (see below)")


def run(arguments: argparse.Namespace) -> int:
    from reportcard.analysis.score_difference import explain_rows
    from reportcard.cli.tables_compare import explain_table
    from reportcard.core.records import to_json

    names, overrides = split_words(arguments.words)
    at_most(names, 2, "explain", "two models, score folders or published figures")
    if len(names) != 2:
        raise ReportCardError(
            "explain takes two of: a model (LABEL or COHORT/LABEL), a score folder or file,"
            " published:SYSTEM."
        )
    config, cohorts = load_config_and_cohorts(overrides)
    check_scored(config.results_dir, names)
    where, protocol = config.results_dir, config.protocol.name
    found = explain_rows(where, (names[0], names[1]), protocol, cohorts, arguments.metric)
    if not to_stdout(arguments.json):
        explain_table(found)
    write_result(arguments.json, to_json(found))
    return 0
