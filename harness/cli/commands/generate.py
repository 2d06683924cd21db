"""Run a model on your own images: requests in, predictions out.

The input is JSONL, one study per line; image paths are relative to the file:
  {"study_id": "s1", "images": [{"path": "s1.png", "view": "PA"}], "indication": "Cough."}
Optional keys: "technique", "comparison", "prior": {"images", "report"}, "age", "sex", "task",
"phrase". Studies that the output file already answers are skipped.

Example:
  reportcard generate requests.jsonl --out predictions.jsonl model=maira2
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reportcard.cli.arguments import (
    add_data_class,
    add_exact_buckets,
    add_overrides,
    load_config,
)
from reportcard.cli.output import say_aside

GROUP = "Work on one model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("requests", type=Path, help="JSONL file of studies, see above")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="predictions, JSONL; resumable"
    )
    parser.add_argument(
        "--token-ids", action="store_true", help="also write the ids of the generated tokens"
    )
    add_data_class(parser, "requests")
    add_exact_buckets(parser)
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    from reportcard.predict.generation import generate_file

    return generate_file(
        load_config(arguments.overrides, arguments.exact_buckets),
        arguments.requests,
        arguments.out,
        token_ids=arguments.token_ids,
        data_class=arguments.data_class,
        dua_id=arguments.dua,
        say=say_aside,
    )
