"""Builds pairs with known errors: our own edits of our own findings sections (reports.yaml).

The six error types are those of CheXprompt (Zambrano Chaves et al., LLaVA-Rad, arXiv 2403.08002).
Only the type and the number of errors are known. Whether an error is clinically significant depends
on a patient, which an invented report does not have; so no audit grades how the judge splits errors
into significant and insignificant.

What each edit counts as:
    finding_added       A 1   a finding that the reference does not mention
    finding_omitted     B 1   a sentence with one positive finding is left out
    side_flipped        C 1   left ↔ right of one finding
    severity_changed    D 1   one adverb or adjective of size, degree or extent
    comparison_added    E 1   a change since a previous study that the reference does not describe
    comparison_dropped  F 1   the finding stays, its change since a previous study is left out
    negation_flipped    A 1   a finding that the reference denies is asserted, or
                        B 1   a finding that the reference asserts is denied; the candidate then
                              lacks it and asserts no other, so it only counts as omitted
    several_errors      the sum of two to four of these, in different sentences
    paraphrase          0     every sentence in other words
    identity            0     the reference itself
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from reportcard.api import Pair
from reportcard.core.files import digest

SOURCE = Path(__file__).with_name("reports.yaml")
VERSION = "1"  # of the rules above; the texts are covered by a digest
TYPES = {
    "A": "false positive finding",
    "B": "omitted finding",
    "C": "incorrect location",
    "D": "incorrect severity",
    "E": "false positive comparison",
    "F": "omitted comparison",
}
TYPE_OF = {
    "finding_added": "A",
    "finding_omitted": "B",
    "side_flipped": "C",
    "severity_changed": "D",
    "comparison_added": "E",
    "comparison_dropped": "F",
}
KINDS = (*TYPE_OF, "negation_flipped", "several_errors", "paraphrase", "identity")
FAITHFUL = ("paraphrase", "identity")


@dataclass(frozen=True)
class EditedPair:
    """A reference, its edited candidate, and the number of errors of each type A…F in it."""

    id: str
    base: str
    kind: str
    reference: str
    candidate: str
    truth: Mapping[str, int]

    @property
    def total(self) -> int:
        """The number of errors of all types."""
        return sum(self.truth.values())

    @property
    def pair(self) -> Pair:
        """The pair as a metric takes it."""
        return Pair(self.id, self.candidate, self.reference)


@dataclass(frozen=True)
class _Edit:
    kind: str
    at: int
    text: str
    type: str


@dataclass(frozen=True)
class _BaseReport:
    """One entry of reports.yaml, which explains the fields."""

    id: str
    findings: list[str]
    paraphrase: list[str]
    edits: list[Any]
    several: list[list[str]]


@cache
def edited_pairs() -> tuple[EditedPair, ...]:
    """Return all pairs, in the order of the file: identity, paraphrase, single edits, several."""
    from omegaconf import OmegaConf

    reports: Any = OmegaConf.to_container(OmegaConf.load(SOURCE))
    return tuple(pair for report in reports for pair in _pairs_of(_BaseReport(**report)))


@cache
def pairs_id() -> str:
    """Return the identity of the pairs, such as `171 pairs 1@0a1b2c3d`.

    It names their number, the version of the rules, and a digest of every text and count.
    """
    pairs = edited_pairs()
    content = [[p.id, p.kind, p.reference, p.candidate, dict(p.truth)] for p in pairs]
    return f"{len(pairs)} pairs {VERSION}@{digest(content)[:8]}"


def _pairs_of(report: _BaseReport) -> list[EditedPair]:
    findings, base = report.findings, report.id
    reference = " ".join(findings)
    number: Counter[str] = Counter()

    def pair(kind: str, candidate: Sequence[str], types: Sequence[str] = ()) -> EditedPair:
        number[kind] += 1
        truth = {letter: types.count(letter) for letter in TYPES}
        name = f"{base}.{kind}.{number[kind]}"
        return EditedPair(name, base, kind, reference, " ".join(candidate), truth)

    edits = [_edit(*entry) for entry in report.edits]
    together = [_chosen(edits, kinds) for kinds in report.several]
    return [
        pair("identity", findings),
        pair("paraphrase", report.paraphrase),
        *(pair(edit.kind, _edited(findings, [edit]), [edit.type]) for edit in edits),
        *(
            pair("several_errors", _edited(findings, several), [edit.type for edit in several])
            for several in together
        ),
    ]


def _edit(kind: str, at: int, text: str = "", error: str = "") -> _Edit:
    return _Edit(kind, at, text, error or TYPE_OF[kind])


def _chosen(edits: Sequence[_Edit], kinds: Sequence[str]) -> list[_Edit]:
    """Return the first edit of each named kind; for a kind that is named again, the next one."""
    left = list(edits)
    found = []
    for kind in kinds:
        found.append(next(edit for edit in left if edit.kind == kind))
        left.remove(found[-1])
    return found


def _edited(findings: Sequence[str], edits: Sequence[_Edit]) -> list[str]:
    """Return the sentences after the edits; no two edits are about the same sentence."""
    sentences = [[sentence] for sentence in findings]
    for edit in edits:
        if edit.kind == "finding_added":
            sentences[edit.at].append(edit.text)
        else:
            sentences[edit.at][0] = edit.text
    return [sentence for group in sentences for sentence in group if sentence]
