"""Serve a local judge on 127.0.0.1 with an OpenAI-compatible API.

Example:
  reportcard judge --gguf Qwen2.5-7B-Instruct-Q4_K_M.gguf --threads 8
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reportcard.cli.output import say

GROUP = "Metrics and judges"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gguf",
        type=Path,
        metavar="FILE",
        help="model file (default: SmolLM2-135M-Instruct, which is downloaded)",
    )
    parser.add_argument("--port", type=int, default=8103, help="(default: 8103)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument(
        "--slots", type=int, default=2, help="questions answered at the same time (default: 2)"
    )
    parser.add_argument(
        "--context", type=int, default=4096, help="tokens per question (default: 4096)"
    )


def run(arguments: argparse.Namespace) -> int:
    from reportcard.llm.judge.local_server import serve

    return serve(
        arguments.gguf,
        port=arguments.port,
        threads=arguments.threads,
        slots=arguments.slots,
        context=arguments.context,
        say=say,
    )
