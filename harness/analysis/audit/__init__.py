"""Audits: which errors that we made on purpose does a judge, or each metric, see?

edited_pairs.py   builds pairs with known errors from the invented reports of reports.yaml
judge_audit.py    runs `reportcard audit judge`: recall, false alarms, test–retest, tau-b
metrics.py        runs `reportcard audit metrics`: which edits each metric sees, misses or prefers
audit_results.py  the results of both as typed values
audit_tables.py   turns results into tables for the terminal and markdown
plot.py           draws the metrics audit as a heatmap
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reportcard.api import Custody, DatasetCard, ReportCardError

if TYPE_CHECKING:
    from reportcard.analysis.audit.audit_results import MetricsAudit


def run_audit(
    what: str,
    *,
    metrics: Sequence[str],
    overrides: Sequence[str],
    repeats: int,
    out: Path | None,
) -> int:
    """Run one audit, print its tables and return the exit code.

    Raises ReportCardError when a judge is audited that cannot be asked.

    Args:
        what: "judge" or "metrics".
        metrics: names; empty means chexprompt for a judge, and every metric for metrics.
        overrides: `judge=…`, `judge.…`, `annotator.…`, `weights.…`, `plugin=FILE.py`.
        repeats: how often the judge is asked each question.
        out: folder for audit-WHAT.md, .json and .png; None writes nothing.
    """
    from reportcard.analysis.audit.audit_tables import judge_tables, markdown, metrics_tables, show
    from reportcard.analysis.audit.judge_audit import audit_judges
    from reportcard.analysis.audit.metrics import audit_metrics
    from reportcard.core.files import write_atomic, write_json

    if repeats < 1:
        raise ReportCardError(f"--repeats must be 1 or more, not {repeats}.")
    options = _options_of_annotators(overrides)
    if what == "judge":
        judged = audit_judges(metrics or ["chexprompt"], options, repeats, _custody())
        (tables, notes), written = judge_tables(judged), judged.to_json()
    else:
        audited = audit_metrics(metrics or _every_metric(), options, _custody())
        (tables, notes), written = metrics_tables(audited), audited.to_json()
    show(tables, notes)
    if out is not None:
        write_atomic(out / f"audit-{what}.md", markdown(tables, notes))
        write_json(out / f"audit-{what}.json", written)
        if what == "metrics":
            _plot(audited, out / "audit-metrics.png")
        print(f"  {out}/audit-{what}.*")
    return 0


def _custody() -> Custody:
    """Return the custody of our own invented text: it is open, so any judge may read it."""
    from reportcard.core.progress import track
    from reportcard.llm.custody import custody_of

    card = DatasetCard("the audit's invented reports", "open")
    return custody_of(card, track, lambda text: print(text, flush=True))


def _options_of_annotators(overrides: Sequence[str]) -> list[str]:
    """Register `plugin=FILE.py` and return the other overrides."""
    from reportcard.config.compose import is_of_annotators
    from reportcard.core import registry

    left = []
    for override in overrides:
        if override.startswith("plugin="):
            registry.offer(override.removeprefix("plugin="))
        elif is_of_annotators(override):
            left.append(override)
        else:
            raise ReportCardError(
                f"audit takes judge=…, judge.…, annotator.…, weights.… and plugin=…, not"
                f" {override}; see: reportcard audit --help"
            )
    return left


def _every_metric() -> list[str]:
    from reportcard.config.catalogue import entries

    return [name for name, _ in entries("metrics")]


def _plot(result: MetricsAudit, path: Path) -> None:
    try:
        from reportcard.analysis.audit.plot import heatmap
    except ImportError:
        print("  no plot, because matplotlib is missing: pip install 'cxr-reportcard[plot]'")
        return
    heatmap(result, path)
