"""A finished run's answers beside their references, a slice of studies at a time.

predictions.jsonl lies in cohort order, draw after draw. It is read from the front as often as it is
needed and never held, so a million pairs take the memory of one slice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
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
from reportcard.data.cohort import Cohort
from reportcard.predict.predictions_file import read_answers
from reportcard.score.normalise import Normaliser, normaliser, report_text
from reportcard.score.scorer import Scorer, rows_of, try_again, unscored_reasons

Notes = Mapping[str, Mapping[Any, Json | None]]  # annotator id → item → note
SLICE = 20_000  # studies
GROUNDED = ("grounded_findings", "phrase_grounding")  # tasks whose answer is phrases with boxes


@dataclass(frozen=True)
class References:
    """The studies that have a reference, in the cohort's order; normalised once for all runs.

    phrases   the findings one by one where the task is GROUNDED; None: the report is its text
    excluded  studies without a reference under this protocol
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
        """Raises ReportCardError when no study has a reference."""

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
        """Whether some reference comes in phrases."""
        return any(phrases is not None for phrases in self.phrases)

    def pair(self, index: int, report: Report, grounded: bool) -> Pair:
        """A report beside the reference of a study. grounded: the run's answers come in phrases."""
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
    """The pairs of one run. folder: where its predictions.jsonl lies."""

    folder: Path
    references: References
    size: int = SLICE

    @cached_property
    def counts(self) -> Json:
        """Studies by what became of them in the first draw, and how varied its texts are."""
        failed = empty = answers = 0
        texts: set[bytes] = set()  # digests: a million texts would be held otherwise
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
        """Whether the answers are read by their phrases. A run is narrative, and its text is read,
        iff at least one answer has text and none has a phrase. In any other run an answer without
        phrases found nothing: one in which every study failed scores 0."""
        if not self.references.grounded:
            return False
        text = False
        for _, _, report, _ in read_answers(self.folder):
            if report.phrases:
                return True
            text = text or bool(report.text(("findings", "impression")).strip())
        return not text

    def __call__(self, whole: bool = False) -> Iterator[tuple[int, int, list[Pair]]]:
        """(draw, number of the first study, pairs), draw after draw in the references' order.

        whole: all pairs of a draw at once, for a metric whose rows depend on each other.
        """
        n = len(self.references.ids)
        size = n if whole else self.size
        grounded, pairs = self.grounded, list[Pair]()
        draw = 0
        for index, draw, report, _ in self._answers():
            pairs.append(self.references.pair(index, report, grounded))
            if len(pairs) == size or index == n - 1:
                yield draw, index + 1 - len(pairs), pairs
                pairs = []

    def pairs(self) -> Iterator[Pair]:
        """One by one, of every draw."""
        for _, _, part in self():
            yield from part

    def rows(
        self, scorer: Scorer, cache: Cache | None, known: Notes, progress: Progress
    ) -> tuple[Array, Json]:
        """A metric's rows (draws, n, k), and what is to be said of studies without a score.

        cache, known: where notes lie. Raises whatever an annotator or the metric raises.
        """
        known = {**known, **self._judged(scorer, known, progress)}
        rows: Array | None = None
        unscored: dict[str, str] = {}
        again = False
        for draw, start, pairs in self(whole=scorer.metric.spec.whole_corpus):
            (noted,) = attach_notes(scorer.annotators, [pairs], cache, progress, known)
            part = rows_of(scorer, noted)
            if rows is None:
                shape = (self.counts["draws"], len(self.references.ids), part.shape[1])
                rows = np.empty(shape, part.dtype)
            rows[draw, start : start + len(part)] = part
            unscored |= unscored_reasons(noted, part)
            again = again or try_again(noted)
        assert rows is not None  # a cohort has a study
        return rows, {
            **({"unscored": unscored} if unscored else {}),
            **({"again": True} if again else {}),
        }

    def _judged(self, scorer: Scorer, known: Notes, progress: Progress) -> Notes:
        """Verdicts that are not known yet: a judge is asked for all of a run at once."""
        return {
            judge.id: annotate_pairs(judge, self.pairs(), None, progress)
            for judge in scorer.annotators
            if isinstance(judge, JudgedAnnotator)
            and any(i not in known.get(judge.id, ()) for i in items_of(judge, self.pairs()))
        }

    def _answers(self) -> Iterator[tuple[int, int, Report, str]]:
        """(number of the study, draw, report, status) of the studies that have a reference."""
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
                f"{self.folder / 'predictions.jsonl'} does not hold the cohort's studies in order:"
                f" {ids[index]} is missing in draw {draw}. Delete {self.folder} and run again."
            )
