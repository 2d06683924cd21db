"""RadCliQ-v0 and v1 are averaged over reports as raw values; lower is better.

    v0 = 5.5162 − 1.5890 rg − 3.0098 bs − 1.8734 semb + 0.7139 bleu2
    v1 = 2.4501 − 1.2452 rg − 1.6508 bs − 0.9948 semb + 1.4e-11 bleu2

    rg      RadGraph F1, family 2: mean of entity and relation F1 (original RadGraph model)
    bs      BERTScore F, distilroberta-base layer 5, rescaled, without IDF
    semb    cosine of the CheXbert [CLS] vectors
    bleu2   fast_bleu BLEU-2 of the pair

v0 estimates the number of errors in a report (its intercept at average features is ReXVal's mean
total error count); v1 was fitted to a standardised target, so 0 is an average ReXVal pair. Both may
be negative. Identical reports give v0 −0.2421 and v1 −1.4407 where every feature is 1.

An empty candidate has rg 0, bleu2 0, the bs of a raw F of 0 (−5.55, as in bertscore.f1 and in the
bert-score package), and the cosine of the embedding that CheXbert gives an empty text.

RadCliQ always uses a BERTScore without IDF: an IDF of one reference would turn the v1 of an
identical pair into 9.37 (metrics/annotators/_idf.py), so it cannot be chosen here.

>>> [round(float(v), 6) for v in radcliq(np.ones(4)).values()]
[-0.242133, -1.44069]
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from reportcard.api import Array, Json, Key, MetricSpec, Pair, unpack_floats
from reportcard.metrics.bertscore import BASELINES, raw_f, rescale
from reportcard.metrics.bleu import Bleu

RADGRAPH, BERTSCORE, CHEXBERT = "radgraph", "bertscore_distilroberta", "chexbert"
FEATURES = ("rg", "bs", "semb", "bleu2")

RadGraphF1 = Callable[[Json, Json], float]


@cache
def constants() -> dict[str, Any]:
    """Return the published models as linear forms of the raw features, in double precision."""
    path = Path(__file__).with_name("data") / "radcliq.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def radcliq(features: Array) -> dict[str, Array]:
    """Return v0 and v1 of features (..., 4) in the order rg, bs, semb, bleu2."""
    return {
        name: form["intercept"] + np.asarray(features) @ np.array(form["weights"])
        for name, form in constants()["forms"].items()
    }


def cosine(a: Array, b: Array) -> float:
    """Return the cosine; 0 where a vector is 0 (there the reference tool divides by zero)."""
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm > 0 else 0.0


def family_2(candidate: Json, reference: Json) -> float:
    """Return the mean of entity F1 and relation F1 of two graphs of the radgraph annotator."""
    from reportcard.metrics.f1_radgraph import KEYS, graph_f1

    return graph_f1(candidate, reference)[KEYS.index("entity_relation_f1")]


class RadCliQ:
    """RadCliQ has the rows [v0, v1, rg, bs, semb, bleu2, 1].

    Args:
        radgraph_f1: (candidate graph, reference graph) → family-2 F1; None takes that of
            metrics/f1_radgraph.py.
    """

    def __init__(self, radgraph_f1: RadGraphF1 | None = None) -> None:
        self._radgraph_f1 = radgraph_f1 or family_2
        self._bleu = Bleu(variant="radcliq")
        lower = Key(direction="lower", low=None, high=None, unit="score")
        self.spec = MetricSpec(
            version="1",
            keys={
                "v0": lower,
                "v1": lower,
                "rg": Key(),
                "bs": Key(low=None),
                "semb": Key(low=-1.0),
                "bleu2": Key(),
            },
            signature="CXR-Report-Metric|raw|rg:family2|bs:distilroberta-base_L5_no-idf_rescaled"
            "|semb:chexbert_cls|bleu2:fast_bleu",
            annotators=(RADGRAPH, BERTSCORE, CHEXBERT),
            headline=("v1", "v0"),
            group="clinical",
        )

    def rows(self, pairs: Sequence[Pair]) -> Array:
        features = np.column_stack(
            [
                [self._rg(pair) for pair in pairs],
                rescale(raw_f(pairs, BERTSCORE), BASELINES[BERTSCORE]),
                [self._semb(pair) for pair in pairs],
                self._bleu.rows(pairs)[:, 0],
            ]
        ).reshape(-1, len(FEATURES))
        values = radcliq(features)
        rows = np.column_stack([values["v0"], values["v1"], features, np.ones(len(pairs))])
        # A report with a missing feature is unscored.
        rows[np.isnan(rows).any(axis=1)] = np.nan
        return rows

    def scores(self, total: Array) -> dict[str, Array]:
        n = total[..., -1]
        return {
            name: np.divide(total[..., i], n, out=np.full_like(n, np.nan), where=n > 0)
            for i, name in enumerate(self.spec.keys)
        }

    def _rg(self, pair: Pair) -> float:
        # The extractor would read the word "None" in an empty text, but an empty report has no
        # graph.
        if not pair.candidate.strip() or not pair.reference.strip():
            return 0.0
        candidate, reference = pair.notes[RADGRAPH]
        if candidate is None or reference is None:
            return np.nan
        return self._radgraph_f1(candidate, reference)

    def _semb(self, pair: Pair) -> float:
        """CheXbert embeds an empty text too, as [CLS][SEP]."""
        if any(note is None for note in pair.notes[CHEXBERT]):
            return np.nan
        candidate, reference = (
            unpack_floats(note["cls"]).astype(np.float64)
            for note in pair.notes[CHEXBERT]
            if note is not None
        )
        return cosine(candidate, reference)
