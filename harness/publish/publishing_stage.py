"""Stage 5: writes the leaderboard of the scores on disk, shows it, and logs the runs to MLflow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from reportcard.config.settings import RunConfig
from reportcard.core.console import console
from reportcard.data.cohort import Cohort
from reportcard.predict.system import System
from reportcard.publish.board.boards import Leaderboard
from reportcard.publish.board.build import collect
from reportcard.publish.mlflow import log, tracking_uri
from reportcard.publish.page.terminal_board import published_line, render
from reportcard.publish.page.viewer import load_cohorts, write_viewers
from reportcard.publish.page.write import write_leaderboard

Say = Callable[[str], None]


def publish(config: RunConfig, scored: Sequence[tuple[Cohort, list[System]]], say: Say) -> None:
    """Publish what an invocation scored: leaderboard files, terminal tables and MLflow runs."""
    board, files = publish_board(config, False, [cohort for cohort, _ in scored])
    logged = log(config, scored, files, say)
    if line := published_line(board, files[0]):
        say(f"  {line}")
    say("")
    for path in files:
        say(f"  {path}")
    if logged:
        say(f"  MLflow: {tracking_uri(config)} (make dashboard)")


def publish_board(
    config: RunConfig,
    everything: bool,
    cohorts: Sequence[Cohort] | None = None,
    skill: bool = False,
) -> tuple[Leaderboard, list[Path]]:
    """Write the leaderboard's files, show its tables, and return the board and the paths.

    Args:
        config: where the results are.
        everything: show older fingerprints of a model too.
        skill: show skill in the terminal instead of scores.
        cohorts: those that are loaded; None: the configured ones whose data is on this machine.
    """
    board = collect(config.results_dir, everything)
    found = load_cohorts(config, board) if cohorts is None else cohorts
    viewers = write_viewers(
        board, [(cohort, config.protocol) for cohort in found], config.results_dir, config.text
    )
    tracked = cohorts is not None and config.tracking.enabled and find_spec("mlflow") is not None
    files = write_leaderboard(board, config.results_dir, viewers, tracked)
    render(board, console(), skill)
    return board, files
