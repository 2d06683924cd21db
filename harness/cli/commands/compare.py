"""Compare models that were run, by paired randomisation tests.

A and B are labels of the leaderboard; differences are A minus B. p is shown as it is and after
Holm's correction over all pairs of the board, so that the verdict is the one on its page.

Examples:
  reportcard compare reference_oracle random_train_report --metric rouge
  reportcard compare --all dataset=openi_findings
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from reportcard.publish.board.boards import Board

GROUP = "Compare results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--all", action="store_true", help="compare every pair of models by one metric"
    )
    parser.add_argument("--metric", help="a metric or one of its scores: rouge, bleu.bleu_4")
    parser.add_argument(
        "--trials", type=int, default=2_000, metavar="N", help="randomisations (default: 2000)"
    )
    add_json(parser)
    add_words(parser, "A B", "two models, and settings (see below)")


def run(arguments: argparse.Namespace) -> int:
    from reportcard.analysis.paired_comparison import compare_runs, runs_of
    from reportcard.cli.tables_compare import comparison_table
    from reportcard.publish.board.build import boards_of
    from reportcard.score.scorer import open_metrics
    from reportcard.score.stats.family import FAMILY

    names, overrides = split_words(arguments.words)
    at_most(names, 2, "compare", "two models, or --all")
    if arguments.all:
        return _compare_all(arguments, names, overrides)
    if len(names) != 2:
        raise ReportCardError("compare takes two models, A and B, or --all.")
    config, cohorts = load_config_and_cohorts(overrides)
    check_scored(config.results_dir)
    labels, protocol = (names[0], names[1]), config.protocol.name
    scorers = open_metrics(config.metrics, config.annotators)
    boards = {b.cohort_folder: b for b in boards_of(config.results_dir) if b.protocol == protocol}
    written = []
    for cohort, pair in runs_of(config.results_dir, labels, protocol, cohorts):
        board = boards.get(pair[0].parents[1].name)
        found = compare_runs(pair, scorers, arguments.metric, arguments.trials, board)
        rows = [one.to_json() for one in found.keys]
        written.append({"cohort": cohort, "rows": rows, "left_out": dict(found.left_out)})
        if not to_stdout(arguments.json):
            comparison_table(cohort, labels, found)
    about = {"protocol": protocol, "trials": arguments.trials, "family": FAMILY}
    write_result(arguments.json, {"a": names[0], "b": names[1], **about, "cohorts": written})
    return 0


def _compare_all(
    arguments: argparse.Namespace, names: Sequence[str], overrides: Sequence[str]
) -> int:
    from reportcard.cli.tables_compare import pairs_table
    from reportcard.core.records import to_json
    from reportcard.publish.board.build import boards_of
    from reportcard.publish.board.pairwise_matrix import pairs_of_board

    if names:
        raise ReportCardError(f"--all compares every pair; leave out {' '.join(names)}.")
    config, cohorts = load_config_and_cohorts(overrides)
    check_scored(config.results_dir)
    written = []
    for board in boards_of(config.results_dir):
        if board.protocol != config.protocol.name:
            continue
        if cohorts and board.cohort.name not in cohorts:
            continue
        key = _key_of_board(board, arguments.metric)
        if key is None:
            continue
        found = pairs_of_board(config.results_dir, board, key, trials=arguments.trials)
        written.append({"board": board.id, **to_json(found)})
        if not to_stdout(arguments.json):
            labels = {entry.model: entry.label for entry in board.entries}
            pairs_table(f"{key} on {board.cohort_folder}", found, labels)
    if not written:
        raise ReportCardError(f"No column '{arguments.metric}' on these boards.")
    write_result(arguments.json, {"boards": written})
    return 0


def _key_of_board(board: Board, wanted: str | None) -> str | None:
    """Return the score of a board that --metric chooses.

    --metric names a score, or a metric, which means its main score. Without it, the board's primary
    score is chosen.
    """
    if wanted is None:
        return board.primary
    for column in board.columns:
        if column.key == wanted or (column.metric == wanted and column.lead):
            return column.key
    return None
