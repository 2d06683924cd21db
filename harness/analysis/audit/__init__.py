"""Audits: what a judge, or each metric, sees of errors that we made on purpose.

pairs.py    invented reports and their edits → pairs with known error types and counts
judge.py    `reportcard audit judge`: recall, false alarms, test–retest, tau-b
metrics.py  `reportcard audit metrics`: which edits each metric sees, misses or prefers
tables.py, plot.py  the results as tables (terminal, markdown) and as a heatmap
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reportcard.api import Custody, DatasetCard, Json, ReportCardError


def run_audit(
    what: str,
    *,
    metrics: Sequence[str],
    overrides: Sequence[str],
    repeats: int,
    out: Path | None,
) -> int:
    """Run one audit, print its tables and return the exit code.

    what: "judge" or "metrics". metrics: names; none: chexprompt, or every metric there is.
    overrides: `judge=…`, `judge.…`, `annotator.…`, `weights.…`, `plugin=FILE.py`.
    repeats: how often the judge is asked. out: folder for audit-WHAT.md, .json and .png.
    Raises ReportCardError when a judge is audited that cannot be asked.
    """
    from reportcard.analysis.audit.audit_tables import judge_tables, markdown, metrics_tables, show
    from reportcard.analysis.audit.judge_audit import audit_judges
    from reportcard.analysis.audit.metrics import audit_metrics
    from reportcard.core.files import write_atomic, write_json

    if repeats < 1:
        raise ReportCardError(f"--repeats {repeats}: a judge is asked at least once.")
    options = _options_of_annotators(overrides)
    if what == "judge":
        result = audit_judges(metrics or ["chexprompt"], options, repeats, _custody())
        tables, notes = judge_tables(result)
    else:
        result = audit_metrics(metrics or _every_metric(), options, _custody())
        tables, notes = metrics_tables(result)
    show(tables, notes)
    if out is not None:
        write_atomic(out / f"audit-{what}.md", markdown(tables, notes))
        write_json(out / f"audit-{what}.json", result)
        if what == "metrics":
            _plot(result, out / "audit-metrics.png")
        print(f"  {out}/audit-{what}.*")
    return 0


def _custody() -> Custody:
    """Our own sentences: open text, which may go to any judge."""
    from reportcard.core.progress import track
    from reportcard.llm.custody import custody_of

    card = DatasetCard("the audit's invented reports", "open")
    return custody_of(card, track, lambda text: print(text, flush=True))


def _options_of_annotators(overrides: Sequence[str]) -> list[str]:
    """The overrides without `plugin=FILE.py`, which is registered here."""
    from reportcard.config.overrides import is_of_annotators
    from reportcard.core import registry

    left = []
    for override in overrides:
        if override.startswith("plugin="):
            registry.add_plugin_file(Path(override.removeprefix("plugin=")))
        elif is_of_annotators(override):
            left.append(override)
        else:
            raise ReportCardError(
                f"audit takes judge=…, judge.…, annotator.…, weights.… and plugin=…, not"
                f" {override}; see reportcard audit --help."
            )
    return left


def _every_metric() -> list[str]:
    from reportcard.config.catalogue import entries

    return [name for name, _ in entries("metrics")]


def _plot(result: Json, path: Path) -> None:
    try:
        from reportcard.analysis.audit.plot import heatmap
    except ImportError:
        print("  no plot: matplotlib is missing. Install it: pip install 'cxr-reportcard[plot]'")
        return
    heatmap(result, path)
