"""F1-CheXpert-rules is the agreement of labels that our rules labeler finds without weights.

It is not F1-CheXbert: the labels come from phrase rules (metrics/annotators/chexpert_rules.py), so
the numbers cannot be compared with papers. Averages and keys are those of metrics/_label_f1.py.
docs/metrics/chexpert_rules.md says how well the labels agree with human tags.
"""

from __future__ import annotations

from reportcard.metrics._label_f1 import LabelF1


class F1CheXpertRules(LabelF1):
    """F1 = 2 tp / (2 tp + fp + fn) is computed over the rules labeler's 14 labels.

    >>> from reportcard.api import Pair
    >>> note = {"labels": [0, 1] + [0] * 12}
    >>> metric = F1CheXpertRules()
    >>> pairs = [Pair("a", "", "", {"chexpert_rules": (note, note)})]
    >>> float(metric.scores(metric.rows(pairs).sum(0))["cardiomegaly.f1"])
    1.0
    """

    def __init__(self, uncertain: str = "neg") -> None:
        super().__init__("chexpert_rules", uncertain)
