"""Metrics: each turns pairs of texts into additive rows, and summed rows into scores.

A metric of your own may extend one of the modules here, or the base class of label agreement:

    from reportcard.metrics import LabelF1

    class MyF1(LabelF1): ...
"""

from reportcard.metrics._label_f1 import LabelF1 as LabelF1
