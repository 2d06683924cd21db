"""Plan a study: how many studies tell two models apart.

With A and B, from their measured difference; with A alone, for a --difference that you give. The
answer has an interval, and a pilot of fewer than 200 studies is too small to plan with.

Examples:
  reportcard power maira2 llava_rad --metric rouge
  reportcard power maira2 --metric rouge --difference 0.01
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
    parser.add_argument(
        "--difference",
        type=float,
        metavar="D",
        help="difference to detect, in the score's unit: 1 of BLEU's 100, 0.01 of an F1"
        " (default: the one between A and B)",
    )
    parser.add_argument(
        "--correlation",
        type=float,
        default=0.0,
        metavar="R",
        help="assumed correlation of A's scores with those of the unknown model (default: 0)",
    )
    add_json(parser)
    add_words(parser, "A [B]", "one model or two, and settings (see below)")


def run(arguments: argparse.Namespace) -> int:
    from reportcard.analysis.paired_comparison import check_label, run_folders, runs_of
    from reportcard.analysis.sample_size import check_difference, plan_one, plan_pair
    from reportcard.cli.tables_compare import power_table
    from reportcard.score.scorer import open_metrics

    names, overrides = split_words(arguments.words)
    at_most(names, 2, "power", "one model or two")
    difference: float | None = arguments.difference
    if not names:
        raise ReportCardError("power takes two models, or one model and --difference.")
    if len(names) == 1 and difference is None:
        raise ReportCardError("With one model, say how large a difference: --difference 0.01")
    if difference is not None and not 0 < abs(difference) < float("inf"):
        raise ReportCardError(f"--difference must be a number other than 0, not {difference}.")
    config, cohorts = load_config_and_cohorts(overrides)
    check_scored(config.results_dir)
    scorers = open_metrics(config.metrics, config.annotators)
    protocol, where = config.protocol.name, config.results_dir
    if difference is not None:
        check_difference(scorers, arguments.metric, difference)
    written = []
    if len(names) == 2:
        pairs = runs_of(where, (names[0], names[1]), protocol, cohorts)
        plans = [(c, plan_pair(p, scorers, arguments.metric, difference)) for c, p in pairs]
    else:
        assert difference is not None
        folders = run_folders(where, protocol, cohorts)
        check_label(names[0], sorted({n for _, n in folders}), f"{where} under protocol {protocol}")
        plans = [
            (c, plan_one(f, scorers, arguments.metric, difference, arguments.correlation))
            for (c, label), f in folders.items()
            if label == names[0]
        ]
    for cohort, found in plans:
        written.append({"cohort": cohort, "keys": [plan.to_json() for plan in found]})
        if not to_stdout(arguments.json):
            power_table(f"{' − '.join(names)} on {cohort}", found)
    write_result(arguments.json, {"rows": names, "protocol": protocol, "cohorts": written})
    return 0
