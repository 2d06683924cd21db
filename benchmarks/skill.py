"""Measure whether intervals of skill hold what they promise.

    python -m benchmarks.skill [--root data/openi] [--samples 100]

The population is that of `benchmarks.coverage`. The system answers with the 16th nearest report,
the floor with the most frequent report, and the ceiling with the reference itself. Cohorts are
drawn from the population, and the interval of the system's skill is compared with the skill in the
population.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from benchmarks.coverage import METRICS, cohorts, population, rows_of
from reportcard.config.settings import Plugin
from reportcard.publish.board.comparison import PreparedComparison
from reportcard.publish.board.skill import SkillSampler
from reportcard.score.scorer import open_metrics, scores_of_sample
from reportcard.score.stats.resampling import Resampler

SIZES = (64, 590)
KEYS = {
    "bleu": ("bleu_4",),
    "rouge": ("rouge_l",),
    "f1_chexpert_rules": ("macro_f1_supported_14", "micro_f1_14", "micro_f1_5"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", default="data/openi", help="folder of the Open-I reports")
    parser.add_argument("--samples", type=int, default=100, help="cohorts drawn per size")
    args = parser.parse_args()
    texts = population(args.root)
    modal = Counter(reference for _, reference in texts).most_common(1)[0][0]
    answers = {
        "system": texts,
        "floor": [(modal, reference) for _, reference in texts],
        "ceiling": [(reference, reference) for _, reference in texts],
    }
    print(f"population: {len(texts)} pairs; {args.samples} cohorts per size; 95 % intervals")
    print("\n| key | n | skill | bca | percentile |\n|---|---:|---:|---:|---:|")
    for scorer in open_metrics([Plugin(name, name) for name in METRICS]):
        rows = {name: rows_of(scorer, pairs) for name, pairs in answers.items()}
        totals = {name: matrix.sum(axis=0) for name, matrix in rows.items()}
        names = KEYS[scorer.label]
        for n in SIZES:
            inside: dict[tuple[str, bool], list[bool]] = {}
            values: dict[str, list[float]] = {}
            for i, (places, _) in enumerate(cohorts(n, len(texts), False, args.samples)):
                sample = {name: matrix[places][None] for name, matrix in rows.items()}
                prepared = PreparedComparison(sample, scorer, Resampler(n, 500, i), 0.95)
                truth = {
                    who: scores_of_sample(scorer.metric, sample["system"])(total)
                    for who, total in totals.items()
                }
                for bca in (True, False):
                    sampler = SkillSampler(prepared, names, bca)
                    for name in names:
                        floor, ceiling = (float(truth[who][name]) for who in ("floor", "ceiling"))
                        true = (float(truth["system"][name]) - floor) / (ceiling - floor)
                        values.setdefault(name, []).append(true)
                        found = sampler.skill("system", ("floor", "ceiling"), name, 1)
                        low, high = sampler.interval(found)
                        if not np.isnan(low) and not np.isnan(true):
                            inside.setdefault((name, bca), []).append(low <= true <= high)
            for name in names:
                held = (100 * float(np.mean(inside[name, bca])) for bca in (True, False))
                shares = " | ".join(f"{share:.1f} %" for share in held)
                value = float(np.nanmean(values[name]))
                print(f"| {scorer.label}.{name} | {n} | {value:.3f} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
