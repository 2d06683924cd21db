"""Holds what the LLaVA-Rad paper prints for ReXVal (arXiv 2403.08002, Figure 4a/b and its text).

The figures are shown beside ours and no test asserts them: the paper gives most of them only as
bars in a figure, and it used other versions of the metrics and another judge.
"""

from __future__ import annotations

BOUND = "≤ 0.57"  # the text gives one bound for three metrics and names no target
TAU: dict[str, dict[str, str]] = {
    "chexprompt.mean_total": {"total": "> 0.75 (GPT-4T)"},
    "chexprompt.mean_significant": {"significant": "> 0.70 (GPT-4T)"},
    "chexprompt_official.mean_total": {"total": "> 0.75 (GPT-4T)"},
    "chexprompt_official.mean_significant": {"significant": "> 0.70 (GPT-4T)"},
    "rouge.rouge_l": {"total": BOUND, "significant": BOUND},
    "f1_radgraph.rg_er": {"total": BOUND, "significant": BOUND},
    "radcliq.v0": {"total": BOUND, "significant": BOUND},
    "radcliq.v1": {"total": BOUND, "significant": BOUND},
}
RATER_MAD = {"total": 0.71}  # mean over raters

IN_SAMPLE = {
    "radcliq.v0": "in-sample: RadCliQ-v0 was fitted on all 200 pairs of ReXVal",
    "radcliq.v1": "mostly in-sample: RadCliQ-v1 was fitted on 160 of the 200 pairs of ReXVal",
}
