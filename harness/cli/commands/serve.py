"""Open the leaderboard and study viewer in a browser (127.0.0.1).

Example:
  reportcard serve --port 8105
"""

from __future__ import annotations

import argparse

from reportcard.cli.arguments import add_overrides, load_config
from reportcard.cli.output import say

GROUP = "Look around"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=8104, help="(default: 8104)")
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    from reportcard.publish.page.http_server import serve

    return serve(load_config(arguments.overrides).results_dir, arguments.port, say)
