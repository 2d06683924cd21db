"""RadFact is the share of findings that the other report supports, and in the right place.

The annotator `radfact` gives the judge's verdicts; this module only computes. For each study, over
the phrases of the candidate (precision) or of the reference (recall):

    logical     entailed phrases / phrases
    spatial     phrases entailed with their boxes / phrases with boxes
    grounding   phrases entailed with their boxes / entailed phrases with boxes

A ratio with denominator 0 is undefined and left out of its mean over studies, so precision and
recall are means over different studies. f1 is the harmonic mean of the two *means*: 0 where both
are 0 (upstream divides by zero), undefined where one is undefined. `micro_…` are the same ratios of
counts summed over studies; upstream has no such score. Narrative reports have no boxes, so spatial
and grounding are undefined and not 0.

Two more keys say what the scores leave out: `candidates_without_phrases` is the share of scored
studies that do not count in precision, and `phrases_without_verdict` is above 0 only under
failure_policy "upstream".

Source: microsoft/RadFact at 72463ac, `src/radfact/metric/{radfact,schema}.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reportcard.api import Array, Box, Json, Key, MetricSpec, Pair, Phrase, ReportCardError
from reportcard.metrics._boxes import GRID, THRESHOLD, check_rule, entailed

POLICIES = ("reportcard", "upstream")
# The counts of one report of a study, and each ratio as (numerator, denominator) of them.
PHRASES, ENTAILED, BOXED, ENTAILED_BOXED, PLACED = range(5)
RATIOS = {
    "logical": (ENTAILED, PHRASES),
    "spatial": (PLACED, BOXED),
    "grounding": (PLACED, ENTAILED_BOXED),
}
TOP, BOTTOM = (list(part) for part in zip(*RATIOS.values(), strict=True))
WIDTH = 3 + 3 + 5  # of a report: ratios (0 where undefined), whether each is defined, counts
DEFINED, COUNTS = slice(3, 6), slice(6, WIDTH)
NO_VERDICT, NO_PHRASES, N = range(2 * WIDTH, 2 * WIDTH + 3)
NAMES = ("precision", "recall", "f1")


class Radfact:
    """RadFact has rows of the ratios, masks and counts of both reports, and three more counts.

    Args:
        annotator: the id of the annotator whose notes are read: radfact, radfact_official.
        box_rule: ">": more than half of a phrase's area lies in its evidence; ">=": at least half.
        failure_policy: reportcard: a study with a phrase that has no verdict is unscored, and
            counted as such; upstream: such a phrase is not entailed, and a study is unscored only
            where RadFact drops it or where asking again may still succeed.
    """

    def __init__(
        self,
        annotator: str = "radfact",
        box_rule: str = ">",
        failure_policy: str = "reportcard",
    ) -> None:
        if failure_policy not in POLICIES:
            raise ReportCardError(
                f"RadFact has no failure_policy '{failure_policy}'; {', '.join(POLICIES)}."
            )
        self.annotator = annotator
        self.box_rule = check_rule(box_rule)
        self.failure_policy = failure_policy
        ratios = [f"{part}_{name}" for part in RATIOS for name in NAMES]
        self.spec = MetricSpec(
            version="1",
            keys={
                **{name: Key() for name in ratios},
                **{f"micro_{name}": Key() for name in ratios},
                "candidates_without_phrases": Key("lower"),
                "phrases_without_verdict": Key("lower"),
            },
            signature=f"{annotator}|box:{box_rule}{THRESHOLD:g}@{GRID}|failures:{failure_policy}"
            "|nanmean,f1-of-means",
            annotators=(annotator,),
            headline=("logical_f1", "logical_precision", "logical_recall"),
            group="judged",
        )

    def rows(self, pairs: Sequence[Pair]) -> Array:
        table = np.full((len(pairs), N + 1), np.nan)
        for row, pair in zip(table, pairs, strict=True):
            note = pair.notes[self.annotator][0]
            if note is not None and not self._dropped(note):
                row[:] = self._row(pair, note)
        return table

    def _dropped(self, note: Json) -> bool:
        """Whether a study is left out under the failure policy."""
        if self.failure_policy == "upstream":
            return bool(note.get("invalid") or note.get("again"))
        return "unscored" in note

    def _row(self, pair: Pair, note: Json) -> Array:
        phrases = _grounded(pair)
        sides = [note["candidate"], note["reference"]]
        row = np.zeros(N + 1)
        for i, side in enumerate(sides):
            counts = self._counts(side, phrases and (phrases[i], phrases[1 - i]))
            defined = counts[BOTTOM] > 0
            row[i * WIDTH : (i + 1) * WIDTH] = [
                *np.divide(counts[TOP], counts[BOTTOM], out=np.zeros(3), where=defined),
                *defined,
                *counts,
            ]
        row[NO_VERDICT] = sum(entry["status"] is None for side in sides for entry in side)
        row[NO_PHRASES] = not sides[0]
        row[N] = 1
        return row

    def _counts(self, side: list[Json], phrases: tuple[_Phrases, _Phrases] | None) -> Array:
        """The five counts of a report; phrases: its own and the other report's, where grounded."""
        counts = np.zeros(5)
        own, other = phrases or ((None,) * len(side), ())
        for entry, phrase in zip(side, own, strict=True):
            true = entry["status"] == "entailment"
            boxes = phrase.boxes if phrase else ()
            boxed = bool(boxes)
            placed = true and entailed(boxes, _boxes_of(entry["evidence"], other), self.box_rule)
            counts += (1, true, boxed, true and boxed, placed)
        return counts

    def scores(self, total: Array) -> dict[str, Array]:
        sides = total[..., : 2 * WIDTH].reshape(*total.shape[:-1], 2, WIDTH)
        counts = sides[..., COUNTS]
        means = _ratio(sides[..., :3], sides[..., DEFINED])
        pooled = _ratio(counts[..., TOP], counts[..., BOTTOM])
        n, phrases = total[..., N], counts[..., PHRASES].sum(axis=-1)
        return {
            **_named("", means),
            **_named("micro_", pooled),
            "candidates_without_phrases": _ratio(total[..., NO_PHRASES], n),
            "phrases_without_verdict": _ratio(total[..., NO_VERDICT], phrases),
        }

    def extremes(self, rows: Array) -> Array:
        """Return a row in which every ratio is 1, and one in which every ratio is 0.

        Boxes are assumed only where some scored study has them. Nobody knows how many phrases an
        unscored study has, so pooled scores have no bounds.
        """
        rank = np.full((2, N + 1), np.nan)
        rank[:, N] = 1
        rank[:, NO_PHRASES] = (0, 1)
        for start in (0, WIDTH):
            defined = np.array((rows[:, start : start + WIDTH][:, DEFINED] > 0).any(axis=0))
            defined[list(RATIOS).index("logical")] = True
            rank[:, start : start + 3] = np.outer((1, 0), defined)
            rank[:, start + 3 : start + 6] = defined
        return rank


_Phrases = Sequence[Phrase | None]


def _grounded(pair: Pair) -> tuple[_Phrases, _Phrases] | None:
    """Both reports' phrases, or None where one is narrative and so has no boxes."""
    candidate, reference = pair.candidate_phrases, pair.reference_phrases
    return None if candidate is None or reference is None else (candidate, reference)


def _boxes_of(evidence: Sequence[str], phrases: _Phrases) -> list[Box]:
    """Boxes of every phrase that equals the evidence; a report may repeat a sentence."""
    return [box for phrase in phrases if phrase and phrase.text in evidence for box in phrase.boxes]


def _ratio(top: Array, bottom: Array) -> Array:
    """top / bottom, NaN where the denominator is 0."""
    ratio: Array = np.full(np.shape(top), np.nan)
    return np.divide(top, bottom, out=ratio, where=bottom > 0)


def _named(prefix: str, ratios: Array) -> dict[str, Array]:
    """(…, 2 sides, 3 ratios) → precision, recall and f1 of each ratio."""
    found = {}
    for i, part in enumerate(RATIOS):
        precision, recall = ratios[..., 0, i], ratios[..., 1, i]
        both = precision + recall
        f1 = np.where(both == 0, 0.0, _ratio(2 * precision * recall, both))
        for name, values in zip(NAMES, (precision, recall, f1), strict=True):
            found[f"{prefix}{part}_{name}"] = values
    return found
