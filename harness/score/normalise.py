"""Normalises texts before they are scored, as the protocol says; signatures name the way.

none     texts stay as they are
r2gen    the clean-up of R2Gen and the papers that follow it (zhjohnchan/R2Gen
         modules/tokenizers.py), whose references are also cut and mapped to a vocabulary
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from reportcard.api import Report, ReportCardError
from reportcard.config.settings import Protocol

UNKNOWN = "<unk>"
# R2Gen's character class has a range from ":" to "[", so it takes ":;<=>?@[" and leaves "-".
R2GEN_DROPPED = str.maketrans("", "", ".,?;*!%^&_+():<=>@[]{}")
R2GEN_QUOTES = str.maketrans("", "", "\"/\\'")


@dataclass(frozen=True)
class Normaliser:
    """A way to normalise candidates and references, and its name for signatures."""

    name: str
    candidate: Callable[[str], str]
    reference: Callable[[str], str]


def report_text(protocol: Protocol, report: Report, missing: str | None = None) -> str:
    """Return the text of a report that a protocol scores; "" when all its sections are empty.

    missing: the word behind the label of an absent or empty section; None leaves the label out
    too. (Open-I and tables do not tell absent from empty: both are "" there.) ReXrank's references
    have the literal word None there (example_files/evaluation_script.md).
    """
    if not protocol.labels or not report.text(protocol.sections).strip():
        return report.text(protocol.sections)
    parts = {name: getattr(report, name) or missing for name in protocol.sections}
    return " ".join(f"{protocol.labels[name]} {part}" for name, part in parts.items() if part)


def normaliser(protocol: Protocol, train: Sequence[str] | None) -> Normaliser:
    """Return the protocol's normaliser.

    train: reference texts of the training split, for a protocol that needs them. Raises
    ReportCardError for an unknown name, or when training reports are needed and missing.
    """
    if protocol.normalise == "none":
        return Normaliser("none", str, str)
    if protocol.normalise != "r2gen":
        raise ReportCardError(
            f"Protocol {protocol.name}: unknown normalisation '{protocol.normalise}';"
            " there are none, r2gen."
        )
    if not train:
        raise ReportCardError(
            f"Protocol {protocol.name} maps words that are rare in the train reports to {UNKNOWN},"
            " so it needs those reports: give --train FILE (or a cohort with a train part)."
        )
    dataset = str(protocol.options["dataset"])
    least, most = int(protocol.options["min_count"]), int(protocol.options["max_words"])
    known = r2gen_vocabulary(train, least, dataset)

    def reference(text: str) -> str:
        words = r2gen_clean(text, dataset).split()[:most]
        return " ".join(word if word in known else UNKNOWN for word in words)

    return Normaliser(
        name=f"r2gen:{dataset},min_count={least},max_words={most}",
        candidate=lambda text: " ".join(r2gen_clean(text, dataset).split()),
        reference=reference,
    )


def r2gen_vocabulary(train: Iterable[str], min_count: int, dataset: str) -> frozenset[str]:
    """Return the words that occur at least min_count times in the cleaned training reports."""
    counts = Counter(word for text in train for word in r2gen_clean(text, dataset).split())
    return frozenset(word for word, count in counts.items() if count >= min_count)


def r2gen_clean(text: str, dataset: str = "iu_xray") -> str:
    """Clean a report as R2Gen does: lower case, no enumeration or punctuation, " ." ends sentences.

    dataset: "iu_xray" or "mimic_cxr" (which first removes line breaks, runs of "_" and of blanks).
    An empty text stays empty; upstream makes a lone "." of it, which would match every report.

    >>> r2gen_clean("1. Heart size normal. 2. Lungs (clear).")
    'heart size normal . lungs clear .'
    """
    if not text.strip():
        return ""
    halvings = 3
    if dataset == "mimic_cxr":
        text = re.sub("_+", "_", text.replace("\n", " "))
        text = _halve(text, "  ", 6)
        halvings = 5
    elif dataset != "iu_xray":
        raise ReportCardError(f"R2Gen's clean-up knows iu_xray and mimic_cxr, not '{dataset}'.")
    text = _halve(text, "..", halvings).replace("1. ", "")
    for pattern in (". {}. ", " {}. "):
        for number in "2345":
            text = text.replace(pattern.format(number), ". ")
    sentences = text.strip().lower().split(". ")
    cleaned = (s.translate(R2GEN_QUOTES).strip().translate(R2GEN_DROPPED) for s in sentences)
    # Upstream keeps inner blanks here, and they are lost when it splits texts into words.
    return " ".join((" . ".join(cleaned) + " .").split())


def _halve(text: str, double: str, times: int) -> str:
    """Replace each double character by a single one, `times` times."""
    for _ in range(times):
        text = text.replace(double, double[0])
    return text
