"""`reportcard check model=NAME`: does an adapter keep the contract, and does it look at its image?

Everything runs on the phantom (harness/datasets/phantom.py), so it needs no data: seconds for a
toy, about 150 reports for a model with weights.

    subject.py   the adapter, and drawn studies with pixels
    answers.py   the same alone and in any batch; valid
    access.py    no references, the prompt, the card
    trouble.py   one bad image, odd context
    vision.py    the vision-use probe
    saved.py     results/checks/<label>@<fp8>/check.json
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from reportcard.analysis.check import answers
from reportcard.analysis.check import inputs as access
from reportcard.analysis.check import robustness as trouble
from reportcard.analysis.check import vision_use as vision
from reportcard.analysis.check.under_test import Check, Subject, phantom, subject_of
from reportcard.api import ReportCardError
from reportcard.config.settings import Plugin
from reportcard.predict.engines.failures import explain

if TYPE_CHECKING:
    from reportcard.config.settings import RunConfig

CHECKS: tuple[tuple[str, Callable[[Subject], Check | None]], ...] = (
    ("valid answers", answers.valid),
    ("batches and order", answers.batches_and_order),
    ("no references", access.no_references),
    ("prompt", access.prompts),
    ("card", access.card),
    ("one bad image", trouble.one_bad_image),
    ("odd context", trouble.odd_context),
)


def check_models(config: RunConfig, studies: int, say: Callable[[str], None]) -> int:
    """Check each chosen model, print its table, write its check.json. Returns the exit code."""
    from reportcard.analysis.check import report_file as saved
    from reportcard.analysis.check.check_table import check_table

    if not 2 <= studies <= 1000:
        raise ReportCardError(f"--studies must be in 2…1000, not {studies}.")
    failed = False
    cohort = phantom(studies)
    for plugin in config.models:
        try:
            subject = subject_of(plugin, cohort, studies, config.engine.batch_size)
        except Exception as error:  # an adapter is somebody's code
            say(f"{plugin.label}: cannot be checked here: {explain(error, quote=True)}")
            failed = True
            continue
        checks, found = examine(subject)
        check_table(subject.system.folder, checks)
        say(f"  {saved.write(config.results_dir, subject.system, checks, found, studies)}")
        failed = failed or any(check.failed for check in checks)
    return 2 if failed else 0


def conformance(name: str, studies: int = 4, overrides: Sequence[str] = ()) -> list[Check]:
    """Every check of the model `name` (conf/model, or a plugin file's stem) on few studies: for the
    test of an adapter. Raises ReportCardError when it cannot run here (no weights)."""
    from reportcard.config import compose as config

    plugin: Plugin = config.load([f"model={name}", *overrides]).models[0]
    cohort = phantom(studies)
    subject = subject_of(plugin, cohort, studies, batch_size=4)
    return examine(subject)[0]


def examine(subject: Subject) -> tuple[list[Check], vision.Vision | None]:
    """Every check, whatever the others did; and what the vision-use probe measured."""
    found: list[Check] = []
    measured: vision.Vision | None = None
    try:
        for name, check in CHECKS:
            try:
                result = check(subject)
            except Exception as error:
                result = _broken(name, error)
            found += [result] if result else []
        try:
            measured = vision.probe(subject)
            found += vision.checks(subject, measured)
        except Exception as error:
            found.append(_broken("vision use", error))
    finally:
        close = getattr(subject.adapter, "close", None)
        if close is not None:
            close()
    return found, measured


def _broken(name: str, error: Exception) -> Check:
    return Check(name, "FAIL", explain(error, quote=True))


__all__ = ["Check", "check_models", "conformance", "examine"]
