"""F1-RadGraph is the overlap of the entity and relation graphs of two reports, mean over studies.

Two families of scores have this name and differ by about a fifth; both are computed here.

    rg_e, rg_er, rg_bar_er   family 1, levels simple, partial, complete of the `radgraph` package.
                             They compare sets of (tokens, label); of the same and whether the
                             entity has a relation; of (tokens, label, relation, target tokens)
                             per relation, with (tokens, label) of an entity without one.
                             LLaVA-Rad prints rg_er.
    entity_relation_f1       family 2: mean of entity_f1 over (tokens, label) and relation_f1 over
                             (source, target, relation) with labels. RadCliQ, ReXrank, MAIRA-2.

F1 = 2 |C ∩ R| / (|C| + |R|) per report, 0 where either set is empty. So two identical reports
without a relation score 0.5 in family 2, and two without an entity 0 in both.

`case` says how tokens are compared, because releases differ (upstream radgraph/rewards.py):
    cased    radgraph 0.0.9 to 0.1.18: as written, except that rg_bar_er compares entities with a
             relation, and their targets, in lower case
    lower    git HEAD (pull request 15): lower case at every level; we apply it to family 2 as well,
             which no paper prints
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from reportcard.api import Array, Json, Key, MetricSpec, Pair, ReportCardError

KEYS = ("rg_e", "rg_er", "rg_bar_er", "entity_relation_f1", "entity_f1", "relation_f1")
CASES = ("cased", "lower")


def overlap_f1(candidate: Iterable[object], reference: Iterable[object]) -> float:
    """Return F1 of two sets; it is 0 when they share nothing, also for two empty sets.

    >>> overlap_f1("abc", "bcd")
    0.6666666666666666
    """
    have, want = set(candidate), set(reference)
    shared = len(have & want)
    return 2 * shared / (len(have) + len(want)) if shared else 0.0


def graph_f1(candidate: Json, reference: Json, case: str = "cased") -> tuple[float, ...]:
    """Return the scores of KEYS for two notes of a radgraph annotator."""
    pair = [_entities(note, case) for note in (candidate, reference)]
    simple = overlap_f1(*(_simple(entities) for entities in pair))
    partial = overlap_f1(*(_partial(entities) for entities in pair))
    complete = overlap_f1(*(_complete(entities) for entities in pair))
    relations = overlap_f1(*(_relations(entities) for entities in pair))
    return simple, partial, complete, (simple + relations) / 2, simple, relations


_Entity = tuple[str, str, list[tuple[str, int]]]


def _entities(note: Json, case: str) -> list[_Entity]:
    """(tokens, label, [(relation, index of target), …]) per entity of a note."""
    lower = case == "lower"
    return [
        (tokens.lower() if lower else tokens, label, relations)
        for tokens, label, _start, _end, relations in note["entities"]
    ]


def _simple(entities: list[_Entity]) -> Iterable[object]:
    return ((tokens, label) for tokens, label, _ in entities)


def _partial(entities: list[_Entity]) -> Iterable[object]:
    return ((tokens, label, bool(relations)) for tokens, label, relations in entities)


def _complete(entities: list[_Entity]) -> Iterable[object]:
    for tokens, label, relations in entities:
        if not relations:
            yield tokens, label
        for relation, target in relations:
            yield tokens.lower(), label, relation, entities[target][0].lower()


def _relations(entities: list[_Entity]) -> Iterable[object]:
    for tokens, label, relations in entities:
        for relation, target in relations:
            yield (tokens, label), entities[target][:2], relation


class F1RadGraph:
    """F1-RadGraph has the rows [per-report scores of KEYS, 1].

    Args:
        annotator: the id of the annotator whose graphs are compared: radgraph, radgraph-xl, …
        case: cased or lower, see above.
    """

    def __init__(self, annotator: str = "radgraph", case: str = "cased") -> None:
        if case not in CASES:
            raise ReportCardError(f"F1-RadGraph has no case policy '{case}'; {', '.join(CASES)}.")
        self.annotator = annotator
        self.case = case
        self.spec = MetricSpec(
            version="1",
            keys={name: Key() for name in KEYS},
            signature=f"{annotator}|case:{case}|mean",
            annotators=(annotator,),
            headline=("rg_er", "entity_relation_f1", "rg_e", "rg_bar_er"),
            group="clinical",
        )

    def rows(self, pairs: Sequence[Pair]) -> Array:
        table = np.full((len(pairs), len(KEYS) + 1), np.nan)
        for row, pair in zip(table, pairs, strict=True):
            candidate, reference = pair.notes[self.annotator]
            if candidate is not None and reference is not None:
                row[:] = (*graph_f1(candidate, reference, self.case), 1.0)
        return table

    def scores(self, total: Array) -> dict[str, Array]:
        n = total[..., -1]
        return {
            name: np.divide(total[..., i], n, out=np.full_like(n, np.nan), where=n > 0)
            for i, name in enumerate(KEYS)
        }
