"""Groups of metrics, by what they read: words, findings, a judge's verdicts, boxes."""

from __future__ import annotations

from reportcard.api import Json

GROUPS = ("clinical", "judged", "grounding", "lexical")
CLINICAL = ("f1_chex", "f1_radgraph", "radcliq")  # how names of clinical metrics begin


def group_of(saved: Json) -> str:
    """The group of a score file."""
    if saved.get("boxes"):
        return "grounding"
    # A judged annotator's version names its judge.
    if any("judge:" in str(version) for _, version in saved.get("read_by") or ()):
        return "judged"
    return "clinical" if str(saved["metric"]).startswith(CLINICAL) else "lexical"
