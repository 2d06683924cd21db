"""Finds reports that compare with an earlier study, by phrase rules of our own.

A model that was given no prior cannot know that something is unchanged, new or improved, but models
trained on reports that compare write so all the same. A report compares if one of RULES matches
what remains after the phrases of NO_COMPARISON are removed ("no prior studies are available",
"clinically stable"). Words that need no second study do not count: "chronic", "increased markings",
"prior sternotomy".

The rules are not validated against radiologists, and they read wording, not meaning. So the share
that they find in the radiologists' own reports is shown beside a model's.
"""

from __future__ import annotations

import re
from functools import lru_cache

VERSION = 1
STUDY = (
    r"(?:chest |portable |frontal |lateral |outside |ct |pa |ap )*"
    r"(?:stud(?:y|ies)|exam(?:s|ination|inations)?|radiographs?|films?|images?|imaging"
    r"|x[- ]?rays?|cxr|ct|ct scan|scans?|views?|reports?|chest)"
)
EARLIER = r"(?:prior|previous|preceding|earlier|old|last|most recent|outside)"
NO_COMPARISON = re.compile(
    "|".join(
        (
            rf"\b(?:no|without(?: an?y?)?) {EARLIER}s?(?: {STUDY})?"
            r"(?: (?:is|are|was|were))?(?: (?:currently )?(?:available|provided|given))?"
            r"(?: for (?:direct )?comparison)?",
            rf"\b(?:no|without)(?: available)? comparisons?(?: {STUDY})?"
            + r"(?: (?:is|are|was|were))?(?: available)?",
            r"\bcomparison(?: stud(?:y|ies))? ?:? ?(?:is |are )?(?:none|not available|unavailable)",
            r"\bnone available for comparison",
            r"\b(?:clinically|hemodynamically|haemodynamically|medically) stable",
            r"\bstable(?: vital signs| condition)",
            r"\b(?:as )?compared (?:to|with) (?:the )?(?:left|right|contralateral|opposite|other)",
        )
    )
)
RULES = {
    "unchanged": r"\bunchanged\b|\bnot (?:\w+ )?changed\b|\blittle changed?\b"
    r"|\bno (?:\w+ )?(?:significant|interval|appreciable|substantial|definite|relevant|major)"
    r"(?: interval)? changes?\b|\bno change\b|\bas before\b",
    "stable": r"\bstable\b",
    "compared": r"\b(?:as )?compared? (?:to|with)\b|\b(?:in|by) comparison (?:to|with)\b"
    rf"|\bsimilar to (?:the )?{EARLIER}\b",
    "earlier study": rf"\b{EARLIER} {STUDY}\b|\bsince (?:the )?(?:{EARLIER}|yesterday)\b"
    rf"|\bthan (?:on )?(?:the )?{EARLIER}\b",
    "seen before": r"\b(?:once )?again (?:seen|noted|demonstrated|visuali[sz]ed|identified|present)"
    r"|\b(?:is|are) again\b|\bpreviously (?:seen|noted|described|identified|demonstrated|reported)"
    r"|\bre-?demonstrat(?:ed|es|ion)\b",
    "interval": r"\binterval (?!of\b)\w+|\bin the interval\b",
    "changed": r"\b(?:improv(?:ed|ing|ement)|worsen(?:ed|ing)|worse(?! (?:than|on|in|at)\b))\b"
    r"|\b(?:has|have)(?: \w+)? (?:increased|decreased|resolved|progressed|cleared|developed"
    r"|enlarged|changed|diminished)\b"
    r"|\b(?:increased|decreased) (?:since|from|in size)\b|\bresolved\b|\bno longer\b",
    "persists": r"\bpersist(?:s|ed|ent|ing)?\b|\bremain(?:s|ed)?\b|\bcontinu(?:es?|ed)\b",
    "new": r"\bnew\b(?! york)|\bnewly\b",
}
_RULES = {name: re.compile(pattern) for name, pattern in RULES.items()}


@lru_cache(maxsize=2**15)  # every model has the same references
def comparison_in(text: str) -> str | None:
    """Return the first rule that finds a comparison with an earlier study; None if none does.

    >>> comparison_in("The left effusion is unchanged.")
    'unchanged'
    >>> comparison_in("No prior studies are available for comparison. The lungs are clear.")
    """
    left = NO_COMPARISON.sub(" ", " ".join(text.lower().split()))
    return next((name for name, rule in _RULES.items() if rule.search(left)), None)
