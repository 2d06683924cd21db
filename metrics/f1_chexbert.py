"""F1-CheXbert is the agreement of CheXbert's labels for candidate and reference.

metrics/_label_f1.py has the formulas, the averages and the two policies for "uncertain"; the labels
are those of the `chexbert` annotator.

    uncertain=neg   LLaVA-Rad's unsuffixed columns, MAIRA-2
    uncertain=pos   f1chexbert 0.0.2, RadEval, LLaVA-Rad's "+" columns

The two are different numbers and must not be shown in one column.
"""

from __future__ import annotations

from reportcard.metrics._label_f1 import LabelF1


class F1CheXbert(LabelF1):
    """F1-CheXbert is computed under one policy for "uncertain". Higher is better; 0 to 1.

    >>> from reportcard.api import Pair
    >>> sick, well = {"labels": [0, 1] + [0] * 12}, {"labels": [0] * 13 + [1]}
    >>> metric = F1CheXbert()
    >>> rows = metric.rows([Pair("1", "", "", {"chexbert": (sick, sick)}),
    ...                     Pair("2", "", "", {"chexbert": (well, sick)})])
    >>> round(float(metric.scores(rows.sum(axis=0))["micro_f1_14"]), 3)
    0.5
    """

    def __init__(self, uncertain: str = "neg") -> None:
        super().__init__("chexbert", uncertain)
