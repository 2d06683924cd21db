"""Measure what a first place says: how often the system that is first is the population's best.

    python -m benchmarks.first_place [--root data/openi] [--cohorts 200]

The population is that of `benchmarks.coverage`; the systems are six retrievals that give ever more
distant reports. Cohorts of 590 studies are drawn with replacement. Two claims are counted: "first
in at least 95 % of the resamples" (`share_first`), and "alone on rank 1" (told apart from every
other system by the verdicts of the board).
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.coverage import population, rows_of
from reportcard.api import Array
from reportcard.config.settings import Plugin
from reportcard.publish.board.ranks import joint_scores, rank_intervals, shares_first
from reportcard.score.scorer import Scorer, open_metrics, scores_of_sample
from reportcard.score.stats.family import family_tests
from reportcard.score.stats.resampling import Resampler

PLACES = (15, 18, 46, 100, 200, 500)
KEYS = {
    "bleu": ("bleu_4",),
    "f1_chexpert_rules": ("macro_f1_supported_14", "macro_f1_5", "micro_f1_14"),
}
STUDIES, RESAMPLES, TRIALS = 590, 300, 300


def claims(scorer: Scorer, rows: dict[str, Array], key: str, seed: int) -> list[str | None]:
    """Return whom each of the two claims names the best on one cohort; None: nobody."""
    first = next(iter(rows.values()))
    drawn = np.random.default_rng([seed, 1]).integers(0, len(first), STUDIES)
    sample = {name: matrix[drawn][None] for name, matrix in rows.items()}
    scores = scores_of_sample(scorer.metric, sample[next(iter(sample))])
    resampler = Resampler(STUDIES, RESAMPLES, seed)
    joint, _ = joint_scores(sample, scores, key, resampler)
    shares = dict(zip(sample, shares_first(joint), strict=True))
    tests = family_tests(sample, (), scores, [key], resampler, TRIALS)[key]
    ranks = rank_intervals(list(sample), tests)
    return [
        next((name for name, share in shares.items() if share >= 0.95), None),
        next((name for name, rank in ranks.items() if rank.high == 1), None),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", default="data/openi", help="folder of the Open-I reports")
    parser.add_argument("--cohorts", type=int, default=200, help="cohorts drawn per score")
    args = parser.parse_args()

    start = time.perf_counter()
    texts = {f"place {place + 1}": population(args.root, place) for place in PLACES}
    print(f"{len(texts)} systems, {args.cohorts} cohorts of {STUDIES} studies")
    print("\n| score | claim | made in | right | wrong in |\n|---|---|---:|---:|---:|")
    for scorer in open_metrics([Plugin(name, name) for name in KEYS]):
        rows = {name: rows_of(scorer, pairs) for name, pairs in texts.items()}
        truth = scores_of_sample(scorer.metric, next(iter(rows.values()))[None])
        for key in KEYS[scorer.label]:
            values = {name: float(truth(m.sum(axis=0)[None])[key][0]) for name, m in rows.items()}
            best = max(values, key=lambda name: values[name])
            made = [claims(scorer, rows, key, seed) for seed in range(args.cohorts)]
            for i, claim in enumerate(("first in ≥ 95 % of resamples", "alone on rank 1")):
                named = [each[i] for each in made if each[i] is not None]
                right = f"{100 * named.count(best) / len(named):.0f} %" if named else "–"
                share = f"{100 * len(named) / len(made):.0f} %"
                wrong = f"{100 * (len(named) - named.count(best)) / len(made):.1f} %"
                line = (f"{scorer.label}.{key}", claim, share, right, wrong)
                print(f"| {' | '.join(line)} |", flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
