"""ReportCard: benchmark harness for chest X-ray report generation.

>>> from reportcard import evaluate
>>> pairs = [{"study_id": "s1", "candidate": "No effusion.", "reference": "No effusion."}]
>>> round(evaluate(pairs, metrics=["rouge"])["metrics"]["rouge.rouge_l"]["value"], 6)
1.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reportcard.core.version import __version__ as __version__

if TYPE_CHECKING:
    from reportcard.score.evaluation import evaluate as evaluate

__all__ = ["evaluate"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `reportcard --help` does not pay for the metrics' imports.
    if name == "evaluate":
        from reportcard.score.evaluation import evaluate

        return evaluate
    raise AttributeError(f"module 'reportcard' has no attribute {name!r}")
