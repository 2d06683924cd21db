"""Score a file of your own candidate and reference reports.

The file is JSONL, CSV or JSON with study_id, candidate, reference and optionally patient_id; for
grounded reports: prediction and target, lists of {text, boxes}.

Examples:
  reportcard evaluate pairs.csv --metrics bleu,rouge
  reportcard evaluate pairs.jsonl --metrics chexprompt --judge local --data-class open
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reportcard.cli.arguments import add_data_class, add_json, add_overrides, comma_list
from reportcard.cli.output import say_aside, to_stdout, write_result

GROUP = "Metrics and judges"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pairs", type=Path, help="file of reports, see above")
    parser.add_argument(
        "--metrics", help="comma list (default: the protocol's columns, else bleu,rouge)"
    )
    parser.add_argument(
        "--protocol",
        default="reportcard",
        help="how texts are prepared, see: reportcard list protocols (default: reportcard)",
    )
    parser.add_argument(
        "--resamples",
        type=int,
        default=500,
        metavar="N",
        help="bootstrap replicates for the 95 %% intervals (default: 500)",
    )
    parser.add_argument(
        "--seed", type=int, help="seed of the bootstrap (default: the protocol's, else 0)"
    )
    parser.add_argument(
        "--train",
        type=Path,
        metavar="FILE",
        help="train reports, where a protocol's vocabulary is made of them",
    )
    add_json(parser)
    judged = parser.add_argument_group("metrics with a judge (chexprompt, radfact)")
    judged.add_argument("--judge", metavar="NAME", help="local, openai, azure, recorded, …")
    judged.add_argument(
        "--verdicts", type=Path, metavar="FILE", help="verdicts that `--judge recorded` reads"
    )
    judged.add_argument(
        "--record", type=Path, metavar="FILE", help="write the verdicts that were used (JSONL)"
    )
    add_data_class(judged, "reports")
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    from reportcard.core.progress import track
    from reportcard.score.evaluation import evaluate

    result = evaluate(
        arguments.pairs,
        metrics=comma_list(arguments.metrics),
        protocol=arguments.protocol,
        resamples=arguments.resamples,
        seed=arguments.seed,
        train=arguments.train,
        overrides=[*_judge_overrides(arguments), *arguments.overrides],
        progress=track,
        data_class=arguments.data_class,
        dua_id=arguments.dua,
        say=say_aside,
    )
    write_result(arguments.json, result)
    if to_stdout(arguments.json):
        return 0
    from reportcard.cli.tables import scores_table

    scores_table(result)
    return 0


def _judge_overrides(arguments: argparse.Namespace) -> list[str]:
    """Translate --judge, --verdicts and --record. Verdicts alone mean the recorded judge."""
    from reportcard.config.compose import quoted

    judge = arguments.judge or ("recorded" if arguments.verdicts else None)
    given = {"judge.verdicts": arguments.verdicts, "judge.record": arguments.record}
    # Quoted, since a file may be called 2026 or null.
    paths = [f"{key}={quoted(str(path))}" for key, path in given.items() if path is not None]
    return [f"judge={judge}", *paths] if judge else paths
