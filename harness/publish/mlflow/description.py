"""Writes the description of a run in MLflow: links, the score table, signatures; in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reportcard.core.console import ARROW, unreliable_lines
from reportcard.publish.mlflow.run_fields import place_of
from reportcard.publish.page.cells import decimals, marked_span, number
from reportcard.score.score_file import KeyScore, ScoreFile

LONGEST = 7500  # characters: MLflow keeps 8,000 of a tag


def describe_run(
    title: str, files: Sequence[ScoreFile], links: Mapping[str, str], remarks: Sequence[str]
) -> str:
    """Describe the run of one system. The table has headline keys; scores.json has all of them.

    Args:
        title: the first line.
        files: its score files.
        links: text → address.
        remarks: sentences that follow the table.
    """
    counts = files[0].counts if files else {}
    counted = [f"{counts[k]:,} {name}" for k, name in COUNTED.items() if counts.get(k)]
    lines = [
        f"**{_cell(title)}**" + (f" — {', '.join(counted)}" if counted else ""),
        "",
        " · ".join(f"[{text}]({address})" for text, address in links.items()),
        "",
        *_lines(files),
        "",
        *(f"- {_cell(remark)}" for remark in (*remarks, *_doubts(files))),
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


def _lines(files: Sequence[ScoreFile]) -> list[str]:
    confidence = next((file.stats.confidence for file in files if file.stats), 0.95)
    lines = [
        f"| metric | value [{100 * confidence:g} % interval] | n | unscored |",
        "|:--|:--|--:|--:|",
    ]
    for file in _ordered(files):
        if file.not_run:
            lines.append(f"| {file.metric} | *not run*: {_cell(file.not_run)} | | |")
            continue
        for key in file.headline_keys:
            if score := file.keys.get(key):
                n, unscored = score.n or 0, score.unscored or 0
                name = f"{key} {ARROW[score.direction]}"
                lines.append(f"| {name} | {_value(score)} | {n:,} | {unscored:,} |")
    return lines


def _doubts(files: Sequence[ScoreFile]) -> list[str]:
    """Return why intervals in the table are unreliable, a line per reason."""
    shown = [(key, file.keys.get(key)) for file in _ordered(files) for key in file.headline_keys]
    return unreliable_lines((key, score.doubt) for key, score in shown if score)


def _signatures(files: Sequence[ScoreFile]) -> list[str]:
    """Return one signature per metric: that of the key that stands for it."""
    leads = [file.keys.get(file.lead or "") for file in _ordered(files) if not file.not_run]
    return [score.signature for score in leads if score and score.signature]


def _ordered(files: Sequence[ScoreFile]) -> list[ScoreFile]:
    return sorted(files, key=lambda file: (place_of(file), file.metric))


def _value(score: KeyScore) -> str:
    if score.value is None:
        return "*undefined*" if score.n else "*unscored*"
    places = decimals(score.range, [score.value])
    text = f"**{number(score.value, places)}**"
    if score.ci_low is None or score.ci_high is None:
        return text
    return f"{text} {marked_span((score.ci_low, score.ci_high), places, score.doubt)}"


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
