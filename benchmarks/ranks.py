"""Measure the ranks of 80 models over 4,000 studies and 1,000 resamples.

Target: at most 10 s of one core. The rows are those of a label metric: 61 columns and 75 keys, of
which one is ranked.
"""

from __future__ import annotations

import time

import numpy as np

from reportcard.metrics._label_f1 import counts, label_scores
from reportcard.publish.board.ranks import joint_scores, shares_first
from reportcard.score.stats.resampling import Resampler

MODELS, STUDIES, RESAMPLES = 80, 4000, 1000


def main() -> None:
    rng = np.random.default_rng(0)
    reference = rng.random((STUDIES, 14)) < 0.15
    rows = {}
    for model in range(MODELS):
        wrong = rng.random(reference.shape) < 0.02 + 0.002 * model
        rows[f"m{model}"] = counts(reference ^ wrong, reference)[None]
    began = time.process_time()
    resampler = Resampler(STUDIES, RESAMPLES, 0)
    scores, n = joint_scores(rows, label_scores, "macro_f1_14", resampler)
    scored = time.process_time()
    found = shares_first(scores)
    ended = time.process_time()
    print(f"{MODELS} models × {n:,} studies × {RESAMPLES:,} resamples")
    print(f"scores of all resamples {scored - began:.2f} s")
    print(f"shares of resamples     {ended - scored:.2f} s")
    print(f"together                {ended - began:.2f} s of CPU   (target 10)")
    print(f"best share              {max(found):.3f}")


if __name__ == "__main__":
    main()
