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

from reportcard.annotate import Cache, attach, fill, items_of
from reportcard.api import Array, Json, JudgedAnnotator, Pair, Progress, Report, ReportCardError
from reportcard.predict.predictions_file import read_answers
from reportcard.score.normalise import report_text
from reportcard.score.references import References
from reportcard.score.scorer import Scorer, rows_of, try_again, unscored_reasons

Notes = Mapping[str, Mapping[Any, Json | None]]  # annotator id → item → note
SLICE = 20_000  # studies


@dataclass
class Slices:
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
            (noted,) = attach(scorer.annotators, [pairs], cache, progress, known)
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
            judge.id: fill(judge, self.pairs(), None, progress)
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
