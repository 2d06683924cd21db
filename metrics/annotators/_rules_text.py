"""Splits a report into words, sentences and clauses, and expands phrase patterns.

This part of the rules labeler (chexpert_rules.py) knows nothing about findings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

_TOKEN = re.compile(r"\d+\.\d+|[^\W_]+|[.,;:?!(]|(?<=\s)-(?=\s)")
_STOPS = frozenset(".;?!")
_LONGEST = 100  # words of a sentence; NegEx takes quadratic time, and nobody writes longer ones


def expand(phrase: str) -> list[str]:
    """Return all readings of a phrase with {a|b|} alternatives, which may be nested.

    >>> expand("{small |}effusion{|s}")
    ['small effusion', 'small effusions', 'effusion', 'effusions']
    """
    readings = _alternatives(iter(re.findall(r"[{}|]|[^{}|]+", phrase)))
    return [" ".join(reading.split()) for reading in readings]


def _alternatives(pieces: Iterator[str]) -> list[str]:
    """Readings up to the closing brace of this level, or the end."""
    done: list[str] = []
    current = [""]
    for piece in pieces:
        if piece == "}":
            break
        if piece == "|":
            done, current = done + current, [""]
        else:
            tails = _alternatives(pieces) if piece == "{" else [piece]
            current = [head + tail for head in current for tail in tails]
    return done + current


def words(text: str) -> list[str]:
    """Lower-case words, numbers, stops, opening brackets and spaced dashes.

    All other characters separate words.

    >>> words("Follow-up:\\x00 no effusion.")
    ['follow', 'up', ':', 'no', 'effusion', '.']
    """
    return _TOKEN.findall(text.lower())


def sentences(text: str) -> Iterator[list[str]]:
    """Yield the words of each sentence; one without a stop is cut after 100 words.

    >>> list(sentences("No effusion. Clear"))
    [['no', 'effusion', '.'], ['clear']]
    """
    current: list[str] = []
    for word in words(text):
        current.append(word)
        if word in _STOPS or len(current) == _LONGEST:
            yield current
            current = []
    if current:
        yield current


def clauses(found: Sequence[str], cues: Mapping[str, frozenset[str]]) -> list[int]:
    """Places of the commas, brackets, dashes, colons and "and"s after which a clause of its own
    begins, not an item of the list before."""
    marks = [
        i
        for i, word in enumerate(found)
        if word in (",", "(") or (word == "and" and i and found[i - 1] != ",")
    ]
    ends = [*marks[1:], len(found)]
    before = [0, *marks]
    commas = [
        mark
        for mark, end, last in zip(marks, ends, before, strict=False)
        if _is_clause(found, last, mark, end, cues)
    ]
    return sorted({*commas, *breaks(found, cues)})


def breaks(found: Sequence[str], cues: Mapping[str, frozenset[str]]) -> list[int]:
    """Places where something new begins for every cue: dashes, colons, and before "a versus b".

    A dash or colon is none where a list hangs on the word before ("negative for: …") or goes on
    behind ("- or …"). The comma before "opacity, atelectasis versus pneumonia" keeps the doubt of
    "versus" to the two that it compares.
    """
    places = [
        i
        for i, word in enumerate(found)
        if word in ("-", ":")
        and 0 < i < len(found) - 1
        and found[i - 1] not in cues["announces"]
        and found[i + 1] not in cues["joins"]
    ]
    for i, word in enumerate(found):
        if word in ("versus", "vs"):
            places += [j for j in range(i) if found[j] == ","][-1:]
    return sorted({*places})


def _is_clause(
    found: Sequence[str], last: int, mark: int, end: int, cues: Mapping[str, frozenset[str]]
) -> bool:
    """Whether found[mark:end] is a clause; found[last:mark] is what the comma ends."""
    part = [w for w in found[mark:end] if w not in _STOPS and w not in (",", "and", "(")]
    if len(part) < 2 or part[0] in cues["joins"]:
        return False
    is_list = not cues["joins"].isdisjoint(found[mark:])
    if found[mark] == "," and mark and found[mark - 1] in cues["answered"]:
        return True
    opens = part[0] in cues["opener"] and not is_list
    if opens or _has_verb(part, cues) or _judges_anatomy(part, cues):
        return True
    if found[mark] == "and" or is_list or cues["denies"].isdisjoint(found[last:mark]):
        return False
    placed = any(a == "in" and b in cues["place"] for a, b in pairwise(part))
    return placed or part[-1] in cues["closer"]


def _judges_anatomy(part: Sequence[str], cues: Mapping[str, frozenset[str]]) -> bool:
    """A part and its state without a verb: "heart mildly enlarged", "the lungs otherwise clear"."""
    words_left = [w for w in part if w not in cues["article"] and w not in cues["side"]]
    return (
        bool(words_left)
        and words_left[0] in cues["anatomy"]
        and not cues["state"].isdisjoint(words_left[1:])
    )


def _has_verb(part: Sequence[str], cues: Mapping[str, frozenset[str]]) -> bool:
    """A verb after its subject, other than the "is seen" that closes a list."""
    for i, word in enumerate(part):
        if i and word in cues["verb"]:
            rest = [w for w in part[i + 1 :] if w not in cues["adverb"]]
            if part[0] in cues["article"] or not (rest and rest[0] in cues["report"]):
                return True
    return False
