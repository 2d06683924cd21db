"""Open the MLflow runs in a browser, served on 127.0.0.1.

Example:
  reportcard dashboard --port 5001
"""

from __future__ import annotations

import argparse

from reportcard.cli.arguments import add_overrides, load_config
from reportcard.cli.output import say

GROUP = "Look around"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=5000, help="(default: 5000)")
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    from reportcard.publish.mlflow.server import serve

    return serve(load_config(arguments.overrides), arguments.port, say)
