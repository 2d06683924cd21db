"""METEOR of NLTK and Hugging Face `evaluate`, mean over reports; 0-1, higher is better.

Always under this name: METEOR of meteor-1.5.jar (pycocoevalcap, R2Gen) is another quantity. The
value of a pair comes from metrics/annotators/meteor_nltk.py; an empty text scores 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reportcard.api import Array, Key, MetricSpec, Pair

ANNOTATOR = "meteor_nltk"


class MeteorNltk:
    """METEOR. Rows are [METEOR, 1]."""

    def __init__(self) -> None:
        self.spec = MetricSpec(
            version="1",
            keys={"meteor_nltk": Key()},
            signature="nltk|tok:word_tokenize|wordnet|alpha:0.9|beta:3|gamma:0.5|mean",
            annotators=(ANNOTATOR,),
            group="lexical",
        )

    def rows(self, pairs: Sequence[Pair]) -> Array:
        notes = [pair.notes[ANNOTATOR][0] for pair in pairs]
        values = [(np.nan, np.nan) if n is None else (n["meteor"], 1.0) for n in notes]
        return np.array(values, np.float64).reshape(-1, 2)

    def scores(self, total: Array) -> dict[str, Array]:
        n = total[..., 1]
        mean = np.divide(total[..., 0], n, out=np.full_like(n, np.nan), where=n > 0)
        return {"meteor_nltk": mean}
