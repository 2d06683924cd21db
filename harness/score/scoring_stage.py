"""Stage 4: writes the scores of a cohort's runs, and only those that are missing or stale.

scores/<cohort>@<fp8>/<label>@<fp8>/<protocol>/<metric>/
    rows.npz      ids (n,); rows (draws, n, k) float64, a NaN row is unscored; clusters (n,), the
                  number of each study's patient, where a patient has several studies
    scores.json   value, interval, n, unscored and signature per key, and the reason for each
                  unscored study; for a metric that could not run, `not_run` with the reason
details.json lies beside the metrics (details/update.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from reportcard.annotate import Cache, annotate_pairs, needs_cache
from reportcard.api import (
    Annotator,
    Array,
    Custody,
    Json,
    JudgedAnnotator,
    Progress,
    ReportCardError,
)
from reportcard.config.settings import Protocol, Stats
from reportcard.core.files import digest, file_digest, read_json, write_atomic, write_json
from reportcard.core.layout import (
    PredictionFolder,
    Results,
    RunId,
    ScoreFolder,
    cache_folder,
    notes_file,
)
from reportcard.core.progress import quiet
from reportcard.data.cohort import Cohort
from reportcard.predict.engines.engine import Engine
from reportcard.predict.engines.failures import explain
from reportcard.predict.predictions_file import DoneFile, image_failures, is_done
from reportcard.predict.system import System
from reportcard.score.details import update as details
from reportcard.score.pairs import SLICE, References, RunPairs
from reportcard.score.rows_file import npz
from reportcard.score.scorer import Scorer, ScoringContext, not_run, read_by, score
from reportcard.score.stats.resampling import clusters_of


@dataclass
class Scoring:
    """Scores the runs of one cohort: references are normalised once, weights are drawn once.

    Pairs, notes and rows are made a slice of studies at a time, and only the rows are kept. A
    metric whose spec says `whole_corpus` gets all pairs of a draw at once, in memory.

    engine          where annotators run; None: in this process
    slice_size      studies at a time; the files do not depend on it
    rescore_judged  score judged metrics even if fresh: `judge.record` wants their verdicts
    """

    results_dir: Path
    cohort: Cohort
    protocol: Protocol
    stats: Stats
    scorers: Sequence[Scorer]
    progress: Progress = quiet
    say: Callable[[str], None] = print
    engine: Engine | None = None
    slice_size: int = SLICE
    rescore_judged: bool = False
    _notes: dict[str, dict[Any, Json | None]] = field(default_factory=dict)  # of judges, by id
    _unusable: dict[str, str] = field(default_factory=dict)  # annotator id → what is wrong
    _kept: set[tuple[str, str]] = field(default_factory=set)  # (run folder, metric), said once
    _finished: dict[str, str] = field(default_factory=dict)  # run folder → predictions' sha256

    def __post_init__(self) -> None:
        self.results = Results(self.results_dir)
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
        return Cache(notes_file(self.cache_dir))

    @property
    def cache_dir(self) -> Path:
        return cache_folder(self.results.cache, self.cohort.card)

    def _admit(self) -> None:
        """Let each judge check whether it may see these texts; if not, it is unusable."""
        custody = Custody(self.cohort.card, self.cache_dir, self.progress, self.say)
        for annotator in self._annotators():
            if not isinstance(annotator, JudgedAnnotator) or annotator.missing():
                continue
            try:
                annotator.admit(custody)
            except ReportCardError as error:
                self._unusable[annotator.id] = str(error)

    def _annotators(self) -> Iterator[Annotator]:
        yield from {a.id: a for s in self.scorers for a in s.annotators}.values()

    def annotate(self, systems: Sequence[System]) -> None:
        """Make every note that stale scores of these runs need, each annotator loaded once.

        The metrics of an annotator whose weights turn out to be unusable become *not run*.
        """
        for annotator in self._annotators():
            if annotator.id in self._unusable:
                continue
            readers = [s for s in self.scorers if annotator in s.annotators and not s.not_run]
            wanted = [system for system in systems if any(self._stale(system, s) for s in readers)]
            pairs = (pair for system in wanted for pair in self._pairs(system))
            try:
                if wanted and isinstance(annotator, JudgedAnnotator):
                    # Kept, so that a judge that is down is waited for once and not once per model.
                    notes = annotate_pairs(annotator, pairs, None, self.progress)
                    self._notes[annotator.id] = notes
                elif wanted:
                    annotate_pairs(annotator, pairs, self.cache, self.progress, self.engine)
            except Exception as error:
                self._unusable[annotator.id] = self._explain(error)

    def run(self, system: System) -> int:
        """Score one finished run; return how many score files were written."""
        stale = [scorer for scorer in self.scorers if self._stale(system, scorer)]
        pairs = self._pairs(system)
        for scorer in stale:
            self._write(system, scorer, pairs)
        run = self._run_id(system)
        details.update(self.results, run, self.cohort, self.references, self.context, self.scorers)
        return len(stale)

    def _write(self, system: System, scorer: Scorer, pairs: RunPairs) -> None:
        """Score one metric of one run and write its files."""
        reason, folder = self._reason(scorer), self._folder(system, scorer)
        about = self._about(system, scorer, pairs)
        if reason is None and scorer.metric.spec.boxes and not pairs.grounded:
            reason = "it answers in text, without boxes"
            about["not_applicable"] = True
        if reason is None:
            try:
                rows, keys, unscored = self._score(scorer, pairs)
                about |= unscored
            except Exception as error:
                reason = self._explain(error)
        # After scoring, as a judge may have learnt only then which model answers.
        about |= {
            "read_by": self._read_by(scorer),
            "made_of": digest(self._made_of(system, scorer)),
            "inputs": self._inputs(system, scorer),
        }
        if reason is not None:
            about["not_run"] = reason
            keys = not_run(scorer, reason, self.patients, self.context)
        else:
            write_atomic(folder.rows, npz(self.references.ids, rows, clusters_of(self.patients)))
            about["rows_sha256"] = file_digest(folder.rows)
        write_json(folder.scores, {**about, "keys": keys})

    def _about(self, system: System, scorer: Scorer, pairs: RunPairs) -> Json:
        """Return the part of scores.json that is written whether a metric can run or not."""
        failures = image_failures(self._predictions(system).path)
        spec = scorer.metric.spec
        return {
            "metric": scorer.label,
            "metric_fingerprint": scorer.fingerprint,
            "protocol": self.protocol.name,
            "cohort": self.cohort.name,
            "cohort_fingerprint": self.cohort.fingerprint,
            "model": system.label,
            "model_fingerprint": system.fingerprint,
            "stats": self._stats(scorer),
            "counts": {
                **pairs.counts,
                **{f"failed_image_{kind}": count for kind, count in failures.items()},
            },
            "primary": list(self.protocol.primary),
            "headline": [f"{scorer.label}.{key}" for key in spec.headline],
            **({"boxes": True} if spec.boxes else {}),
        }

    def _score(self, scorer: Scorer, pairs: RunPairs) -> tuple[Array, Json, Json]:
        """Return rows, entries per key, and the part of scores.json on unscored studies."""
        cache = self.cache if needs_cache(scorer.annotators) else None
        rows, unscored = pairs.rows(scorer, cache, self._notes, self.progress)
        return rows, score(scorer, rows, self.patients, self.context), unscored

    def _explain(self, error: Exception) -> str:
        """Say why a metric or annotator failed. That costs its own scores and nothing else."""
        return explain(error, quote=self.cohort.card.data_class == "open")

    def _stats(self, scorer: Scorer) -> Json:
        """Return the interval recipe of a metric, as numbers that repeat it."""
        resampler = self.context.resampler(scorer, self.patients)
        recipe = self.protocol.interval_of(scorer.plugin)
        return asdict(self.stats) | {
            "seed": resampler.seed,
            "unit": resampler.unit,
            "recipe": recipe.recipe,
            "centre": recipe.centre,
        }

    def _reason(self, scorer: Scorer) -> str | None:
        """Say why a metric is not run; None where it can run."""
        broken = [self._unusable[a.id] for a in scorer.annotators if a.id in self._unusable]
        return scorer.not_run or "; ".join(broken) or None

    def _run_id(self, system: System) -> RunId:
        return RunId(self.cohort.folder, system.folder, self.protocol.name)

    def _folder(self, system: System, scorer: Scorer) -> ScoreFolder:
        return self.results.metric(self._run_id(system), scorer.label)

    def _predictions(self, system: System) -> PredictionFolder:
        return self.results.predictions(self.cohort.folder, system.folder)

    def _pairs(self, system: System) -> RunPairs:
        return RunPairs(self._predictions(system).path, self.references, self.slice_size)

    def _stale(self, system: System, scorer: Scorer) -> bool:
        """Whether the scores on disk are absent, damaged, changed, or made from other inputs."""
        inputs, folder = self._inputs(system, scorer), self._folder(system, scorer)
        if not folder.scores.is_file():
            return True
        try:
            saved = read_json(folder.scores)
        except ReportCardError:  # damaged: it can be made again
            return True
        if self._keeps(system, scorer, saved):
            return False
        judged = any(isinstance(a, JudgedAnnotator) for a in scorer.annotators)
        if saved.get("inputs") != inputs or saved.get("again"):
            return True
        if judged and self.rescore_judged:
            return True
        if "not_run" in saved:
            return False
        return not folder.rows.is_file() or file_digest(folder.rows) != saved.get("rows_sha256")

    def _keeps(self, system: System, scorer: Scorer, saved: Json) -> bool:
        """Whether earlier scores stay, because all that is missing now is what read the texts.

        That is so without a key, without a judge, or where weights were moved away.
        """
        reason = self._reason(scorer)
        made_of = digest(self._made_of(system, scorer))
        if reason is None or "rows_sha256" not in saved or saved.get("made_of") != made_of:
            return False
        if (system.folder, scorer.label) not in self._kept:
            self._kept.add((system.folder, scorer.label))
            self.say(f"  kept {scorer.label} of {system.label} as scored before; now: {reason}")
        return True

    def predictions_sha256(self, system: System) -> str:
        """Return the digest of a finished run's predictions.

        Raises ReportCardError when the run is not finished, or when its predictions were changed
        afterwards.
        """
        if system.folder not in self._finished:
            source = self._predictions(system)
            if not is_done(source.path):
                raise ReportCardError(
                    f"{system.label} has no finished predictions on {self.cohort.name}."
                    " Run: reportcard predict with the same settings"
                )
            self._finished[system.folder] = DoneFile.read(source.done).predictions_sha256
        return self._finished[system.folder]

    def _made_of(self, system: System, scorer: Scorer) -> Json:
        """Return everything that a score is made from, except what read the texts."""
        return {
            "cohort": self.cohort.fingerprint,
            "predictions": self.predictions_sha256(system),
            "metric": scorer.fingerprint,
            "text": self.context.text.name,
            "train": self.cohort.train_fingerprint if self.protocol.normalise != "none" else "",
            "sections": [list(self.protocol.sections), dict(self.protocol.labels)],
            "stats": self._stats(scorer),
            **({"caveat": self.context.caveat} if self.context.caveat else {}),
            # A version of the rules that decide which runs answer in phrases (RunPairs.grounded).
            **({"phrases": 3} if self.references.grounded else {}),
        }

    def _inputs(self, system: System, scorer: Scorer) -> str:
        """Return the digest of everything that a score is made from."""
        return digest(
            {
                **self._made_of(system, scorer),
                "read by": self._read_by(scorer),
                "not run": self._reason(scorer),
            }
        )

    @staticmethod
    def _read_by(scorer: Scorer) -> list[list[str]]:
        """Return each annotator with its version and the whole digest of its weights."""
        return [[a.id, read_by(a, whole=True)] for a in scorer.annotators]
