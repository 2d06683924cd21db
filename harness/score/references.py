"""A cohort's references as a protocol reads them, and a report beside one of them."""

from __future__ import annotations

from dataclasses import dataclass

from reportcard.api import Pair, Phrase, Report, ReportCardError, Study
from reportcard.config.settings import Protocol
from reportcard.data.cohort import Cohort
from reportcard.score.normalise import Normaliser, normaliser, report_text

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
