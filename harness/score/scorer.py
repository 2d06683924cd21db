"""Opens metrics with their annotators, and computes scores with intervals from their rows.

It reads and writes no files; scoring_stage.py does that for runs, evaluation.py for a user's pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from reportcard.api import (
    Annotator,
    Array,
    BoundedMetric,
    Json,
    JudgedAnnotator,
    Metric,
    Pair,
    ReportCardError,
    SampleMetric,
)
from reportcard.config.compose import load_annotators
from reportcard.config.settings import Plugin, Protocol, Stats
from reportcard.core import registry
from reportcard.core.files import digest
from reportcard.llm.judge import open_judge
from reportcard.llm.judge.contract import Judge
from reportcard.score.normalise import Normaliser
from reportcard.score.signature import AS_GIVEN, Signature
from reportcard.score.stats.resampling import (
    Centre,
    Recipe,
    Resampler,
    Scores,
    clusters_of,
    estimate,
    mask_unscored,
)

FEWEST_STUDIES = 30  # below, no interval of ours held what it promises (benchmarks/coverage.py)


@dataclass(frozen=True)
class Scorer:
    """A constructed metric under the name it is reported as, with its annotators.

    plugin  what it was constructed from, by which its protocol finds the recipe of its intervals
    """

    label: str
    metric: Metric
    fingerprint: str
    annotators: tuple[Annotator, ...] = ()
    plugin: Plugin = field(default_factory=lambda: Plugin("", ""))

    @cached_property
    def not_run(self) -> str | None:
        """Why the metric cannot run on this machine; None where it can."""
        return "; ".join(filter(None, (a.missing() for a in self.annotators))) or None

    def scores_of_sample(self, rows: Array) -> Scores:
        """The metric's score function for one sample; see `scores_of_sample`."""
        return scores_of_sample(self.metric, rows)

    @property
    def caveat(self) -> str | None:
        """The warning of the metric's judges that is shown beside every score; None: none."""
        judged = [a.caveat for a in self.annotators if isinstance(a, JudgedAnnotator)]
        return "; ".join(filter(None, judged)) or None

    def signature(self, key: str) -> Signature:
        """Return the first parts of a signature: metric and key, version, variant, annotators."""
        spec = self.metric.spec
        readers = (f"{a.id}:{read_by(a)}" for a in self.annotators)
        variant = (*spec.signature.split("|"), *readers)
        return Signature(f"{self.label}.{key}", f"v{spec.version}", variant)


def open_metrics(
    plugins: Iterable[Plugin],
    annotators: Mapping[str, Plugin] | None = None,
    wrap: Callable[[Judge], Judge] = lambda judge: judge,
) -> list[Scorer]:
    """Construct metrics and the annotators they read; no weights are loaded yet.

    Args:
        plugins: the metrics.
        annotators: every annotator by name, as RunConfig holds them; None: as conf/annotator says.
            Annotators of one judge share it, and so its budget.
        wrap: makes what the annotators get in place of a judge (an audit asks without the cache).

    Raises ReportCardError for an unknown name or option.
    """
    metrics: list[tuple[Plugin, Metric]] = [
        (p, registry.metrics.build(p.plugin, p.options, p.label)) for p in plugins
    ]
    wanted = list(dict.fromkeys(a for _, metric in metrics for a in metric.spec.annotators))
    if wanted and annotators is None:
        annotators = load_annotators()
    judges: dict[str, Judge] = {}
    opened = {name: _open_annotator(name, annotators or {}, judges, wrap) for name in wanted}
    return [
        Scorer(
            plugin.label,
            metric,
            _metric_fingerprint(plugin, metric),
            tuple(opened[name] for name in metric.spec.annotators),
            plugin,
        )
        for plugin, metric in metrics
    ]


def _open_annotator(
    name: str,
    annotators: Mapping[str, Plugin],
    judges: dict[str, Judge],
    wrap: Callable[[Judge], Judge],
) -> Annotator:
    """Construct one annotator; its judge is taken from `judges`, or opened and put there."""
    plugin = annotators.get(name.replace("-", "_"))
    if plugin is None:
        hint = registry.did_you_mean(name, annotators)
        raise ReportCardError(f"Unknown annotator '{name}'.{hint} (reportcard list annotators)")
    options = dict(plugin.options)
    if isinstance(options.get("judge"), dict):
        one = digest(options["judge"])
        options["judge"] = judges.get(one) or wrap(open_judge(options["judge"]))
        judges[one] = options["judge"]
    return registry.annotators.build(plugin.plugin, options, plugin.label)  # type: ignore[no-any-return]


def _metric_fingerprint(plugin: Plugin, metric: Metric) -> str:
    spec = metric.spec
    return digest(
        [plugin.plugin, dict(plugin.options), spec.version, spec.signature, sorted(spec.keys)]
    )


@dataclass(frozen=True)
class ScoringContext:
    """Everything but the metric that decides a score; it is part of every signature.

    caveat    of the dataset, shown beside every score
    as_given  the texts came from the user: nobody took sections out of them
    """

    protocol: Protocol
    text: Normaliser
    stats: Stats
    cohort: str | None = None
    caveat: str | None = None
    as_given: bool = False

    def pair(self, study_id: str, candidate: str, reference: str) -> Pair:
        """Make a pair of normalised texts."""
        return Pair(study_id, self.text.candidate(candidate), self.text.reference(reference))

    def resampler(self, scorer: Scorer, patients: Sequence[str]) -> Resampler:
        """Return the bootstrap weights of a metric; metrics of one recipe and seed share theirs."""
        interval, stats = self.protocol.interval_of(scorer.plugin), self.stats
        seeds = (stats.seed, interval.seed, 0)
        seed = next(seed for seed in seeds if seed is not None)
        return _resampler(tuple(patients), stats.resamples, seed, interval.recipe)

    def signature(self, scorer: Scorer, key: str, n: int, resampler: Resampler) -> Signature:
        """Return the signature of one key, scored on n studies."""
        stats = self.stats
        centre = self.protocol.interval_of(scorer.plugin).centre
        method = "percentile" if resampler.recipe == "scipy" else resampler.recipe
        return replace(
            scorer.signature(key),
            protocol=self.protocol.name,
            text=self.text.name,
            sections=AS_GIVEN if self.as_given else "+".join(self.protocol.sections),
            ci=f"{method}{100 * stats.confidence:g}%,B={stats.resamples},seed={resampler.seed},"
            f"by={resampler.unit}" + (f",centre={centre}" if centre != "point" else ""),
            n=str(n),
            cohort=self.cohort or None,
        )


def read_by(annotator: Annotator, whole: bool = False) -> str:
    """Return version and weights of an annotator: `3/6550703c`, or `3` without weights.

    whole: all digits of the weights' digest, and not the first eight.
    """
    if annotator.missing() is not None:
        return "missing"
    weights = annotator.weights
    return annotator.version + (f"/{weights if whole else weights[:8]}" if weights else "")


@lru_cache(maxsize=4)
def _resampler(patients: tuple[str, ...], resamples: int, seed: int, recipe: Recipe) -> Resampler:
    return Resampler(len(patients), resamples, seed, clusters_of(patients), recipe)


def score(scorer: Scorer, rows: Array, patients: Sequence[str], context: ScoringContext) -> Json:
    """Compute one entry of scores.json per key (`<metric>.<key>`) from rows (draws, n, k)."""
    resampler = context.resampler(scorer, patients)
    centre = context.protocol.interval_of(scorer.plugin).centre
    found = numbers(scorer.metric, rows, resampler, context.stats.confidence, centre)
    missing = int(np.isnan(rows).any(axis=(0, 2)).sum())
    entries = _entries(scorer, rows.shape[1] - missing, missing, context, resampler)
    for name, entry in zip(scorer.metric.spec.keys, entries.values(), strict=True):
        entry |= found[name]
    return entries


def scores_of_sample(metric: Metric, rows: Array) -> Scores:
    """The score function for one sample and its resamples.

    What the sample as a whole decides, such as the classes of an average, is fixed in it.

    rows: (n, k) or (draws, n, k); a NaN row is unscored and decides nothing.
    """
    if not isinstance(metric, SampleMetric):
        return metric.scores
    return metric.scores_of_sample(_sample_total(rows))


def _sample_total(rows: Array) -> Array:
    """The summed row of a sample, averaged over draws: (…, n, k) → (k,)."""
    scored, _ = mask_unscored(rows)
    total = scored.sum(axis=-2)
    return total if total.ndim == 1 else np.asarray(total.mean(axis=0))


def numbers(
    metric: Metric, rows: Array, resampler: Resampler, confidence: float, centre: Centre
) -> dict[str, Json]:
    """Compute per key what follows from the rows alone.

    That is value, ci_low and ci_high; draws and spread where there are several draws; bounds where
    studies are unscored.

    Args:
        metric: turns summed rows into scores.
        rows: (draws, n, k), a NaN row is unscored.
        resampler: the bootstrap weights.
        confidence: of the interval.
        centre: whether the value is the score of the data or the median of the replicates.
    """
    scored, unscored = mask_unscored(rows)
    scores = scores_of_sample(metric, rows)
    found: dict[str, Json] = {}
    for name, e in estimate(scored, scores, resampler, confidence, centre).items():
        found[name] = {
            "value": _finite(e.value),
            "ci_low": _finite(e.low),
            "ci_high": _finite(e.high),
            **({} if e.spread is None else {"draws": len(rows), "spread": _finite(e.spread)}),
        }
    for name, reason in doubts_of(metric, rows, found).items():
        found[name] |= {"doubt": reason}
    if unscored.any() and isinstance(metric, BoundedMetric):
        for name, bounds in _bounds(metric, rows, unscored).items():
            found[name] |= {"bounds": bounds}
    return found


def sample_doubts(metric: Metric, rows: Array) -> dict[str, str]:
    """Return the keys whose intervals a sample cannot support, each with the reason.

    rows: (n, k) or (draws, n, k); a NaN row is unscored.
    """
    return dict(metric.doubts(_sample_total(rows))) if isinstance(metric, SampleMetric) else {}


def doubts_of(metric: Metric, rows: Array, found: Mapping[str, Json]) -> dict[str, str]:
    """Return per key why its interval is not to be relied on: too few studies, or no width.

    Args:
        metric: the metric, which may know more, such as the support of its classes.
        rows: (draws, n, k), a NaN row is unscored.
        found: key → its value, ci_low and ci_high; keys that it lacks are left out.
    """
    n = rows.shape[1] - int(np.isnan(rows).any(axis=(0, 2)).sum())
    doubts = sample_doubts(metric, rows)
    for name, entry in found.items():
        own = doubt_of_interval(n, entry["ci_low"], entry["ci_high"])
        if own and (n < FEWEST_STUDIES or name not in doubts):
            doubts[name] = own
    valued = {name for name, entry in found.items() if entry["value"] is not None}
    return {name: reason for name, reason in doubts.items() if name in valued}


def doubt_of_interval(n: int, low: float | None, high: float | None) -> str | None:
    """Return why an interval from n studies is not to be relied on, whatever it is of; or None."""
    if n < FEWEST_STUDIES:
        return f"{n} {'study' if n == 1 else 'studies'}, under {FEWEST_STUDIES}"
    if low is not None and low == high:
        return "the interval has no width: every resample gave the same"
    return None


def _bounds(
    metric: Metric, rows: Array, unscored: npt.NDArray[np.bool_]
) -> dict[str, list[float | None]]:
    """Return per key the [lowest, highest] score that the unscored pairs leave possible.

    Each unscored pair gets the most, then the least favourable row that the metric names.
    """
    assert isinstance(metric, BoundedMetric)
    filled = np.where(unscored[..., None], 0.0, rows).sum(axis=1)
    possible = []
    for row in metric.extremes(rows[~unscored]):
        scores = metric.scores(filled + unscored.sum(axis=1)[:, None] * row)
        possible.append({name: float(np.mean(values)) for name, values in scores.items()})
    # NumPy's min and max, since Python's can drop a NaN, which means that an end is unknown.
    return {
        name: [_finite(float(end([p[name] for p in possible]))) for end in (np.min, np.max)]
        for name in metric.spec.keys
    }


def not_run(scorer: Scorer, reason: str, patients: Sequence[str], context: ScoringContext) -> Json:
    """Return one entry per key of a metric that could not run: every study is unscored."""
    resampler = context.resampler(scorer, patients)
    entries = _entries(scorer, 0, len(patients), context, resampler)
    return {name: {**entry, "not_run": reason} for name, entry in entries.items()}


def _entries(
    scorer: Scorer, n: int, unscored: int, context: ScoringContext, resampler: Resampler
) -> Json:
    """Return the part of each key's entry that does not depend on the texts."""
    caveat = "; ".join(filter(None, (context.caveat, scorer.caveat)))
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
            "signature": context.signature(scorer, name, n, resampler).format(),
            **({"caveat": caveat} if caveat else {}),
        }
        for name, key in scorer.metric.spec.keys.items()
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
