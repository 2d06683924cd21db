"""Measure whether intervals hold what they promise: coverage, bias and width per headline key.

    python -m benchmarks.coverage [--root data/openi] [--samples 100] [--json FILE]

The population is the 3,199 studies of the cohort `openi_findings`. Each reference stands beside the
16th nearest report of another study (TF-IDF), which plays the system. Cohorts of n studies are
drawn from it with replacement and scored, and their intervals are compared with the population's
value. "By patient" draws made-up patients of 1 to 4 studies, because Open-I has one study per
patient.

The value of a key over supported classes is that of the population over the classes that the drawn
cohort supports. docs/statistics.md has the table of 1,000 cohorts per size.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reportcard.api import Array, Pair
from reportcard.config.settings import Plugin
from reportcard.data.sources.openi import OpenI
from reportcard.score.scorer import (
    Scorer,
    doubt_of_interval,
    open_metrics,
    sample_doubts,
    scores_of_sample,
)
from reportcard.score.stats.resampling import Recipe, Resampler, estimate

SIZES = (64, 590, 3199)
RECIPES: tuple[Recipe, ...] = ("scipy", "bca")
METRICS = ("bleu", "rouge", "f1_chexpert_rules")
KEYS = {
    "bleu": ("bleu_4",),
    "rouge": ("rouge_l",),
    "f1_chexpert_rules": (
        *("macro_f1_supported_14", "macro_f1_14", "macro_f1_5", "micro_f1_14", "micro_f1_5"),
        *("no_finding.f1", "pneumothorax.f1"),
    ),
}


def population(root: str, nearest_one: int = 15) -> list[tuple[str, str]]:
    """Return (candidate, reference) of every study; candidates are reports of other studies.

    nearest_one: the place of the candidate among the nearest reports, from 0. The default is the
    16th: nearer ones are often the same sentence again, which no system writes.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [study.reference.findings or "" for study in OpenI(root).select().test]
    vectors = TfidfVectorizer(max_features=4000).fit_transform(texts)
    found = []
    for start in range(0, len(texts), 512):
        similar = (vectors[start : start + 512] @ vectors.T).toarray()
        rows = np.arange(len(similar))
        similar[rows, start + rows] = -1
        nearest = np.argsort(-similar, axis=1)[:, nearest_one]
        found += [(texts[j], texts[start + i]) for i, j in enumerate(nearest)]
    return found


def rows_of(scorer: Scorer, texts: list[tuple[str, str]]) -> Array:
    """Return the rows of every pair of the population, (n, k)."""
    pairs = [
        Pair(str(i), candidate, reference, {}) for i, (candidate, reference) in enumerate(texts)
    ]
    for annotator in scorer.annotators:
        unique = list(dict.fromkeys(text for both in texts for text in both))
        notes = dict(zip(unique, annotator.annotate(unique), strict=True))
        pairs = [
            Pair(p.study_id, p.candidate, p.reference,
                 {**p.notes, annotator.id: (notes[p.candidate], notes[p.reference])})
            for p in pairs
        ]  # fmt: skip
    return scorer.metric.rows(pairs)


def cohorts(
    n: int, size: int, by_patient: bool, samples: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None]]:
    """Yield the places in the population of each drawn cohort, and the patient of each study."""
    rng = np.random.default_rng(n + by_patient)
    patients = None
    if by_patient:
        sizes = rng.integers(1, 5, size)
        patients = np.split(rng.permutation(size), np.cumsum(sizes))
        patients = [group for group in patients if len(group)]
    for _ in range(samples):
        if patients is None:
            yield rng.integers(0, size, n), None
        else:
            drawn = [patients[i] for i in rng.integers(0, len(patients), max(1, round(n / 2.5)))]
            numbers = np.repeat(np.arange(len(drawn)), [len(group) for group in drawn])
            yield np.concatenate(drawn), numbers


def measure(
    scorer: Scorer, rows: Array, n: int, by_patient: bool, samples: int, resamples: int
) -> dict[tuple[str, str], dict[str, float | None]]:
    """Return (recipe, key) → coverage of all and of unflagged intervals, bias and mean width.

    An interval is flagged as in a score file (`doubt`): by the metric, or because it has no width.
    """
    names = KEYS[scorer.label]
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    total = rows.sum(axis=0)
    for i, (places, patients) in enumerate(cohorts(n, len(rows), by_patient, samples)):
        sample = rows[places]
        scores = scores_of_sample(scorer.metric, sample)
        truth = scores(total)
        doubts = sample_doubts(scorer.metric, sample)
        for recipe in RECIPES:
            sampler = Resampler(len(sample), resamples, i, patients, recipe)
            for name, e in estimate(sample[None], scores, sampler).items():
                if name in names and not np.isnan(e.value):
                    true = float(truth[name])
                    inside = e.low - 1e-9 <= true <= e.high + 1e-9
                    flagged = name in doubts or doubt_of_interval(len(sample), e.low, e.high)
                    found.setdefault((recipe, name), []).append(
                        (float(inside), e.value - true, e.high - e.low, float(bool(flagged)))
                    )
    return {
        (recipe, name): {
            "coverage": float(np.mean([v[0] for v in values])),
            "bias": float(np.mean([v[1] for v in values])),
            "width": float(np.mean([v[2] for v in values])),
            "flagged": float(np.mean([v[3] for v in values])),
            "unflagged_coverage": _mean([v[0] for v in values if not v[3]]),
            "defined": len(values) / samples,
        }
        for (recipe, name), values in found.items()
    }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def percent(share: float | None) -> str:
    """Return a share as a table shows it; "–" where there is none."""
    return "–" if share is None else f"{100 * share:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", default="data/openi", help="folder of the Open-I reports")
    parser.add_argument("--samples", type=int, default=100, help="cohorts drawn per size")
    parser.add_argument("--resamples", type=int, default=500, help="bootstrap resamples")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--json", type=Path, help="also write every number here")
    args = parser.parse_args()

    start = time.perf_counter()
    texts = population(args.root)
    scorers = open_metrics([Plugin(name, name) for name in METRICS])
    tables = {scorer.label: rows_of(scorer, texts) for scorer in scorers}
    print(f"population: {len(texts)} pairs; {args.samples} cohorts per size; 95 % intervals")
    saved: list[dict[str, Any]] = []
    print("\n| key | drawn by | n | recipe | coverage | flagged | of the others | bias | width |")
    print("|---|---|---:|---|---:|---:|---:|---:|---:|")
    for scorer in scorers:
        for by_patient in (False, True):
            for n in args.sizes:
                samples = args.samples if n < 2000 else max(1, args.samples // 2)
                found = measure(
                    scorer, tables[scorer.label], n, by_patient, samples, args.resamples
                )
                for (recipe, name), values in found.items():
                    unit = "patient" if by_patient else "study"
                    print(
                        f"| {scorer.label}.{name} | {unit} | {n} | {recipe} |"
                        f" {percent(values['coverage'])} | {percent(values['flagged'])} |"
                        f" {percent(values['unflagged_coverage'])} |"
                        f" {values['bias']:+.4f} | {values['width']:.4f} |",
                        flush=True,
                    )
                    saved.append({"key": f"{scorer.label}.{name}", "unit": unit, "n": n,
                                  "recipe": recipe, **values})  # fmt: skip
    print(f"\n{time.perf_counter() - start:.0f} s")
    if args.json:
        args.json.write_text(json.dumps(saved, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
