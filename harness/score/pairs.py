"""Pairs a finished run's answers with the cohort's references, and computes a metric's rows.

predictions.jsonl is in cohort order, draw after draw. It is read from the front as often as it is
needed, a slice of studies at a time, so a million pairs take the memory of one slice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from reportcard.annotate import Cache, annotate_pairs, attach_notes, items_of
from reportcard.api import (
    Array,
    Json,
    JudgedAnnotator,
    Pair,
    Phrase,
    Progress,
    Report,
    ReportCardError,
    Study,
)
from reportcard.config.settings import Protocol
from reportcard.core.layout import PredictionFolder
from reportcard.data.cohort import Cohort
from reportcard.predict.predictions_file import read_answers
from reportcard.score.normalise import Normaliser, normaliser, report_text
from reportcard.score.scorer import Scorer

Notes = Mapping[str, Mapping[Any, Json | None]]  # annotator id → item → note
SLICE = 20_000  # studies
GROUNDED = ("grounded_findings", "phrase_grounding")  # tasks whose answer is phrases with boxes


@dataclass(frozen=True)
class References:
    """The references of a cohort as a protocol reads them, normalised once for all runs.

    Studies without a reference are left out; the others stay in the cohort's order.

    phrases   the findings one by one where the task is GROUNDED; None: the report is a text
    excluded  how many studies have no reference under this protocol
    """

    protocol: Protocol
    text: Normaliser
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    phrases: tuple[tuple[Phrase, ...] | None, ...]
    patients: tuple[str, ...]
    excluded: int

    @classmethod
    def of(cls, cohort: Cohort, protocol: Protocol) -> References:
        """Prepare the references of a cohort. Raises ReportCardError when no study has one."""

        def raw(study: Study) -> str:
            return report_text(protocol, study.reference, missing="None")

        text = normaliser(protocol, [raw(study) for study in cohort.train])
        kept = [study for study in cohort.test if raw(study).strip()]
        if not kept:
            sections = ", ".join(protocol.sections)
            raise ReportCardError(f"{cohort.name}: every reference is empty in {sections}.")
        return cls(
            protocol,
            text,
            tuple(study.study_id for study in kept),
            tuple(text.reference(raw(study)) for study in kept),
            tuple(
                study.reference.phrases if study.request.task in GROUNDED else None
                for study in kept
            ),
            tuple(study.patient_id for study in kept),
            len(cohort.test) - len(kept),
        )

    @property
    def grounded(self) -> bool:
        """Whether some reference is a list of phrases."""
        return any(phrases is not None for phrases in self.phrases)

    def pair(self, index: int, report: Report, grounded: bool) -> Pair:
        """Put a report beside the reference of a study. grounded: the run answers in phrases."""
        phrases = self.phrases[index]
        return Pair(
            self.ids[index],
            self.text.candidate(report_text(self.protocol, report)),
            self.texts[index],
            candidate_phrases=report.phrases if grounded and phrases is not None else None,
            reference_phrases=phrases,
        )


@dataclass
class RunPairs:
    """The candidate–reference pairs of one run; iterating gives them one by one, draw after draw.

    folder  the run's folder of predictions
    size    studies in a slice
    """

    folder: Path
    references: References
    size: int = SLICE

    def __iter__(self) -> Iterator[Pair]:
        for _, _, pairs in self.slices():
            yield from pairs

    def slices(self, whole: bool = False) -> Iterator[tuple[int, int, list[Pair]]]:
        """Yield (draw, number of the first study, pairs), draw after draw in the references' order.

        whole: all pairs of a draw at once, for a metric whose rows depend on each other.
        """
        n = len(self.references.ids)
        size = n if whole else self.size
        grounded, pairs = self.grounded, list[Pair]()
        for index, draw, report, _ in self._answers():
            pairs.append(self.references.pair(index, report, grounded))
            if len(pairs) == size or index == n - 1:
                yield draw, index + 1 - len(pairs), pairs
                pairs = []

    def rows(
        self, scorer: Scorer, cache: Cache | None, known: Notes, progress: Progress
    ) -> tuple[Array, Json]:
        """Compute a metric's rows (draws, n, k), and the part of scores.json on unscored studies.

        Args:
            scorer: the metric with its annotators.
            cache: holds notes; None where the annotators are judges only.
            known: notes that were made a moment ago.
            progress: shows progress.

        Raises what an annotator or the metric raises.
        """
        known = {**known, **self._judged(scorer, known, progress)}
        rows: Array | None = None
        unscored: dict[str, str] = {}
        again = False
        for draw, start, pairs in self.slices(whole=scorer.metric.spec.whole_corpus):
            if scorer.annotators:
                (pairs,) = attach_notes(scorer.annotators, [pairs], cache, progress, known)
            part = rows_of(scorer, pairs)
            if rows is None:
                shape = (self.counts["draws"], len(self.references.ids), part.shape[1])
                rows = np.empty(shape, part.dtype)
            rows[draw, start : start + len(part)] = part
            unscored |= unscored_reasons(pairs, part)
            again = again or try_again(pairs)
        assert rows is not None  # a cohort has a study
        return rows, {
            **({"unscored": unscored} if unscored else {}),
            **({"again": True} if again else {}),
        }

    @cached_property
    def counts(self) -> Json:
        """Count the studies by status in the first draw, and its different texts."""
        failed = empty = answers = 0
        texts: set[bytes] = set()  # digests, so that a million texts are not held
        for _, _, report, status in self._answers():
            answers += 1
            if answers > len(self.references.ids):
                continue
            text = report_text(self.references.protocol, report)
            failed += status == "failed"
            empty += not text.strip()
            raw = text.encode("utf-8", "surrogatepass")
            texts.add(hashlib.blake2b(raw, digest_size=16).digest())
        evaluated, excluded = len(self.references.ids), self.references.excluded
        return {
            "cohort": evaluated + excluded,
            "excluded_empty_reference": excluded,
            "evaluated": evaluated,
            "failed": failed,
            "empty_candidates": empty,
            "unique_candidates": len(texts),
            "draws": answers // evaluated,
        }

    @cached_property
    def grounded(self) -> bool:
        """Whether this run answers in phrases with boxes, and not in narrative text.

        A run is narrative if at least one answer has text and none has a phrase. In any other run
        an answer without phrases means that nothing was found, so a run in which every study
        failed scores 0.
        """
        if not self.references.grounded:
            return False
        text = False
        for _, _, report, _ in read_answers(self.folder):
            if report.phrases:
                return True
            text = text or bool(report.text(("findings", "impression")).strip())
        return not text

    def _judged(self, scorer: Scorer, known: Notes, progress: Progress) -> Notes:
        """Ask the judges for verdicts that are not known yet, for the whole run at once."""
        return {
            judge.id: annotate_pairs(judge, self, None, progress)
            for judge in scorer.annotators
            if isinstance(judge, JudgedAnnotator)
            and any(item not in known.get(judge.id, ()) for item in items_of(judge, self))
        }

    def _answers(self) -> Iterator[tuple[int, int, Report, str]]:
        """Yield (number of the study, draw, report, status) where the study has a reference.

        Raises ReportCardError where the file does not hold the cohort's studies in order.
        """
        ids = self.references.ids
        index = draw = 0
        for study_id, number, report, status in read_answers(self.folder):
            if study_id == ids[index] and number == draw:
                yield index, draw, report, status
                index += 1
                if index == len(ids):
                    index, draw = 0, draw + 1
        if index or not draw:
            raise ReportCardError(
                f"{PredictionFolder(self.folder).log} does not hold the cohort's studies in order:"
                f" {ids[index]} is missing in draw {draw}. Delete {self.folder} and run again."
            )


def rows_of(scorer: Scorer, pairs: Sequence[Pair]) -> Array:
    """Compute one row per pair, (n, k).

    A pair's row does not depend on the other pairs, except where the metric's spec says
    `whole_corpus`.

    Raises ReportCardError when a metric breaks its contract (wrong shape, infinite values).
    """
    rows = scorer.metric.rows(pairs)
    if rows.ndim != 2 or len(rows) != len(pairs):
        raise ReportCardError(
            f"metric {scorer.label}: rows() gave shape {rows.shape} for {len(pairs)} pairs;"
            " it must give one row per pair."
        )
    if np.isinf(rows).any():
        raise ReportCardError(f"metric {scorer.label}: rows() gave an infinite value.")
    return rows


def unscored_reasons(pairs: Sequence[Pair], rows: Array) -> dict[str, str]:
    """Return study_id → why it has no score, for each pair whose row is NaN."""
    return {
        pair.study_id: unscored_reason(pair) or "the metric gave no row"
        for pair, bad in zip(pairs, np.asarray(np.isnan(rows).any(axis=1)), strict=True)
        if bad
    }


def unscored_reason(pair: Pair) -> str | None:
    """Return the first reason that a note of the pair gives; None where none does."""
    for name, notes in pair.notes.items():
        for note in notes:
            if note is not None and "unscored" in note:
                return str(note["unscored"])
        if notes[0] is None:
            return f"{name} could not read it"
    return None


def try_again(pairs: Iterable[Pair]) -> bool:
    """Whether some note is missing only for now, as a judge was down or its budget was spent."""
    notes = (note for pair in pairs for both in pair.notes.values() for note in both)
    return any(note is not None and note.get("again") for note in notes)
