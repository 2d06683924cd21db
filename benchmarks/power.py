"""Measure whether `power` keeps its promise: the real power at the studies that pilots ask for.

    python -m benchmarks.power [--root data/openi] [--pilots 200] [--json FILE]

The population is that of `benchmarks.coverage`, with a second system: a TF-IDF retrieval gives the
16th nearest report, and the other a report that is further away, so that several hundred studies
are needed. Pilots of n studies are drawn with replacement, each says how many
studies 80 % power takes, a new cohort of so many is drawn, and the real test (approximate
randomisation, 5 %) is run on it. "plug-in" is the formula with the pilot's difference as if it were
the true one. "given" plans for the true difference, so that the pilot gives the variance alone.

Target: from pilots of 200, every key within 10 points of 80 %.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.coverage import population, rows_of
from reportcard.api import Array
from reportcard.config.settings import Plugin
from reportcard.score.scorer import Scorer, open_metrics, sample_doubts, scores_of_sample
from reportcard.score.stats.effect_size import studies_needed
from reportcard.score.stats.paired_difference import compare
from reportcard.score.stats.pilot import MOST, Pilot, pilots
from reportcard.score.stats.resampling import Resampler

SIZES = (64, 200, 590)
FIRST = 15  # the place of the first system's report among the nearest, from 0
LONGEST = 20_000  # studies of a cohort that is drawn; longer ones would find the difference too
# key → the place of the second system's report
KEYS = {
    "bleu": {"bleu_4": 18},
    "rouge": {"rouge_l": 18},
    "f1_chexpert_rules": {"macro_f1_supported_14": 500, "macro_f1_14": 500, "micro_f1_14": 200},
}
TRIALS = 199


def answers(pilot: Pilot, difference: float, observed: float, se: float) -> dict[str, int | None]:
    """Return the studies for 80 % power by each way to plan; None: refused."""
    return {
        "power": pilot.needed(),
        "given": pilot.at(difference).needed(),
        "plug-in": studies_needed(observed, se, pilot.n) or MOST,
    }


def rejected(scorer: Scorer, rows: tuple[Array, Array], key: str, m: int, seed: int) -> bool:
    """Whether the real test finds the difference in a new cohort of m studies."""
    drawn = np.random.default_rng([seed, m]).integers(0, len(rows[0]), min(m, LONGEST))
    a, b = (each[drawn][None] for each in rows)
    scores = scores_of_sample(scorer.metric, a)

    def one(total: Array) -> dict[str, Array]:
        return {key: scores(total)[key]}

    return compare(a, b, one, Resampler(len(drawn), 1, seed), TRIALS)[key].p <= 0.05


def measure(
    scorer: Scorer, rows: tuple[Array, Array], key: str, n: int, count: int
) -> list[dict[str, Any]]:
    """Return one line per way to plan, for one key and pilots of n studies."""
    truth = scores_of_sample(scorer.metric, rows[0][None])
    totals = [truth(each.sum(axis=0)[None])[key] for each in rows]
    difference = float(totals[0][0] - totals[1][0])
    asked: dict[str, list[int]] = {}
    found: dict[str, list[bool]] = {}
    covered = []
    whole = Resampler(len(rows[0]), 300)
    everything = pilots(rows[0][None], rows[1][None], truth, whole, len(rows[0]))[key]
    needed = studies_needed(difference, float(everything.errors.mean()), len(rows[0])) or MOST
    for i in range(count):
        drawn = np.random.default_rng([i, n]).integers(0, len(rows[0]), n)
        a, b = (each[drawn][None] for each in rows)
        scores = scores_of_sample(scorer.metric, a)
        doubts = sample_doubts(scorer.metric, a)
        pilot = pilots(a, b, scores, Resampler(n, 300, i), n, doubts)[key]
        # What the pilot's own classes differ by in the population.
        parts = [scores(each.sum(axis=0)[None])[key] for each in rows]
        sums = [scores(each.sum(axis=1))[key] for each in (a, b)]
        observed, se = float(sums[0][0] - sums[1][0]), float(pilot.differences.std(ddof=1))
        if interval := pilot.interval():
            covered.append(interval[0] <= needed <= (interval[1] or MOST))
        given = float(parts[0][0] - parts[1][0])
        for way, m in answers(pilot, given, observed, se).items():
            asked.setdefault(way, [])
            if m is not None:
                asked[way].append(m)
                found.setdefault(way, []).append(rejected(scorer, rows, key, m, i))
    return [
        {
            "key": f"{scorer.label}.{key}",
            "pilot": n,
            "way": way,
            "needed": needed,
            "refused": 1 - len(asked[way]) / count,
            "asked": [int(x) for x in np.quantile(asked[way] or [0], [0.1, 0.5, 0.9])],
            "power": float(np.mean(found[way])) if asked[way] else None,
            "interval holds": float(np.mean(covered)) if covered else None,
        }
        for way in asked
    ]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", default="data/openi", help="folder of the Open-I reports")
    parser.add_argument("--pilots", type=int, default=200, help="pilots drawn per size")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--json", type=Path, help="also write every number here")
    args = parser.parse_args()

    start = time.perf_counter()
    places = {FIRST, *(place for keys in KEYS.values() for place in keys.values())}
    texts = {place: population(args.root, place) for place in sorted(places)}
    saved: list[dict[str, Any]] = []
    print(f"population: {len(texts[FIRST])} pairs; {args.pilots} pilots per size; promised: 80 %")
    print("\n| key | needed | pilot | way | studies asked for (10 %, median, 90 %) | refused |"
          " real power | interval holds |\n|---|---:|---:|---|---|---:|---:|---:|")  # fmt: skip
    for scorer in open_metrics([Plugin(name, name) for name in KEYS]):
        for key, place in KEYS[scorer.label].items():
            rows = (rows_of(scorer, texts[FIRST]), rows_of(scorer, texts[place]))
            for n in args.sizes:
                for line in measure(scorer, rows, key, n, args.pilots):
                    saved.append(line)
                    asked = ", ".join(f"{m:,}" for m in line["asked"]) if line["power"] else "–"
                    print(
                        f"| {line['key']} | {line['needed']:,} | {n} | {line['way']} | {asked} |"
                        f" {_percent(line['refused'])} | {_percent(line['power'])} |"
                        f" {_percent(line['interval holds'])} |",
                        flush=True,
                    )
    print(f"\n{time.perf_counter() - start:.0f} s")
    if args.json:
        args.json.write_text(json.dumps(saved, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
