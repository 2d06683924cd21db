"""What the vision-use probe of `reportcard check` found, in the words of the tables."""

from __future__ import annotations

from harness.api import Json


def ignores_image(row: Json) -> bool:
    """Whether the vision-use probe flagged this run; a run that was not probed is not flagged."""
    return bool((row.get("vision") or {}).get("ignores_pixels"))


def vision_sentence(row: Json) -> str:
    """'0.42 of the words …', 'not probed', or 'text only'."""
    vision = row.get("vision")
    if vision is None:
        return "not probed"
    if not vision["claims_pixels"]:
        return "text only: its card names no image"
    other, blank = vision["other"]["words"], vision["blank"]["words"]
    return (
        f"{other:.2f} of the words change with another patient’s image, {blank:.2f} with a blank"
        f" one ({vision['studies']} drawn studies)"
    )
