"""The signature of a score: one line to paste into a paper, so that the number can be repeated.

    bleu.bleu_4|v1|pycocoevalcap|tok:space|protocol:reportcard|text:none|sections:findings|
    ci:percentile95%,B=500,seed=0,by=patient|n:590|cohort:openi_findings@c9fa24e6

This module is the only one that writes such a line or takes it apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

AS_GIVEN = "as-given"  # sections, where the texts came from the user
LABELS = ("protocol", "text", "sections", "ci", "n", "cohort")  # of the last parts, in this order


@dataclass(frozen=True, slots=True)
class Signature:
    """The parts of a signature. A part that is None is not written.

    key       metric and key, "bleu.bleu_4"
    version   of the metric, "v1"
    variant   the metric's own words for its variant, then each annotator with its version
    protocol  how the text was prepared: the protocol, its normalisation (text) and sections;
              as-given: `evaluate` scored the texts that it got, and took no sections out of them
    ci        how the interval was drawn
    n         studies scored
    cohort    the cohort with its fingerprint
    """

    key: str
    version: str | None = None
    variant: tuple[str, ...] = ()
    protocol: str | None = None
    text: str | None = None
    sections: str | None = None
    ci: str | None = None
    n: str | None = None
    cohort: str | None = None

    @classmethod
    def parse(cls, line: str) -> Signature:
        """Take a signature apart; `parse(line).format()` is the line again.

        >>> Signature.parse("cider.cider_d|v1|n:4|sigma:6|protocol:rexrank|n:590").variant
        ('n:4', 'sigma:6')
        """
        key, *rest = line.split("|")
        labelled: dict[str, str] = {}
        while len(rest) > 1:  # from the end, as a variant may have a part n:4 of its own
            label, colon, value = rest[-1].partition(":")
            earlier = LABELS[: min((LABELS.index(name) for name in labelled), default=len(LABELS))]
            if not colon or label not in earlier:
                break
            labelled[label] = value
            rest.pop()
        return cls(key, rest[0] if rest else None, tuple(rest[1:]), **labelled)

    def format(self) -> str:
        """Write the signature in one line."""
        labelled = ((label, getattr(self, label)) for label in LABELS)
        parts = [self.key, self.version, *self.variant]
        parts += [f"{label}:{value}" for label, value in labelled if value is not None]
        return "|".join(part for part in parts if part is not None)

    def with_variant(self, *parts: str) -> Signature:
        """Return the same signature with more parts behind the variant."""
        return replace(self, variant=(*self.variant, *parts))
