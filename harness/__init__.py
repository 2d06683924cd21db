"""ReportCard is a benchmark harness for chest X-ray report generation.

    data ──▶ predict ──▶ annotate ──▶ score ──▶ publish

>>> from reportcard import evaluate
>>> pairs = [{"study_id": "s1", "candidate": "No effusion.", "reference": "No effusion."}]
>>> round(evaluate(pairs, metrics=["rouge"])["metrics"]["rouge.rouge_l"]["value"], 6)
1.0

api        the contract with plugins
pipeline   runs the five stages over models and datasets
data       stage 1: files → an ordered cohort of studies
predict    stage 2: cohort and model → predictions.jsonl
annotate   stage 3: texts → cached notes of annotators
score      stage 4: pairs → rows → scores with confidence intervals
publish    stage 5: score files → leaderboard, MLflow, release
models     tools for writing model adapters
llm        asks language models, within the rules for sensitive text
analysis   comparison, power, audits and checks of finished results
config     command line and YAML → one frozen configuration
core       files, paths, plugins and images: tools below everything else
cli        the command line
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reportcard.core.version import __version__ as __version__

if TYPE_CHECKING:
    from reportcard.score.evaluation import evaluate as evaluate

__all__ = ["evaluate"]


def __getattr__(name: str) -> Any:
    # Imported on demand, so that `reportcard --help` does not import the metrics.
    if name == "evaluate":
        from reportcard.score.evaluation import evaluate

        return evaluate
    raise AttributeError(f"module 'reportcard' has no attribute {name!r}")
