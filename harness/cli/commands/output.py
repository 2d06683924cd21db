"""What every verb shares: its configuration, and where its words go."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reportcard.config.settings import RunConfig


def say(text: str) -> None:
    print(text, flush=True)


def say_aside(text: str) -> None:
    """To stderr: stdout may be the JSON."""
    print(text, file=sys.stderr, flush=True)


def config_of(arguments: argparse.Namespace) -> RunConfig:
    from reportcard.config import compose as config

    exact = ["engine.exact_buckets=true"] if getattr(arguments, "exact_buckets", False) else []
    return config.load([*arguments.overrides, *exact])
