"""Labels the 14 CheXpert observations of a report by rules, without weights or a network.

The steps are those of the CheXpert labeler (Irvin et al., AAAI 2019): mention → negation →
uncertainty → aggregation. Negation is found by negspacy's NegEx (Chapman et al., J Biomed Inform
2001), uncertainty by a second NegEx with our own cues. All phrases are ours: chexpert_rules.yaml
beside this file.

A mention is a phrase that names the finding ("effusion"), a phrase that denies it ("lungs are
clear"), or anatomy with its nearest state in the sentence ("heart size … normal"; "enlarged …
cardiac silhouette"). Over the mentions of one observation positive wins, then uncertain, then
negative. No Finding is 1 when nothing but Support Devices is positive or uncertain, and no other
finding of chexpert-labeler's list (phrases/mention/no_finding.txt: "granuloma", "scoliosis", …) is.
So it is also 1 for a text that says nothing: an empty report earns No Finding.

Codes: 0 blank, 1 positive, 2 negative, 3 uncertain; No Finding 0 or 1. Their order is that of
LABELS in metrics/_label_f1.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reportcard.api import Json
from reportcard.metrics._label_f1 import BLANK, LABELS, NEGATIVE, POSITIVE, UNCERTAIN
from reportcard.metrics.annotators._report_layout import prose, words_of
from reportcard.metrics.annotators._rules_text import breaks, clauses, expand, sentences, words

if TYPE_CHECKING:
    from spacy.matcher import PhraseMatcher
    from spacy.tokens import Doc, Span
    from spacy.vocab import Vocab

PHRASES = Path(__file__).with_suffix(".yaml")
PACKAGES = ("spacy", "negspacy")
REACH_BEFORE = 4  # tokens between a state and the anatomy after it: "enlarged … silhouette"
REACH_AFTER = 14  # tokens between anatomy and the state after it: "heart … is … enlarged"
CARDIOMEGALY = LABELS.index("Cardiomegaly")
LINKS = frozenset(("is", "are", "was", "were", "appears", "appear", "remains", "remain", "now"))
NEGATED, UNSURE = "chexpert_rules_negated", "chexpert_rules_unsure"

# States compete with each other for a part; the longest phrase at a place wins.
_STATES = {"abnormal": POSITIVE, "borderline": UNCERTAIN, "normal": NEGATIVE, "unchanged": BLANK}


class _Tokenizer:
    """Gives `words` spaCy's tokenizer interface; a phrase or a sentence is one Doc."""

    def __init__(self, vocab: Vocab) -> None:
        self.vocab = vocab

    def doc(self, found: list[str]) -> Doc:
        from spacy.tokens import Doc

        return Doc(self.vocab, words=found, sent_starts=[i == 0 for i in range(len(found))])

    def __call__(self, text: str) -> Doc:
        return self.doc(words(text))

    def pipe(self, texts: Iterable[str]) -> Iterator[Doc]:
        return map(self, texts)


@dataclass(frozen=True, slots=True)
class _Mention:
    """The tokens start..end that mention a label, and their code without context."""

    label: int
    start: int
    end: int
    code: int


@dataclass(frozen=True)
class _Engine:
    """The matcher and the context rules, built once from the phrase file."""

    tokenizer: _Tokenizer
    matcher: PhraseMatcher
    contexts: tuple[Callable[[Doc], Doc], ...]
    names: dict[int, tuple[int, str]]
    vocabulary: frozenset[str]
    heart_failure: frozenset[str]

    def labels(self, text: str) -> list[int]:
        """Return the 14 codes of a text."""
        codes = [set[int]() for _ in LABELS]
        for sentence in sentences(prose(text, self.vocabulary)):
            for label, code in self._read(self.tokenizer.doc(sentence)):
                codes[label].add(code)
        # Mentions of other findings ("granuloma") were collected under No Finding: they deny it.
        found = [aggregate(c) for c in codes]
        pathology = (c for name, c in zip(LABELS, found, strict=True) if name != "Support Devices")
        found[-1] = int(not any(c in (POSITIVE, UNCERTAIN) for c in pathology))
        return found

    def _read(self, doc: Doc) -> Iterator[tuple[int, int]]:
        """The (label, code) of each mention of a sentence, with the context applied."""
        mentions = list(self._mentions(doc))
        # A phrase that is negative by itself stays so: we have no rule for "not clear".
        yield from ((m.label, m.code) for m in mentions if m.code == NEGATIVE)
        asserted = [m for m in mentions if m.code != NEGATIVE]
        if not asserted:
            return
        spans = [doc[m.start : m.end] for m in asserted]
        doc.spans["mentions"] = spans
        for context in self.contexts:
            context(doc)
        for mention, span in zip(asserted, spans, strict=True):
            code = _in_context(mention.code, span)
            yield mention.label, code
            if code != NEGATIVE and span.text in self.heart_failure:
                yield CARDIOMEGALY, UNCERTAIN

    def _mentions(self, doc: Doc) -> Iterator[_Mention]:
        by_label: dict[int, list[tuple[str, int, int]]] = {}
        for key, start, end in self.matcher(doc):
            label, kind = self.names[key]
            by_label.setdefault(label, []).append((kind, start, end))
        for label, hits in by_label.items():
            kept = _longest(hits)
            states = [hit for hit in kept if hit[0] in _STATES]
            for kind, start, end in kept:
                if kind == "found":
                    code = NEGATIVE if _is_normal(doc, end, states) else POSITIVE
                    yield _Mention(label, start, end, code)
                elif kind == "denied":
                    yield _Mention(label, start, end, NEGATIVE)
                elif kind == "parts":
                    state = _nearest(start, end, states)
                    if state and state[0] != "unchanged":
                        normal = _is_normal(doc, state[2], states)
                        code = NEGATIVE if normal else _STATES[state[0]]
                        yield _Mention(label, state[1], state[2], code)


def _in_context(code: int, span: Span) -> int:
    if span._.get(NEGATED):
        return NEGATIVE
    return UNCERTAIN if span._.get(UNSURE) else code


def aggregate(codes: set[int]) -> int:
    """Return one code for all mentions: positive, else uncertain, else negative, else blank."""
    return next((code for code in (POSITIVE, UNCERTAIN, NEGATIVE) if code in codes), BLANK)


def _longest(hits: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Keep hits that no longer hit overlaps: "pericardial effusion" hides its "effusion"."""
    kept: list[tuple[str, int, int]] = []
    taken: set[int] = set()
    for hit in sorted(hits, key=lambda h: (h[1] - h[2], h[1])):
        place = range(hit[1], hit[2])
        if taken.isdisjoint(place):
            taken.update(place)
            kept.append(hit)
    return kept


def _nearest(
    start: int, end: int, states: list[tuple[str, int, int]]
) -> tuple[str, int, int] | None:
    """The state that judges the anatomy at start..end: just before it, else the next after it."""
    judging = [s for s in states if s[0] != "unchanged"]
    before = [s for s in states if 0 <= start - s[2] < REACH_BEFORE]
    after = [s for s in judging if 0 <= s[1] - end < REACH_AFTER]
    adjacent = [s for s in judging if s[2] == start]
    if adjacent:
        return adjacent[0]
    if after:
        return min(after, key=lambda s: s[1])
    return max(before, key=lambda s: s[1], default=None)


def _is_normal(doc: Doc, end: int, states: list[tuple[str, int, int]]) -> bool:
    """Whether a finding is followed by its normal state: "engorgement is within normal limits"."""
    return any(
        kind == "normal" and end < start and all(t.text in LINKS for t in doc[end:start])
        for kind, start, _ in states
    )


def _phrases(entries: Iterable[str]) -> list[str]:
    return sorted({reading for entry in entries for reading in expand(entry) if reading})


def _build() -> _Engine:
    import spacy
    import yaml
    from negspacy.negation import Negex
    from spacy.matcher import PhraseMatcher

    data = yaml.safe_load(PHRASES.read_text(encoding="utf-8"))
    nlp = spacy.blank("en")
    nlp.tokenizer = _Tokenizer(nlp.vocab)
    matcher = PhraseMatcher(nlp.vocab, attr="ORTH")
    names = {}
    for name, kinds in data["observations"].items():
        for kind, entries in kinds.items():
            key = f"{kind}:{name}"
            if entries:
                matcher.add(key, [nlp.tokenizer(p) for p in _phrases(entries)])
            names[nlp.vocab.strings.add(key)] = (LABELS.index(name), kind)
    cues = {name: frozenset(expand(phrase)) for name, phrase in data["clauses"].items()}

    class Bounded(Negex):
        """NegEx whose cues also end their reach where `starts` says that something new begins."""

        starts: Callable[[Sequence[str], Mapping[str, frozenset[str]]], list[int]]

        def termination_boundaries(
            self, doc: Doc, terminating: list[tuple[int, int, int]]
        ) -> list[tuple[int, int]]:
            places = type(self).starts([token.text for token in doc], cues)
            return super().termination_boundaries(
                doc, terminating + [(0, place, place + 1) for place in places]
            )

    class Denials(Bounded):
        starts = staticmethod(clauses)

    class Doubts(Bounded):
        starts = staticmethod(breaks)

    contexts = tuple(
        engine(nlp, extension, _termset(data[section]), None, extension, None, ["mentions"])
        for engine, section, extension in (
            (Denials, "negation", NEGATED),
            (Doubts, "uncertainty", UNSURE),
        )
    )
    vocabulary = words_of(
        phrase
        for kinds in data["observations"].values()
        for entries in kinds.values()
        for phrase in _phrases(entries)
    )
    failure = frozenset(_phrases(data["heart failure"]))
    return _Engine(nlp.tokenizer, matcher, contexts, names, vocabulary, failure)


def _termset(cues: Json) -> dict[str, list[str]]:
    return {
        "pseudo_negations": _phrases(cues["unless"]),
        "preceding_negations": _phrases(cues["before"]),
        "following_negations": _phrases(cues["after"]),
        "termination": _phrases(cues["until"]),
    }


class CheXpertRules:
    """Labels texts: a note is {"labels": [14 codes]}."""

    id = "chexpert_rules"
    scope: Literal["text"] = "text"
    weights = None

    def __init__(self) -> None:
        self._engine: _Engine | None = None

    @cached_property
    def version(self) -> str:
        """Changes with the rules, the phrases and the engine, so that no stale note is read."""
        folder = Path(__file__).parent
        modules = ("chexpert_rules.py", "_rules_text.py", "_report_layout.py")
        parts = (*(folder / name for name in modules), PHRASES)
        code = b"".join(path.read_bytes() for path in parts)
        engine = "+".join(f"{name}{_installed(name)}" for name in PACKAGES)
        return f"2+{hashlib.sha256(code).hexdigest()[:12]}+{engine}"

    def missing(self) -> str | None:
        absent = [name for name in PACKAGES if not _installed(name)]
        if not absent:
            return None
        return f"{', '.join(absent)} missing, run: pip install 'cxr-reportcard[rules]'"

    def annotate(self, items: Sequence[Any]) -> Sequence[Json | None]:
        if self._engine is None:
            self._engine = _build()
        engine = self._engine
        return [{"labels": engine.labels(text)} for text in items]

    def close(self) -> None:
        self._engine = None


def _installed(package: str) -> str:
    try:
        return installed(package)
    except PackageNotFoundError:
        return ""
