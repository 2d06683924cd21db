"""The score files of a run: which are stale, what they are made from, what they hold.

scores/<cohort>@<fp8>/<label>@<fp8>/<protocol>/<metric>/
    rows.npz      ids (n,), rows (draws, n, k) float64; NaN row = unscored; clusters (n,), the
                  number of each study's patient, where a patient has several
    scores.json   value, interval, n, unscored and signature per key; why each unscored study is;
                  or, for a metric that could not run, `not_run` and the reason
Beside the metrics lies details.json (harness/leaderboard/details.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from reportcard.annotate import Cache, annotate_pairs, needs_cache
from reportcard.api import (
    Array,
    Custody,
    Json,
    JudgedAnnotator,
    Progress,
    ReportCardError,
)
from reportcard.config.settings import Protocol, Stats
from reportcard.core.files import digest, file_digest, read_json, write_atomic, write_json
from reportcard.core.layout import cache_folder, predictions_dir, scores_dir
from reportcard.core.progress import quiet
from reportcard.data.cohort import Cohort
from reportcard.predict.engines.engine import Engine
from reportcard.predict.engines.failures import explain
from reportcard.predict.predictions_file import image_failures, is_done
from reportcard.predict.system import System
from reportcard.score.details import update as details
from reportcard.score.pairs import SLICE, References, RunPairs
from reportcard.score.rows_file import npz
from reportcard.score.scorer import (
    Scorer,
    ScoringContext,
    not_run,
    read_by,
    score,
)
from reportcard.score.stats.resampling import clusters_of


@dataclass
class Scoring:
    """Scores runs of one cohort: references are normalised once, weights drawn once.

    Pairs, notes and rows are made a slice of studies at a time, and only the rows are kept; a
    metric whose spec says `whole_corpus` gets all pairs of a draw at once, in memory.
    """

    results_dir: Path
    cohort: Cohort
    protocol: Protocol
    stats: Stats
    scorers: Sequence[Scorer]
    progress: Progress = quiet
    say: Callable[[str], None] = print
    engine: Engine | None = None  # where annotators run
    slice_size: int = SLICE  # studies at a time: files do not depend on it
    rescore_judged: bool = False  # even if fresh: `judge.record` wants their verdicts
    _notes: dict[str, dict[Any, Json | None]] = field(default_factory=dict)  # of judges, by id
    _unusable: dict[str, str] = field(default_factory=dict)  # annotator id → what is wrong
    _kept: set[tuple[str, str]] = field(default_factory=set)  # (run folder, metric), said once
    _finished: dict[str, str] = field(default_factory=dict)  # run folder → predictions' sha256

    def __post_init__(self) -> None:
        self.references = References.of(self.cohort, self.protocol)
        self.patients = self.references.patients
        self.context = ScoringContext(
            self.protocol,
            self.references.text,
            self.stats,
            self.cohort.folder,
            self.cohort.card.caveat,
        )
        self._admit()

    @cached_property
    def cache(self) -> Cache:
        return Cache(self.cache_dir / "annotations.sqlite")

    @property
    def cache_dir(self) -> Path:
        return cache_folder(self.results_dir / "cache", self.cohort.card)

    def _admit(self) -> None:
        """Tell the judges whose text is coming; one that may not see it is not asked."""
        custody = Custody(self.cohort.card, self.cache_dir, self.progress, self.say)
        for annotator in {a.id: a for s in self.scorers for a in s.annotators}.values():
            if not isinstance(annotator, JudgedAnnotator) or annotator.missing():
                continue
            try:
                annotator.admit(custody)
            except ReportCardError as error:
                self._unusable[annotator.id] = str(error)

    def annotate(self, systems: Sequence[System]) -> None:
        """Make every note that stale scores of these runs need, each annotator loaded once.

        An annotator whose weights turn out to be unusable leaves its metrics *not run*.
        """
        for annotator in {a.id: a for s in self.scorers for a in s.annotators}.values():
            if annotator.id in self._unusable:
                continue
            readers = [s for s in self.scorers if annotator in s.annotators and not s.not_run]
            wanted = [system for system in systems if any(self._stale(system, s) for s in readers)]
            pairs = (pair for system in wanted for pair in self._slices(system).pairs())
            try:
                if wanted and isinstance(annotator, JudgedAnnotator):
                    # Kept: what a judge that is down left out is not waited for once per model.
                    self._notes[annotator.id] = annotate_pairs(
                        annotator, pairs, None, self.progress
                    )
                elif wanted:
                    annotate_pairs(annotator, pairs, self.cache, self.progress, self.engine)
            except Exception as error:
                self._unusable[annotator.id] = self._explain(error)

    def run(self, system: System) -> int:
        """Score one finished run; returns how many score files were written anew."""
        stale = [scorer for scorer in self.scorers if self._stale(system, scorer)]
        if stale:
            self._write(system, stale)
        source = predictions_dir(self.results_dir, self.cohort, system)
        folder = scores_dir(self.results_dir, self.cohort, system, self.protocol.name, "")
        details.update(folder, source, self.cohort, self.references, self.context, self.scorers)
        return len(stale)

    def _write(self, system: System, stale: Sequence[Scorer]) -> None:
        slices = self._slices(system)
        counts = slices.counts | self._image_failures(system)
        for scorer in stale:
            reason, folder = self._reason(scorer), self._folder(system, scorer)
            silent = not reason and scorer.metric.spec.boxes and not slices.grounded
            about: Json = {
                "metric": scorer.label,
                "metric_fingerprint": scorer.fingerprint,
                "protocol": self.protocol.name,
                "cohort": self.cohort.name,
                "cohort_fingerprint": self.cohort.fingerprint,
                "model": system.label,
                "model_fingerprint": system.fingerprint,
                "stats": self._stats(scorer),
                "counts": counts,
                "primary": list(self.protocol.primary),
                "headline": [f"{scorer.label}.{key}" for key in scorer.metric.spec.headline],
                **({"boxes": True} if scorer.metric.spec.boxes else {}),
            }
            if silent:
                reason = "it answers in text, without boxes"
                about["not_applicable"] = True
            if reason is None:
                try:
                    rows, keys, gaps = self._score(scorer, slices)
                    about |= gaps
                except Exception as error:
                    reason = self._explain(error)
            # Last: a judge may have learnt which model answers.
            about |= {
                "read_by": self._read_by(scorer),
                "made_of": digest(self._made_of(system, scorer)),
                "inputs": self._inputs(system, scorer),
            }
            if reason is not None:
                keys = not_run(scorer, reason, self.patients, self.context)
                write_json(folder / "scores.json", {**about, "not_run": reason, "keys": keys})
                continue
            write_atomic(
                folder / "rows.npz", npz(self.references.ids, rows, clusters_of(self.patients))
            )
            digest_of_rows = file_digest(folder / "rows.npz")
            write_json(
                folder / "scores.json", {**about, "rows_sha256": digest_of_rows, "keys": keys}
            )

    def _score(self, scorer: Scorer, slices: RunPairs) -> tuple[Array, Json, Json]:
        """Rows, entries, and what is to be said of studies without a score."""
        cache = self.cache if needs_cache(scorer.annotators) else None
        rows, gaps = slices.rows(scorer, cache, self._notes, self.progress)
        return rows, score(scorer, rows, self.patients, self.context), gaps

    def _explain(self, error: Exception) -> str:
        """Why a metric or annotator failed. It costs its own scores and nothing else."""
        return explain(error, quote=self.cohort.card.data_class == "open")

    def _stats(self, scorer: Scorer) -> Json:
        """The interval recipe of a metric, as numbers that repeat it."""
        resampler = self.context.resampler(scorer, self.patients)
        recipe = self.protocol.interval_of(scorer.label)
        return asdict(self.stats) | {
            "seed": resampler.seed,
            "unit": resampler.unit,
            "recipe": recipe.recipe,
            "centre": recipe.centre,
        }

    def _reason(self, scorer: Scorer) -> str | None:
        """Why a metric is not run, or None."""
        broken = [self._unusable[a.id] for a in scorer.annotators if a.id in self._unusable]
        return scorer.not_run or "; ".join(broken) or None

    def _folder(self, system: System, scorer: Scorer) -> Path:
        return scores_dir(self.results_dir, self.cohort, system, self.protocol.name, scorer.label)

    def _stale(self, system: System, scorer: Scorer) -> bool:
        """Whether the scores on disk come from other inputs than these, or were touched."""
        inputs, folder = self._inputs(system, scorer), self._folder(system, scorer)
        if not (folder / "scores.json").is_file():
            return True
        rows = folder / "rows.npz"
        try:
            saved = read_json(folder / "scores.json")
        except ReportCardError:  # damaged: it can be made again
            return True
        if self._keeps(system, scorer, saved):
            return False
        judged = any(isinstance(a, JudgedAnnotator) for a in scorer.annotators)
        if saved.get("inputs") != inputs or saved.get("again") or (judged and self.rescore_judged):
            return True
        if "not_run" in saved:
            return False
        return not rows.is_file() or file_digest(rows) != saved.get("rows_sha256")

    def _keeps(self, system: System, scorer: Scorer, saved: Json) -> bool:
        """Whether what was scored before stays: only its reader is missing now (no key, no judge,
        weights moved away)."""
        reason = self._reason(scorer)
        made_of = digest(self._made_of(system, scorer))
        if reason is None or "rows_sha256" not in saved or saved.get("made_of") != made_of:
            return False
        if (system.folder, scorer.label) not in self._kept:
            self._kept.add((system.folder, scorer.label))
            self.say(f"  kept {scorer.label} of {system.label} as scored before; now: {reason}")
        return True

    def predictions_sha256(self, system: System) -> str:
        """Digest of a finished run's predictions. Raises ReportCardError when it is not finished,
        or when its predictions were changed afterwards."""
        if system.folder not in self._finished:
            source = predictions_dir(self.results_dir, self.cohort, system)
            if not is_done(source):
                raise ReportCardError(
                    f"{system.label} has no finished predictions on {self.cohort.name}."
                    " Run: reportcard predict with the same settings"
                )
            self._finished[system.folder] = read_json(source / "DONE")["predictions_sha256"]
        return self._finished[system.folder]

    def _made_of(self, system: System, scorer: Scorer) -> Json:
        """Everything that a score is made from, except who read the texts."""
        return {
            "cohort": self.cohort.fingerprint,
            "predictions": self.predictions_sha256(system),
            "metric": scorer.fingerprint,
            "text": self.context.text.name,
            "train": self.cohort.train_fingerprint if self.protocol.normalise != "none" else "",
            "sections": [list(self.protocol.sections), dict(self.protocol.labels)],
            "stats": self._stats(scorer),
            **({"caveat": self.context.caveat} if self.context.caveat else {}),
            # 3: a run with a text and without any phrase is narrative; phrase grounding has boxes
            **({"phrases": 3} if self.references.grounded else {}),
        }

    def _inputs(self, system: System, scorer: Scorer) -> str:
        """Digest of everything that a score is made from."""
        return digest(
            {
                **self._made_of(system, scorer),
                "read by": self._read_by(scorer),
                "not run": self._reason(scorer),
            }
        )

    @staticmethod
    def _read_by(scorer: Scorer) -> list[list[str]]:
        """Annotators with version and whole weights digest: other readers, other numbers."""
        return [[a.id, read_by(a, whole=True)] for a in scorer.annotators]

    def _slices(self, system: System) -> RunPairs:
        folder = predictions_dir(self.results_dir, self.cohort, system)
        return RunPairs(folder, self.references, self.slice_size)

    def _image_failures(self, system: System) -> Json:
        failures = image_failures(predictions_dir(self.results_dir, self.cohort, system))
        return {f"failed_image_{kind}": count for kind, count in failures.items()}
