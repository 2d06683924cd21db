"""Runs `reportcard check model=NAME`: does an adapter keep the contract and use its image?

Everything runs on synthetic studies (data/sources/phantom.py), so it needs no data. A toy takes
seconds; a model with weights is asked for about 150 reports.

under_test.py   opens the adapter and draws the studies
answers.py      checks that answers are valid, and equal alone and in any batch
inputs.py       checks that no reference reaches the model, its prompt, and its card
robustness.py   checks one bad image and odd context
vision_use.py   measures whether the text follows the image
check_table.py  shows the result in the terminal
report_file.py  writes results/checks/<label>@<fp8>/check.json
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from reportcard.analysis.check import answers, inputs, robustness, vision_use
from reportcard.analysis.check.under_test import (
    Check,
    ModelUnderTest,
    open_model_under_test,
    phantom,
)
from reportcard.api import ReportCardError
from reportcard.config.settings import Plugin
from reportcard.predict.engines.failures import explain

if TYPE_CHECKING:
    from reportcard.config.settings import RunConfig

CHECKS: tuple[tuple[str, Callable[[ModelUnderTest], Check | None]], ...] = (
    ("valid answers", answers.valid),
    ("batches and order", answers.batches_and_order),
    ("no references", inputs.no_references),
    ("prompt", inputs.prompts),
    ("card", inputs.card),
    ("one bad image", robustness.one_bad_image),
    ("odd context", robustness.odd_context),
)


def check_models(config: RunConfig, studies: int, say: Callable[[str], None]) -> int:
    """Check each chosen model, print its table, write its check.json, and return the exit code."""
    from reportcard.analysis.check import report_file
    from reportcard.analysis.check.check_table import check_table

    if not 2 <= studies <= 1000:
        raise ReportCardError(f"--studies must be 2 to 1000, not {studies}.")
    failed = False
    cohort = phantom(studies)
    for plugin in config.models:
        try:
            model = open_model_under_test(plugin, cohort, studies, config.engine.batch_size)
        except Exception as error:  # an adapter is foreign code
            say(f"{plugin.label}: cannot be checked here: {explain(error, quote=True)}")
            failed = True
            continue
        checks, found = examine(model)
        check_table(model.system.folder, checks)
        say(f"  {report_file.write(config.results_dir, model.system, checks, found, studies)}")
        failed = failed or any(check.failed for check in checks)
    return 2 if failed else 0


def conformance(name: str, studies: int = 4, overrides: Sequence[str] = ()) -> list[Check]:
    """Run every check of one model on few studies, for the test of an adapter.

    Raises ReportCardError when the model cannot run here, for want of weights for example.

    Args:
        name: a file of conf/model, or the stem of a plugin file.
        studies: how many studies are drawn.
        overrides: further key=value settings.
    """
    from reportcard.config import compose as config

    plugin: Plugin = config.load([f"model={name}", *overrides]).models[0]
    cohort = phantom(studies)
    model = open_model_under_test(plugin, cohort, studies, batch_size=4)
    return examine(model)[0]


def examine(model: ModelUnderTest) -> tuple[list[Check], vision_use.ImageUse | None]:
    """Run every check, whatever the others found, and measure the use of the image."""
    found: list[Check] = []
    measured: vision_use.ImageUse | None = None
    try:
        for name, check in CHECKS:
            try:
                result = check(model)
            except Exception as error:
                result = _broken(name, error)
            found += [result] if result else []
        try:
            measured = vision_use.probe(model)
            found += vision_use.checks(model, measured)
        except Exception as error:
            found.append(_broken("vision use", error))
    finally:
        close = getattr(model.adapter, "close", None)
        if close is not None:
            close()
    return found, measured


def _broken(name: str, error: Exception) -> Check:
    return Check(name, "FAIL", explain(error, quote=True))


__all__ = ["Check", "check_models", "conformance", "examine"]
