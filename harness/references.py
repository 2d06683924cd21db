"""A cohort's references as a protocol reads them, and a run's reports beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.api import Json, Pair, Phrase, Report, ReportCardError, Study
from harness.cohort import Cohort
from harness.settings import Protocol
from harness.text import Normaliser, normaliser, report_text

Answers = Mapping[str, tuple[Report, str]]  # study_id → report, status: one draw of a run


@dataclass(frozen=True)
class References:
    """The studies that have a reference, in the cohort's order; normalised once for all runs.

    phrases   the findings one by one where that is the task; None: the report is its text
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
                study.reference.phrases if study.request.task == "grounded_findings" else None
                for study in kept
            ),
            tuple(study.patient_id for study in kept),
            len(cohort.test) - len(kept),
        )

    @property
    def grounded(self) -> bool:
        """Whether some reference comes in phrases."""
        return any(phrases is not None for phrases in self.phrases)

    def runs(self, draws: Sequence[Answers]) -> list[list[Pair]]:
        """Each draw's reports beside their references.

        A run in which not one answer has a phrase is narrative: its text is read. In a run that
        grounds, an answer without phrases found nothing.
        """
        narrative = not any(report.phrases for draw in draws for report, _ in draw.values())
        return [self._pairs(answers, narrative) for answers in draws]

    def _pairs(self, answers: Answers, narrative: bool) -> list[Pair]:
        return [
            Pair(
                study_id,
                self.text.candidate(report_text(self.protocol, answers[study_id][0])),
                reference,
                candidate_phrases=(
                    None if phrases is None or narrative else answers[study_id][0].phrases
                ),
                reference_phrases=phrases,
            )
            for study_id, reference, phrases in zip(self.ids, self.texts, self.phrases, strict=True)
        ]

    def counts(self, draws: Sequence[Answers]) -> Json:
        """Studies by what became of them in the first draw, and how varied its texts are."""
        first = draws[0]
        texts = [report_text(self.protocol, first[study_id][0]) for study_id in self.ids]
        return {
            "cohort": len(self.ids) + self.excluded,
            "excluded_empty_reference": self.excluded,
            "evaluated": len(self.ids),
            "failed": sum(first[study_id][1] == "failed" for study_id in self.ids),
            "empty_candidates": sum(not text.strip() for text in texts),
            "unique_candidates": len(set(texts)),
            "draws": len(draws),
        }
