"""Runs stages of the pipeline for `run`, `predict` and `score`, and shows what came out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from reportcard.cli.output import say

if TYPE_CHECKING:
    from reportcard.api import Json
    from reportcard.config.settings import RunConfig
    from reportcard.data.cohort import Cohort


def run_stages(
    config: RunConfig, stages: Sequence[str], fetch: bool = False, publish: bool = False
) -> int:
    """Run the stages, publish when asked to, and return the exit code.

    Args:
        config: what to run.
        stages: "predict", "score" or both.
        fetch: download open data that is missing.
        publish: write the leaderboard and log to MLflow afterwards.
    """
    from reportcard.pipeline import run

    outcome = run(config, frozenset(stages), fetch, say)
    if publish and any(systems for _, systems in outcome.scored):
        loaded = [cohort for cohort, _ in outcome.scored]
        model, files = publish_board(config, False, loaded)
        from reportcard.publish.mlflow import log, tracking_uri
        from reportcard.publish.page.terminal_board import published_line

        logged = log(config, outcome.scored, files, say)
        if line := published_line(model, files[0]):
            say(f"  {line}")
        say("")
        for path in files:
            say(f"  {path}")
        if logged:
            say(f"  MLflow: {tracking_uri(config)} (make dashboard)")
    fresh = outcome.generated or outcome.scores_written or outcome.failures
    say("" if fresh else "  Everything was up to date; nothing was re-done.")
    for failure in outcome.failures:
        print(f"reportcard: not run: {failure}", file=sys.stderr)
    return 2 if outcome.failures else 0


def publish_board(
    config: RunConfig, everything: bool, cohorts: Sequence[Cohort] | None = None
) -> tuple[Json, list[Path]]:
    """Write the leaderboard's files, show its tables, and return the board and the paths.

    Args:
        config: where the results are.
        everything: show older fingerprints of a model too.
        cohorts: those that are loaded; None: the configured ones whose data is on this machine.
    """
    from reportcard.core.console import console
    from reportcard.publish.board.build import collect
    from reportcard.publish.page.terminal_board import render
    from reportcard.publish.page.viewer import load_cohorts, write_viewers
    from reportcard.publish.page.write import write_model

    model = collect(config.results_dir, everything)
    found = load_cohorts(config, model) if cohorts is None else cohorts
    viewers = write_viewers(
        model, [(cohort, config.protocol) for cohort in found], config.results_dir, config.text
    )
    tracked = cohorts is not None and config.tracking.enabled and find_spec("mlflow") is not None
    files = write_model(model, config.results_dir, viewers, tracked)
    render(model, console())
    return model, files
