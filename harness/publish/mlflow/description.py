"""Writes the description of a run in MLflow: links, the score table, signatures; in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reportcard.api import Json
from reportcard.publish.mlflow.run_fields import place_of
from reportcard.publish.page.cells import decimals, number

LONGEST = 7500  # characters: MLflow keeps 8,000 of a tag


def describe_run(
    title: str, files: Sequence[Json], links: Mapping[str, str], remarks: Sequence[str]
) -> str:
    """Describe the run of one system. The table has headline keys; scores.json has all of them.

    Args:
        title: the first line.
        files: the contents of its score files.
        links: text → address.
        remarks: sentences that follow the table.
    """
    counts = files[0].get("counts", {}) if files else {}
    counted = [f"{counts[k]:,} {name}" for k, name in COUNTED.items() if counts.get(k)]
    lines = [
        f"**{_cell(title)}**" + (f" — {', '.join(counted)}" if counted else ""),
        "",
        " · ".join(f"[{text}]({address})" for text, address in links.items()),
        "",
        *_lines(files),
        "",
        *(f"- {_cell(remark)}" for remark in remarks),
    ]
    return _fitting(lines, _signatures(files))


COUNTED = {
    "evaluated": "studies",
    "failed": "failed",
    "empty_candidates": "empty",
    "excluded_empty_reference": "excluded (empty reference)",
}


def describe_parent(title: str, models: Sequence[str], links: Mapping[str, str]) -> str:
    """Describe the run that holds the leaderboard. links: text → address."""
    listed = [f"- {_cell(model)}" for model in models]
    found = " · ".join(f"[{text}]({address})" for text, address in links.items())
    return _fitting([f"**{_cell(title)}**", "", found, "", *listed], [])


def _lines(files: Sequence[Json]) -> list[str]:
    lines = ["| metric | value [95 % interval] | n | unscored |", "|:--|:--|--:|--:|"]
    confidence = next((f["stats"]["confidence"] for f in files if "stats" in f), 0.95)
    lines[0] = lines[0].replace("95", f"{100 * confidence:g}")
    for file in _ordered(files):
        if file.get("not_run"):
            lines.append(f"| {file['metric']} | *not run*: {_cell(file['not_run'])} | | |")
            continue
        for key in _headline(file):
            entry = file["keys"][key]
            arrow = "↑" if entry.get("direction", "higher") == "higher" else "↓"
            n, unscored = entry.get("n") or 0, entry.get("unscored") or 0
            lines.append(f"| {key} {arrow} | {_value(entry)} | {n:,} | {unscored:,} |")
    return lines


def _signatures(files: Sequence[Json]) -> list[str]:
    """Return one signature per metric: that of the key that stands for it."""
    leads = [(f, _headline(f)) for f in _ordered(files) if not f.get("not_run")]
    found = [
        str(f["keys"][keys[0] if f.get("headline") else keys[-1]].get("signature") or "")
        for f, keys in leads
        if keys
    ]
    return [line for line in found if line]


def _ordered(files: Sequence[Json]) -> list[Json]:
    return sorted(files, key=lambda f: (place_of(f), str(f["metric"])))


def _headline(file: Json) -> list[str]:
    return [key for key in file.get("headline") or file["keys"] if key in file["keys"]]


def _value(entry: Json) -> str:
    if entry.get("value") is None:
        return "*undefined*" if entry.get("n") else "*unscored*"
    places = decimals(tuple(entry["range"]), [entry["value"]])
    text = f"**{number(entry['value'], places)}**"
    if entry.get("ci_low") is None or entry.get("ci_high") is None:
        return text
    return f"{text} [{number(entry['ci_low'], places)}, {number(entry['ci_high'], places)}]"


def _fitting(lines: Sequence[str], signatures: Sequence[str]) -> str:
    """Join the lines, and add as many signatures as there is room for."""
    text = "\n".join(lines)
    room = LONGEST - len(text)
    kept = []
    for line in signatures:
        if (room := room - len(line) - 8) < 0:
            break
        kept.append(line)
    if kept:
        text += "\n\n```text\n" + "\n".join(kept) + "\n```"
    return text[:LONGEST]


def _cell(text: str) -> str:
    """Write text on one line, with the signs of Markdown and HTML escaped."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return "".join(f"&#{ord(c)};" if c in "|<>&[]`*" else c for c in plain)
