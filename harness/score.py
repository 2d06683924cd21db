"""Pairs → additive rows → scores with intervals. No files: those are harness/scoring.py."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from harness import registry
from harness.api import Annotator, Array, Json, Metric, Pair, ReportCardError
from harness.config import load_annotators
from harness.settings import Plugin, Protocol, Stats
from harness.stats import Recipe, Resampler, clusters_of, estimate, mask_unscored
from harness.store import digest
from harness.text import Normaliser


@dataclass(frozen=True)
class Scorer:
    """A constructed metric under the name it is reported as, with the annotators it reads."""

    label: str
    metric: Metric
    fingerprint: str
    annotators: tuple[Annotator, ...] = ()

    @cached_property
    def not_run(self) -> str | None:
        """Why the metric cannot run here, or None."""
        return "; ".join(filter(None, (a.missing() for a in self.annotators))) or None


def open_metrics(plugins: Iterable[Plugin], overrides: Sequence[str] = ()) -> list[Scorer]:
    """Construct metrics and their annotators; nothing heavy is loaded.

    overrides: `weights.…` and `annotator.…` of the command line. Raises ReportCardError for an
    unknown name or option.
    """
    built: list[tuple[Plugin, Metric]] = [
        (p, registry.metrics.build(p.plugin, p.options, p.label)) for p in plugins
    ]
    wanted = list(dict.fromkeys(a for _, metric in built for a in metric.spec.annotators))
    annotators: dict[str, Annotator] = {}
    if wanted:
        found = load_annotators(wanted, overrides)
        for name, p in zip(wanted, found, strict=True):
            annotators[name] = registry.annotators.build(p.plugin, p.options, p.label)
    return [
        Scorer(
            plugin.label,
            metric,
            _metric_fingerprint(plugin, metric),
            tuple(annotators[name] for name in metric.spec.annotators),
        )
        for plugin, metric in built
    ]


def _metric_fingerprint(plugin: Plugin, metric: Metric) -> str:
    spec = metric.spec
    return digest(
        [plugin.plugin, dict(plugin.options), spec.version, spec.signature, sorted(spec.keys)]
    )


@dataclass(frozen=True)
class Setting:
    """What turns two texts into a number, apart from the metric: it goes into every signature."""

    protocol: Protocol
    text: Normaliser
    stats: Stats
    cohort: str | None = None

    def pair(self, study_id: str, candidate: str, reference: str) -> Pair:
        return Pair(study_id, self.text.candidate(candidate), self.text.reference(reference))

    def resampler(self, scorer: Scorer, patients: Sequence[str]) -> Resampler:
        """The weights of one metric; metrics of one recipe and seed share theirs."""
        interval, stats = self.protocol.interval_of(scorer.label), self.stats
        seeds = (stats.seed, interval.seed, 0)
        seed = next(seed for seed in seeds if seed is not None)
        return _resampler(tuple(patients), stats.resamples, seed, interval.recipe)

    def signature(self, scorer: Scorer, key: str, n: int, resampler: Resampler) -> str:
        """One line to paste into a paper."""
        spec, stats = scorer.metric.spec, self.stats
        centre = self.protocol.interval_of(scorer.label).centre
        method = "percentile" if resampler.recipe == "scipy" else resampler.recipe
        parts = [
            f"{scorer.label}.{key}|v{spec.version}",
            spec.signature,
            *(f"{a.id}:{read_by(a)}" for a in scorer.annotators),
            f"protocol:{self.protocol.name}|text:{self.text.name}",
            f"sections:{'+'.join(self.protocol.sections)}",
            f"ci:{method}{100 * stats.confidence:g}%,B={stats.resamples},seed={resampler.seed},"
            f"by={resampler.unit}" + (f",centre={centre}" if centre != "point" else ""),
            f"n:{n}",
        ]
        return "|".join([*parts, f"cohort:{self.cohort}"] if self.cohort else parts)


def read_by(annotator: Annotator, whole: bool = False) -> str:
    """Version and weights of an annotator: `3/6550703c`, or `3` without weights."""
    if annotator.missing() is not None:
        return "missing"
    weights = annotator.weights
    return annotator.version + (f"/{weights if whole else weights[:8]}" if weights else "")


@lru_cache(maxsize=4)
def _resampler(patients: tuple[str, ...], resamples: int, seed: int, recipe: Recipe) -> Resampler:
    return Resampler(len(patients), resamples, seed, clusters_of(patients), recipe)


def score(
    scorer: Scorer, draws: Sequence[Sequence[Pair]], patients: Sequence[str], setting: Setting
) -> tuple[Array, Json]:
    """Rows (draws, n, k) and one entry per key (`<metric>.<key>`).

    Raises ReportCardError when a metric breaks its contract (wrong shape, infinite values).
    """
    rows = np.stack([scorer.metric.rows(pairs) for pairs in draws])
    _check_rows(scorer, rows, len(draws[0]))
    scored, unscored = mask_unscored(rows)
    missing = int(unscored.any(axis=0).sum())
    n = rows.shape[1] - missing
    resampler = setting.resampler(scorer, patients)
    centre = setting.protocol.interval_of(scorer.label).centre
    estimates = estimate(scored, scorer.metric.scores, resampler, setting.stats.confidence, centre)
    entries = _entries(scorer, n, missing, setting, resampler)
    for name, entry in zip(scorer.metric.spec.keys, entries.values(), strict=True):
        found = estimates[name]
        entry |= {
            "value": _finite(found.value),
            "ci_low": _finite(found.low),
            "ci_high": _finite(found.high),
        }
        if found.spread is not None:
            entry |= {"draws": len(draws), "spread": _finite(found.spread)}
    return rows, entries


def not_run(scorer: Scorer, reason: str, patients: Sequence[str], setting: Setting) -> Json:
    """One entry per key of a metric that could not run: no value, every study unscored."""
    resampler = setting.resampler(scorer, patients)
    entries = _entries(scorer, 0, len(patients), setting, resampler)
    return {name: {**entry, "not_run": reason} for name, entry in entries.items()}


def _entries(scorer: Scorer, n: int, unscored: int, setting: Setting, resampler: Resampler) -> Json:
    """The part of a key's entry that does not depend on the texts."""
    return {
        f"{scorer.label}.{name}": {
            "value": None,
            "ci_low": None,
            "ci_high": None,
            "n": n,
            "unscored": unscored,
            "direction": key.direction,
            "unit": key.unit,
            "range": [key.low, key.high],
            "signature": setting.signature(scorer, name, n, resampler),
        }
        for name, key in scorer.metric.spec.keys.items()
    }


def _check_rows(scorer: Scorer, rows: Array, n: int) -> None:
    if rows.ndim != 3 or rows.shape[1] != n:
        raise ReportCardError(
            f"metric {scorer.label}: rows() gave shape {rows.shape[1:]} for {n} pairs;"
            " it must give one row per pair."
        )
    if np.isinf(rows).any():
        raise ReportCardError(f"metric {scorer.label}: rows() gave an infinite value.")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
