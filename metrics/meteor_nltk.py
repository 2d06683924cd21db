"""METEOR of NLTK and Hugging Face `evaluate` is averaged over reports; 0-1, higher is better.

It is always called `meteor_nltk`, because METEOR of meteor-1.5.jar (pycocoevalcap, R2Gen) is
another quantity. metrics/annotators/meteor_nltk.py computes the value of a pair; an empty text
scores 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reportcard.api import Array, Key, MetricSpec, Pair

ANNOTATOR = "meteor_nltk"


class MeteorNltk:
    """METEOR has the rows [METEOR, 1]."""

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
