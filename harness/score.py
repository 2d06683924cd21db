"""Pairs → additive rows → scores with intervals; and the score files of a run.

scores/<cohort>@<fp8>/<label>@<fp8>/<protocol>/<metric>/
    rows.npz      ids (n,), rows (draws, n, k) float64; NaN row = unscored
    scores.json   value, interval, n, unscored and signature per key
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from harness import registry
from harness.api import Array, Json, Metric, Pair, Report, ReportCardError
from harness.cohort import Cohort
from harness.config import Plugin, Protocol, Stats
from harness.predict import System, is_done, predictions_dir, read_reports
from harness.stats import Resampler, clusters_of, estimate, mask_unscored
from harness.store import digest, file_digest, read_json, write_atomic, write_json
from harness.text import Normaliser, normaliser


@dataclass(frozen=True)
class Scorer:
    """A constructed metric under the name and protocol it is reported as."""

    label: str
    metric: Metric
    fingerprint: str


def open_metrics(plugins: Iterable[Plugin]) -> list[Scorer]:
    """Construct metrics. Raises ReportCardError for an unknown name or option."""
    found = []
    for plugin in plugins:
        cls = registry.metrics.get(plugin.plugin)
        try:
            metric: Metric = cls(**plugin.options)
        except TypeError as error:
            raise ReportCardError(f"metric {plugin.label}: {error}") from None
        spec = metric.spec
        fingerprint = digest(
            [plugin.plugin, dict(plugin.options), spec.version, spec.signature, sorted(spec.keys)]
        )
        found.append(Scorer(plugin.label, metric, fingerprint))
    return found


@dataclass(frozen=True)
class Setting:
    """What turns two texts into a number, apart from the metric: it goes into every signature."""

    protocol: Protocol
    text: Normaliser
    stats: Stats
    cohort: str | None = None

    def pair(self, study_id: str, candidate: str, reference: str) -> Pair:
        return Pair(study_id, self.text.candidate(candidate), self.text.reference(reference))

    def resampler(self, patients: Sequence[str]) -> Resampler:
        stats = self.stats
        return Resampler(len(patients), stats.resamples, stats.seed, clusters_of(patients))

    def signature(self, scorer: Scorer, key: str, n: int, unit: str) -> str:
        """One line to paste into a paper."""
        spec, stats = scorer.metric.spec, self.stats
        parts = [
            f"{scorer.label}.{key}|v{spec.version}",
            spec.signature,
            f"protocol:{self.protocol.name}|text:{self.text.name}",
            f"sections:{'+'.join(self.protocol.sections)}",
            f"ci:percentile{stats.confidence:.0%},B={stats.resamples},seed={stats.seed},by={unit}",
            f"n:{n}",
        ]
        return "|".join([*parts, f"cohort:{self.cohort}"] if self.cohort else parts)


def score(
    scorer: Scorer, draws: Sequence[Sequence[Pair]], resampler: Resampler, setting: Setting
) -> tuple[Array, Json]:
    """Rows (draws, n, k) and one entry per key (`<metric>.<key>`).

    Raises ReportCardError when a metric breaks its contract (wrong shape, infinite values).
    """
    rows = np.stack([scorer.metric.rows(pairs) for pairs in draws])
    _check_rows(scorer, rows, len(draws[0]))
    scored, unscored = mask_unscored(rows)
    missing = int(unscored.any(axis=0).sum())
    n = rows.shape[1] - missing
    estimates = estimate(scored, scorer.metric.scores, resampler, setting.stats.confidence)
    entries = {}
    for name, key in scorer.metric.spec.keys.items():
        found = estimates[name]
        entry: Json = {
            "value": _finite(found.value),
            "ci_low": _finite(found.low),
            "ci_high": _finite(found.high),
            "n": n,
            "unscored": missing,
            "direction": key.direction,
            "unit": key.unit,
            "range": [key.low, key.high],
            "signature": setting.signature(scorer, name, n, resampler.unit),
        }
        if found.spread is not None:
            entry |= {"draws": len(draws), "spread": _finite(found.spread)}
        entries[f"{scorer.label}.{name}"] = entry
    return rows, entries


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


def scores_dir(
    results_dir: Path, cohort: Cohort, system: System, protocol: str, metric: str
) -> Path:
    return results_dir / "scores" / cohort.folder / system.folder / protocol / metric


@dataclass
class Scoring:
    """Scores runs of one cohort: references are normalised once, weights drawn once."""

    results_dir: Path
    cohort: Cohort
    protocol: Protocol
    stats: Stats
    scorers: Sequence[Scorer]

    def __post_init__(self) -> None:
        sections = self.protocol.sections
        train = [study.reference.text(sections) for study in self.cohort.train]
        self.setting = Setting(
            self.protocol, normaliser(self.protocol, train), self.stats, self.cohort.folder
        )
        kept = [s for s in self.cohort.test if s.reference.text(sections).strip()]
        if not kept:
            raise ReportCardError(
                f"{self.cohort.name}: every reference is empty in {', '.join(sections)}."
            )
        self.excluded = len(self.cohort.test) - len(kept)
        self.ids = [study.study_id for study in kept]
        self.references = [self.setting.text.reference(s.reference.text(sections)) for s in kept]
        self.resampler = self.setting.resampler([study.patient_id for study in kept])

    def run(self, system: System) -> int:
        """Score one finished run; returns how many score files were written anew."""
        source = predictions_dir(self.results_dir, self.cohort, system)
        if not is_done(source):
            raise ReportCardError(
                f"{system.label} has no finished predictions on {self.cohort.name}."
                " Run: reportcard predict with the same settings"
            )
        done = read_json(source / "DONE")
        draws: list[list[Pair]] | None = None
        counts: Json = {}
        written = 0
        for scorer in self.scorers:
            folder = scores_dir(
                self.results_dir, self.cohort, system, self.protocol.name, scorer.label
            )
            inputs = self._inputs(scorer, done["predictions_sha256"])
            if _is_current(folder, inputs):
                continue
            if draws is None:
                reports = read_reports(source)
                draws, counts = self._pairs(reports), self._counts(reports)
            rows, entries = score(scorer, draws, self.resampler, self.setting)
            write_atomic(folder / "rows.npz", _npz(self.ids, rows, self.resampler))
            write_json(
                folder / "scores.json",
                {
                    "metric": scorer.label,
                    "metric_fingerprint": scorer.fingerprint,
                    "protocol": self.protocol.name,
                    "cohort": self.cohort.name,
                    "cohort_fingerprint": self.cohort.fingerprint,
                    "model": system.label,
                    "model_fingerprint": system.fingerprint,
                    "stats": asdict(self.stats) | {"unit": self.resampler.unit},
                    "counts": counts,
                    "rows_sha256": file_digest(folder / "rows.npz"),
                    "inputs": inputs,
                    "keys": entries,
                },
            )
            written += 1
        return written

    def _inputs(self, scorer: Scorer, predictions_sha256: str) -> str:
        return digest(
            {
                "cohort": self.cohort.fingerprint,
                "predictions": predictions_sha256,
                "metric": scorer.fingerprint,
                "text": self.setting.text.name,
                "train": self.cohort.train_fingerprint if self.protocol.normalise != "none" else "",
                "sections": list(self.protocol.sections),
                "stats": asdict(self.stats),
            }
        )

    def _pairs(self, draws: Sequence[dict[str, tuple[Report, str]]]) -> list[list[Pair]]:
        sections, candidate = self.protocol.sections, self.setting.text.candidate
        return [
            [
                Pair(study_id, candidate(answers[study_id][0].text(sections)), reference)
                for study_id, reference in zip(self.ids, self.references, strict=True)
            ]
            for answers in draws
        ]

    def _counts(self, draws: Sequence[dict[str, tuple[Report, str]]]) -> Json:
        """Studies of the cohort by what became of them, and how varied the texts are."""
        sections = self.protocol.sections
        first = draws[0]
        texts = [first[study_id][0].text(sections) for study_id in self.ids]
        return {
            "cohort": len(self.cohort.test),
            "excluded_empty_reference": self.excluded,
            "evaluated": len(self.ids),
            "failed": sum(first[study_id][1] == "failed" for study_id in self.ids),
            "empty_candidates": sum(not text.strip() for text in texts),
            "unique_candidates": len(set(texts)),
            "draws": len(draws),
        }


def _is_current(folder: Path, inputs: str) -> bool:
    """Whether the scores on disk come from exactly these inputs and their rows are untouched."""
    path = folder / "scores.json"
    if not path.is_file():
        return False
    saved = read_json(path)
    rows = folder / "rows.npz"
    return (
        saved.get("inputs") == inputs
        and rows.is_file()
        and file_digest(rows) == saved["rows_sha256"]
    )


def _npz(ids: Sequence[str], rows: Array, resampler: Resampler) -> bytes:
    clusters: Json = {} if resampler.clusters is None else {"clusters": resampler.clusters}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, ids=np.array(ids), rows=rows, **clusters)
    return buffer.getvalue()


def load_rows(folder: Path) -> tuple[list[str], Array]:
    """ids and rows (draws, n, k) of a score folder; never a pickle."""
    try:
        with np.load(folder / "rows.npz", allow_pickle=False) as saved:
            return saved["ids"].tolist(), saved["rows"]
    except (OSError, ValueError, KeyError) as error:
        raise ReportCardError(
            f"{folder / 'rows.npz'} cannot be read ({error}). Run: reportcard score"
        ) from error
