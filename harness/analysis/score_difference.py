"""Explains why two scores differ, from what is recorded of both, for `reportcard explain A B`.

Differences are sorted by their effect. *changes the number*: other studies, other text, another
model or metric. *may change it*: code, packages, hardware, numerics. *does not change it*: the
interval's recipe, names, licences. What only one of the two records is listed by itself: a source
that prints a figure seldom says what made it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reportcard.analysis.printed_names import in_unit_of, same_score
from reportcard.analysis.recorded_facts import RecordedFacts, recorded_facts
from reportcard.data.dataset_names import same_dataset
from reportcard.score.signature import AS_GIVEN

CHANGES, MAY = "changes the number", "may change it"
NOT, ONE_SIDE = "does not change it", "recorded on one side only"
# Facts by area or by whole name; the first group that has one decides.
MAY_NAMES = (
    *("model.notes", "model.trained_on", "option.dtype", "option.device", "option.batch_size"),
    *("option.attention", "option.attn_implementation", "cohort.train part", "cohort.views"),
    *("machine", "code", "package"),
)
NOT_NAMES = ("about", "model.fingerprint")
NOT_ENDINGS = (".interval",)
LISTS = ("option", "answers", "inputs used", "counts", "package")
IDENTITY = ("model.plugin", "model.weights", "model.revision", "model.draws", "model.marks")


@dataclass(frozen=True, slots=True)
class FactDifference:
    """One fact that differs; None: not recorded."""

    field: str
    a: Any
    b: Any


Differences = Mapping[str, list[FactDifference]]
Values = tuple[str, float | None, float | None]  # key, score of A, score of B


@dataclass(frozen=True, slots=True)
class Named:
    """A row or source, by the name that is shown."""

    name: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is recorded of two scores: `values` (key, a, b), and the differences by their effect.

    `same` counts the facts that both record alike.
    """

    a: Named
    b: Named
    values: tuple[Values, ...]
    differences: Differences
    same: int
    verdict: str


def explain_rows(
    results_dir: Path,
    names: tuple[str, str],
    protocol: str,
    cohorts: Collection[str] = (),
    only: str | None = None,
) -> Explanation:
    """Compare what is recorded of two rows, files or published figures.

    Args:
        results_dir: where the rows are.
        names: what to compare, as the user wrote it.
        protocol: the protocol of rows that are named by a label.
        cohorts: names of cohorts to look at; empty: all.
        only: one key or metric; what is recorded of other metrics is left out.

    Raises ReportCardError for a name that nothing goes by.
    """
    a, b = recorded_facts(results_dir, names, protocol, cohorts)
    metrics = _metrics(a, b, only)
    left, right = (_of_metrics(one, metrics) for one in (a, b))
    if "model.plugin" in left and "model.plugin" in right:
        # Both have a run card, so what one of the two does not list, it does not have.
        for name in {*left, *right}:
            if name.partition(".")[0] in LISTS:
                left.setdefault(name, "none")
                right.setdefault(name, "none")
    groups: dict[str, list[FactDifference]] = {group: [] for group in (CHANGES, MAY, NOT, ONE_SIDE)}
    one_sided: dict[str, tuple[list[str], list[str]]] = {}
    same = 0
    for name in sorted({*left, *right}):
        ours, theirs = left.get(name), right.get(name)
        if ours is None or theirs is None:
            area, _, rest = name.partition(".")
            if ours is not None or theirs is not None:
                one_sided.setdefault(area, ([], []))[ours is None].append(rest)
        elif _agree(name, ours, theirs):
            same += 1
        else:
            effect = MAY if AS_GIVEN in (ours, theirs) else _effect(name)
            groups[effect].append(FactDifference(name, ours, theirs))
    groups[MAY] += _unseen_code(left, right)
    groups[ONE_SIDE] = [
        FactDifference(area, ", ".join(ours) or None, ", ".join(theirs) or None)
        for area, (ours, theirs) in one_sided.items()
    ]
    verdict = _verdict(a, b, groups, same)
    return Explanation(Named(a.name), Named(b.name), _values(a, b, only), groups, same, verdict)


def _metrics(a: RecordedFacts, b: RecordedFacts, only: str | None) -> set[str]:
    """Return the metrics that both have scored, or those of one where the other has none."""
    found = [
        {name.split(".")[0].removeprefix("metric ") for name in s.facts if name[:7] == "metric "}
        for s in (a, b)
    ]
    shared = found[0] & found[1] or found[0] | found[1]
    return {m for m in shared if only is None or m == only.split(".")[0]}


def _of_metrics(found: RecordedFacts, metrics: set[str]) -> dict[str, Any]:
    return {
        name: value
        for name, value in found.facts.items()
        if not name.startswith("metric ") or name.split(".")[0].removeprefix("metric ") in metrics
    }


def _agree(name: str, a: Any, b: Any) -> bool:
    if name == "cohort.dataset":  # sources that disagree on a name are joined by " / "
        return any(same_dataset(x, y) for x in str(a).split(" / ") for y in str(b).split(" / "))
    return bool(a == b)


def _effect(name: str) -> str:
    area = name.partition(".")[0]
    if name in NOT_NAMES or area in NOT_NAMES or name.endswith(NOT_ENDINGS):
        return NOT
    return MAY if name in MAY_NAMES or area in MAY_NAMES else CHANGES


def _unseen_code(a: dict[str, Any], b: dict[str, Any]) -> list[FactDifference]:
    """Return code that differs without a record of how."""
    found = []
    names = [n for n in {*a, *b} if n in IDENTITY or n.startswith("option.")]
    names += ["cohort.train part"] if a.get("model.needs_train") is True else []
    prints = [str(x.get("model.fingerprint", "")) for x in (a, b)]
    if all(prints) and prints[0] != prints[1] and all(a.get(n) == b.get(n) for n in names):
        about = "adapter code (the fingerprint differs, options and weights do not)"
        found.append(FactDifference(about, prints[0][:8], prints[1][:8]))
    dirty = [x.get("code.uncommitted changes") for x in (a, b)]
    if dirty == [True, True]:
        about = "uncommitted code (both ran from a changed checkout; what changed is not recorded)"
        found.append(FactDifference(about, "yes", "yes"))
    return found


def _values(a: RecordedFacts, b: RecordedFacts, only: str | None) -> tuple[Values, ...]:
    """Return keys with both values; where no key is shared, the keys of both.

    A printed figure stands beside our key of the same score, in that key's unit.
    """
    found = [(key, key, a.values[key], b.values[key]) for key in a.values if key in b.values]
    found += _printed(a, b) + [(k, name, y, x) for k, name, x, y in _printed(b, a)]
    if not found:
        found = [(k, k, a.values.get(k), b.values.get(k)) for k in [*a.values, *b.values]]
    chosen = [row for row in found if only in (None, row[0], row[0].split(".")[0])]
    return tuple((name, x, y) for key, name, x, y in chosen if key.count(".") < 2)


def _printed(
    ours: RecordedFacts, theirs: RecordedFacts
) -> list[tuple[str, str, float | None, float | None]]:
    """Return (our key, the name that is shown, our value, theirs) where theirs is printed."""
    return [
        (key, f"{key} ({name})", value, None if x is None else in_unit_of(x, ours.units[key]))
        for key, value in ours.values.items()
        if key in ours.units
        for name, x in theirs.values.items()
        if name not in theirs.units and same_score(name, key)
    ]


def _verdict(a: RecordedFacts, b: RecordedFacts, groups: Differences, same: int) -> str:
    again = ""
    if a.predictions is not None and a.predictions == b.predictions:
        again = " Both scored the same predictions, byte for byte."
    changes, may = groups[CHANGES], groups[MAY]
    if not any(groups.values()):
        return f"Nothing recorded differs ({same} facts are the same).{again}"
    if changes:
        names = ", ".join(entry.field for entry in changes[:6])
        more = f" and {len(changes) - 6} more" if len(changes) > 6 else ""
        return f"{len(changes)} recorded differences change the number: {names}{more}.{again}"
    if may:
        return f"Nothing recorded must change the number; {len(may)} differences may.{again}"
    if groups[ONE_SIDE]:
        return f"What both record does not explain a difference.{again}"
    return f"Nothing recorded that differs changes the number.{again}"
