"""`reportcard explain A B`: why two numbers differ, from what is recorded of both.

Differences are sorted by what they do. *changes the number*: other studies, other text, other
model, other metric. *may change it*: code, packages, hardware, numerics. *does not change it*: the
interval's recipe, names, licences. What only one side records is said to be that: a source that
prints a figure seldom says what made it.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from reportcard.analysis.recorded_facts import Side, find_sides
from reportcard.api import Json

CHANGES, MAY = "changes the number", "may change it"
NOT, ONE_SIDE = "does not change it", "recorded on one side only"
# By area, or by whole name; the first that fits.
MAY_NAMES = (
    *("model.notes", "model.trained_on", "option.dtype", "option.device", "option.batch_size"),
    *("option.attention", "option.attn_implementation", "cohort.train part", "cohort.views"),
    *("machine", "code", "package"),
)
NOT_NAMES = ("about", "model.fingerprint")
NOT_ENDINGS = (".interval",)
LISTS = ("option", "answers", "inputs used", "counts", "package")
IDENTITY = ("model.plugin", "model.weights", "model.revision", "model.draws", "model.marks")


def explain_rows(
    results_dir: Path,
    names: tuple[str, str],
    protocol: str,
    cohorts: Collection[str] = (),
    only: str | None = None,
) -> Json:
    """{"a", "b", "values", "differences": {group: [{"field", "a", "b"}]}, "same", "verdict"}.

    only: one key or metric; what is recorded of other metrics is left out.
    """
    a, b = find_sides(results_dir, names, protocol, cohorts)
    metrics = _metrics(a, b, only)
    facts = [_of_metrics(side, metrics) for side in (a, b)]
    if all("model.plugin" in found for found in facts):  # two cards: what is not there is none
        for name in {*facts[0], *facts[1]}:
            if name.partition(".")[0] in LISTS:
                for found in facts:
                    found.setdefault(name, "none")
    groups: dict[str, list[Json]] = {group: [] for group in (CHANGES, MAY, NOT, ONE_SIDE)}
    one_sided: dict[str, tuple[list[str], list[str]]] = {}
    same = 0
    for name in sorted({*facts[0], *facts[1]}):
        left, right = facts[0].get(name), facts[1].get(name)
        if left is None or right is None:
            area, _, rest = name.partition(".")
            if left is not None or right is not None:
                one_sided.setdefault(area, ([], []))[left is None].append(rest)
        elif _agree(name, left, right):
            same += 1
        else:
            groups[_effect(name)].append({"field": name, "a": left, "b": right})
    groups[MAY] += _unseen_code(facts[0], facts[1])
    groups[ONE_SIDE] = [
        {"field": area, "a": ", ".join(left) or None, "b": ", ".join(right) or None}
        for area, (left, right) in one_sided.items()
    ]
    return {
        "a": {"name": a.name},
        "b": {"name": b.name},
        "values": _values(a, b, only),
        "differences": groups,
        "same": same,
        "verdict": _verdict(a, b, groups, same),
    }


def _metrics(a: Side, b: Side, only: str | None) -> set[str]:
    """Metrics that both sides have scored, or those of one side where the other has none."""
    found = [
        {name.split(".")[0].removeprefix("metric ") for name in s.facts if name[:7] == "metric "}
        for s in (a, b)
    ]
    shared = found[0] & found[1] or found[0] | found[1]
    return {m for m in shared if only is None or m == only.split(".")[0]}


def _of_metrics(side: Side, metrics: set[str]) -> dict[str, Any]:
    return {
        name: value
        for name, value in side.facts.items()
        if not name.startswith("metric ") or name.split(".")[0].removeprefix("metric ") in metrics
    }


def _agree(name: str, a: Any, b: Any) -> bool:
    if name == "cohort.dataset":  # a source may say less: "Open-I"
        return str(a) in str(b) or str(b) in str(a)
    return bool(a == b)


def _effect(name: str) -> str:
    area = name.partition(".")[0]
    if name in NOT_NAMES or area in NOT_NAMES or name.endswith(NOT_ENDINGS):
        return NOT
    return MAY if name in MAY_NAMES or area in MAY_NAMES else CHANGES


def _unseen_code(a: dict[str, Any], b: dict[str, Any]) -> list[Json]:
    """Code that differs without a record of how."""
    found = []
    names = [n for n in {*a, *b} if n in IDENTITY or n.startswith("option.")]
    names += ["cohort.train part"] if a.get("model.needs_train") is True else []
    prints = [str(x.get("model.fingerprint", "")) for x in (a, b)]
    if all(prints) and prints[0] != prints[1] and all(a.get(n) == b.get(n) for n in names):
        about = "adapter code (the fingerprint differs, options and weights do not)"
        found.append({"field": about, "a": prints[0][:8], "b": prints[1][:8]})
    dirty = [x.get("code.uncommitted changes") for x in (a, b)]
    if dirty == [True, True]:
        about = "uncommitted code (both ran from a changed checkout; what changed is not recorded)"
        found.append({"field": about, "a": "yes", "b": "yes"})
    return found


def _values(a: Side, b: Side, only: str | None) -> list[list[Any]]:
    """Keys with both values; where no key is shared, both lists."""
    keys = [key for key in a.values if key in b.values] or [*a.values, *b.values]
    chosen = [k for k in keys if only in (None, k, k.split(".")[0])]
    return [[k, a.values.get(k), b.values.get(k)] for k in chosen if k.count(".") < 2]


def _verdict(a: Side, b: Side, groups: dict[str, list[Json]], same: int) -> str:
    again = ""
    if a.predictions is not None and a.predictions == b.predictions:
        again = " Both scored the same predictions, byte for byte."
    changes, may = groups[CHANGES], groups[MAY]
    if not any(groups.values()):
        return f"Nothing recorded differs ({same} facts are the same).{again}"
    if changes:
        names = ", ".join(entry["field"] for entry in changes[:6])
        more = f" and {len(changes) - 6} more" if len(changes) > 6 else ""
        return f"{len(changes)} recorded differences change the number: {names}{more}.{again}"
    if may:
        return f"Nothing recorded must change the number; {len(may)} differences may.{again}"
    if groups[ONE_SIDE]:
        return f"What both sides record does not explain a difference.{again}"
    return f"Nothing recorded that differs changes the number.{again}"
