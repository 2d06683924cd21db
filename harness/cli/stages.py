"""Runs stages of the pipeline for `run`, `predict` and `score`, and shows what came out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from reportcard.cli.output import say

if TYPE_CHECKING:
    from reportcard.config.settings import RunConfig


def run_stages(config: RunConfig, *stages: str, fetch: bool = False) -> int:
    """Run "predict", "score" and "publish", or some of them, and return the exit code.

    Args:
        config: what to run.
        stages: the names of the stages.
        fetch: download open data that is missing.
    """
    from reportcard.pipeline import run

    outcome = run(config, frozenset(stages), fetch, say)
    fresh = outcome.generated or outcome.scores_written or outcome.failures
    say("" if fresh else "  Everything was up to date; nothing was re-done.")
    for failure in outcome.failures:
        print(f"reportcard: not run: {failure}", file=sys.stderr)
    return 2 if outcome.failures else 0
