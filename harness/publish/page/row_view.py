"""What the page says of a system beside its scores: tags, what it read, and its details."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from reportcard.api import Json
from reportcard.publish.board.vision import ignores_image, vision_sentence
from reportcard.publish.page.cells import count

KINDS = {
    "ceiling": "ceiling: bounds the scale from above, not a system",
    "floor": "floor: what a system must clear to have learnt anything",
}
GENERATED = "generated here"
# Names that a data set goes by in cards, beside its own.
ALIASES = {"openi": ("iuxray", "iuxrays", "indianauniversity", "openi")}


def row_view(row: Json, board: Json) -> Json:
    """A row without its cells: what the table's first column and the details show."""
    return {
        "label": row["label"],
        "kind": row["kind"] if row["kind"] in KINDS else "model",
        "tier": row.get("tier"),
        "fingerprint": row["fingerprint"],
        "about": row["description"],
        "tags": _tags(row, board),
        "read": _read(row),
        "facts": _facts(row),
        "files": _files(row, board),
        "more": row.get("details") or {},
        "config": row.get("config"),
    }


def trained_on_this(row: Json, cohort: Json) -> bool:
    """Whether the card's `trained_on` names the cohort's data set."""
    here = _letters(cohort["dataset"] or "") + " " + _letters(cohort["name"])
    names = [_letters(name) for name in row["trained_on"] or ()]
    for stem, also in ALIASES.items():
        if stem in here:
            return any(alias in name for name in names for alias in also)
    # 'PadChest-GR' is drawn from PadChest: a name that starts the data set's own counts.
    return any(name and (name in here or _first(cohort) in name) for name in names)


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _first(cohort: Json) -> str:
    """The data set's name without what stands in brackets behind it."""
    return _letters((cohort["dataset"] or cohort["name"]).split("(")[0])


def _tags(row: Json, board: Json) -> list[Json]:
    """Short warnings beside a label: {"text", "tip", "class"}."""
    found: list[tuple[str, str, bool]] = []
    if row["kind"] in KINDS:
        found.append((row["kind"], KINDS[row["kind"]], False))
    if row.get("tier") and row["tier"] != GENERATED:
        found.append((row["tier"], "The reports were brought in as a file and scored here", False))
    if row["status"] == "incomplete":
        found.append(("incomplete", "Something is unscored, failed or not run", True))
    if trained_on_this(row, board["cohort"]):
        listed = ", ".join(row["trained_on"])
        found.append(("trained on this data set", f"Its card says: trained on {listed}", True))
    if row["needs_train"]:
        found.append(("fitted here", "Fitted on the cohort’s train part", False))
    if ignores_image(row):
        found.append(("ignores its image", f"Vision use: {vision_sentence(row)}", True))
    if row.get("mode_collapse"):
        found.append(("mode collapse", "One text makes up a fifth of its answers or more", True))
    return [
        {"text": text, "tip": tip, "class": text if text in KINDS else "warn" if warn else ""}
        for text, tip, warn in found
    ]


def _inputs(row: Json) -> list[str] | None:
    found: Any = row["inputs"]
    if isinstance(found, dict):
        found = found.get("card")
    return None if found is None else [str(name) for name in found]


def _used(row: Json) -> dict[str, int]:
    """Input → studies whose answer says that it was used; empty where the run did not record it."""
    inner = row["inputs"].get("used") if isinstance(row["inputs"], dict) else None
    found = row.get("used") or inner or {}
    return dict(found) if isinstance(found, dict) else {}


def _read(row: Json) -> str:
    """'read frontal 64, lateral 20' as counted in the answers; else what the card names."""
    used, inputs = _used(row), _inputs(row)
    parts = []
    if used:
        parts.append("read " + ", ".join(f"{name} {n:,}" for name, n in used.items()))
    elif inputs:
        parts.append("reads " + ", ".join(inputs))
    if row["sees_references"]:
        parts.append("sees references")
    return " · ".join(parts)


def _facts(row: Json) -> list[tuple[str, str]]:
    counts, inputs, used = row["counts"], _inputs(row), _used(row)
    lengths: Json = row.get("lengths") or {}
    words = [(name.capitalize(), lengths.get(name)) for name in ("candidate", "reference")]
    speed, cost = row.get("speed") or {}, row.get("cost") or {}
    return [
        ("Tier", row.get("tier") or "not recorded"),
        (
            "Inputs its card names",
            ", ".join(inputs) if inputs else "none" if inputs is not None else "not recorded",
        ),
        *([("Inputs used, in studies", _counts(used))] if used else []),
        ("Trained on", ", ".join(row["trained_on"] or ()) or "nothing declared"),
        *([("Fitted on", "the cohort’s train part")] if row["needs_train"] else []),
        *([("Sees", "the test references")] if row["sees_references"] else []),
        ("Studies evaluated", f"{count(counts['evaluated'])} of {count(counts['cohort'])}"),
        ("Empty references, excluded", count(counts["excluded_empty_reference"])),
        ("Failed", count(counts["failed"])),
        ("Empty answers", count(counts["empty_candidates"])),
        ("Different texts", count(counts["unique_candidates"])),
        *((f"{who} words", _quantiles(of)) for who, of in words if of),
        *_one("Seconds per 1,000 studies", speed.get("seconds_per_1000"), ",.3g"),
        *_one("US dollars per 1,000 studies", cost.get("usd_per_1000"), ",.2f"),
        ("Vision use", vision_sentence(row)),
        ("Draws", count(row["draws"])),
    ]


def _one(name: str, value: float | None, form: str) -> list[tuple[str, str]]:
    return [] if value is None else [(name, format(value, form))]


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in found.items())


def _quantiles(of: Json) -> str:
    """'p5 3, p25 20, p50 31, …'"""
    return ", ".join(f"{name} {value:g}" for name, value in of.items() if value is not None)


def _files(row: Json, board: Json) -> list[tuple[str, str]]:
    """What lies behind the numbers, as links from leaderboard/index.html."""
    cohort, model = quote(board["cohort_folder"]), quote(row["model"])
    scores = f"../scores/{cohort}/{model}/{quote(board['protocol'])}"
    return [
        ("predictions.jsonl", f"../predictions/{cohort}/{model}/predictions.jsonl"),
        ("card.json", f"../predictions/{cohort}/{model}/card.json"),
        *(
            (f"{metric}/scores.json", f"{scores}/{quote(metric)}/scores.json")
            for metric in row["score_files"]
        ),
    ]
