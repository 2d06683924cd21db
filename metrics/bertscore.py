"""BERTScore F1 is averaged over reports, rescaled with a baseline and raw; higher is better.

    f1 = (F − b) / (1 − b)         f1_raw = F

F comes from the annotator (metrics/annotators/bertscore.py). b is the mean F of unrelated sentence
pairs in the same model and layer, so f1 is near 0 for unrelated texts and may be negative. An empty
text has F = 0, as in the reference implementation, so f1 = −b / (1 − b).

>>> from reportcard.api import Pair
>>> pair = Pair("s", "Clear.", "Clear.", {"bertscore_distilroberta": ({"f": 0.8473319}, None)})
>>> float(BertScore().scores(BertScore().rows([pair])[0])["f1"])
0.0
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reportcard.api import Array, Key, MetricSpec, Pair, ReportCardError

# bert-score 0.3.13 rescale_baseline/en/<model>.tsv, column F, row LAYER 5; the files have all
# the digits of a float32.
BASELINES = {
    "bertscore_distilroberta": 0.8473319,  # distilroberta-base.tsv: RadCliQ, ReXrank
    "bertscore_distilbert": 0.66620487,  # distilbert-base-uncased.tsv: RadEval, vilmedic
}


def rescale(raw: Array, baseline: float) -> Array:
    """Rescale raw F linearly, so that 1 stays 1 and the baseline becomes 0."""
    return (raw - baseline) / (1 - baseline)


def raw_f(pairs: Sequence[Pair], annotator: str) -> Array:
    """Return F per pair, shape (n,); NaN where the annotator has no note."""
    notes = (pair.notes[annotator][0] for pair in pairs)
    return np.fromiter((np.nan if n is None else n["f"] for n in notes), np.float64, len(pairs))


class BertScore:
    """BERTScore has the rows [rescaled F, raw F, 1].

    Args:
        annotator: the id of the annotator, which names model, layer and IDF corpus.
        baseline: b; None takes the published one of that annotator.
    """

    def __init__(
        self, annotator: str = "bertscore_distilroberta", baseline: float | None = None
    ) -> None:
        if baseline is None:
            # Another layer or IDF has another baseline, which the user must give.
            if annotator not in BASELINES:
                raise ReportCardError(
                    f"BERTScore knows no baseline of '{annotator}'; give baseline=…"
                )
            baseline = BASELINES[annotator]
        if not 0 <= baseline < 1:
            raise ReportCardError(f"A BERTScore baseline lies in [0, 1), not at {baseline}.")
        self.annotator, self.baseline = annotator, baseline
        self.spec = MetricSpec(
            version="1",
            keys={"f1": Key(low=None), "f1_raw": Key(low=-1.0)},
            signature=f"bert_score|{annotator}|idf:{_idf(annotator)}|baseline:{baseline}",
            annotators=(annotator,),
            headline=("f1",),
            group="lexical",
        )

    def rows(self, pairs: Sequence[Pair]) -> Array:
        raw = raw_f(pairs, self.annotator)
        ones = np.where(np.isnan(raw), np.nan, 1.0)
        return np.column_stack([rescale(raw, self.baseline), raw, ones])

    def scores(self, total: Array) -> dict[str, Array]:
        n = total[..., 2]
        return {
            name: np.divide(total[..., i], n, out=np.full_like(n, np.nan), where=n > 0)
            for i, name in enumerate(self.spec.keys)
        }


def _idf(annotator: str) -> str:
    return annotator.partition("_idf_")[2] or "no"
