"""The verbs of the whole path: predict, score, publish, fetch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reportcard.cli.commands.output import config_of, say

if TYPE_CHECKING:
    from reportcard.api import Json
    from reportcard.config.settings import RunConfig
    from reportcard.data.cohort import Cohort


def run(arguments: argparse.Namespace) -> int:
    return _stages(arguments, "predict", "score", fetch=arguments.fetch, publish=True)


def predict(arguments: argparse.Namespace) -> int:
    return _stages(arguments, "predict")


def score(arguments: argparse.Namespace) -> int:
    return _stages(arguments, "score")


def _stages(
    arguments: argparse.Namespace, *stages: str, fetch: bool = False, publish: bool = False
) -> int:
    from reportcard.pipeline import run

    config = config_of(arguments)
    outcome = run(config, frozenset(stages), fetch, say)
    if publish and any(systems for _, systems in outcome.scored):
        loaded = [cohort for cohort, _ in outcome.scored]
        model, files = _publish(config, False, loaded)
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


def _publish(
    config: RunConfig, everything: bool, cohorts: Sequence[Cohort] | None = None
) -> tuple[Json, list[Path]]:
    """Write the leaderboard's files and show its tables. Returns what was shown and the paths.

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
    tracked = cohorts is not None and config.tracking.enabled and _installed("mlflow")
    files = write_model(model, config.results_dir, viewers, tracked)
    render(model, console())
    return model, files


def _installed(package: str) -> bool:
    """Whether it could be imported; it is not."""
    from importlib.util import find_spec

    return find_spec(package) is not None


def leaderboard(arguments: argparse.Namespace) -> int:
    from reportcard.cli.commands.compare import release, take_names

    named = take_names(arguments, 2, "nothing, export DIR or verify DIR")
    if named:
        if len(named) != 2 or named[0] not in ("export", "verify"):
            from reportcard.api import ReportCardError

            raise ReportCardError(
                f"leaderboard takes export DIR or verify DIR, not {' '.join(named)}."
            )
        return release(arguments, named[0], Path(named[1]))
    from reportcard.core.console import console
    from reportcard.publish.page.terminal_board import render_published

    model, files = _publish(config_of(arguments), arguments.all)
    render_published(model, console())
    for path in files:
        say(f"  {path}")
    return 0


def fetch(arguments: argparse.Namespace) -> int:
    from reportcard.data.cohort import open_dataset

    words = [word for word in arguments.overrides if "=" not in word]
    arguments.overrides = [word for word in arguments.overrides if "=" in word]
    if arguments.what == "weights":
        from reportcard.core.weights import fetch_weights, weights_dir

        fetch_weights(words, weights_dir(), say)
        return 0
    if words:
        from reportcard.api import ReportCardError

        raise ReportCardError(f"fetch openi takes key=value only, not {' '.join(words)}.")
    config = config_of(arguments)
    datasets = [open_dataset(plugin) for plugin in config.datasets if plugin.plugin == "openi"]
    datasets[0].fetch(say)  # type: ignore[attr-defined]
    return 0
