"""Says on the page what is known of a system besides its scores: tags, inputs, facts, files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote

from reportcard.api import Json
from reportcard.core.layout import Results
from reportcard.core.records import named
from reportcard.data.dataset_names import names_dataset
from reportcard.publish.board.boards import Board, BoardCohort, Entry
from reportcard.publish.board.vision import vision_sentence
from reportcard.publish.page.cells import PageCell, count
from reportcard.score.details.details_file import Quantiles

KINDS = {
    "ceiling": "ceiling: a reference point above every system, not a competitor",
    "floor": "floor: a reference point that a system must clear to have learnt anything",
}
GENERATED = "generated here"


@dataclass(frozen=True, slots=True)
class Tag:
    """A short remark beside a label."""

    text: str
    tip: str
    css: str = field(metadata=named("class"))


@dataclass(frozen=True, slots=True)
class RowView:
    """A line of the page's table, and the details that it opens.

    `skill` has its cells in the view of skill, by the column's id.
    """

    label: str
    kind: str
    tier: str | None
    fingerprint: str
    about: str | None
    tags: tuple[Tag, ...]
    read: str
    facts: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]
    more: Json
    id: str
    cells: tuple[PageCell, ...]
    skill: Mapping[str, PageCell]


def row_view(
    entry: Entry,
    board: Board,
    anchor: str,
    cells: tuple[PageCell, ...],
    skill: Mapping[str, PageCell],
) -> RowView:
    """Return what the page shows of an entry.

    Args:
        entry: the system.
        board: the board that it is on.
        anchor: the id of its line, for links.
        cells: its cells, in the order of the page's columns.
        skill: its cells in the view of skill, by column.
    """
    return RowView(
        label=entry.label,
        kind=entry.kind if entry.kind in KINDS else "model",
        tier=entry.tier,
        fingerprint=entry.fingerprint,
        about=entry.description,
        tags=_tags(entry, board),
        read=_read(entry),
        facts=tuple(_facts(entry)),
        files=_files(entry, board),
        more=entry.details,
        id=anchor,
        cells=cells,
        skill=skill,
    )


def trained_on_this(entry: Entry, cohort: BoardCohort) -> bool:
    """Return whether the card's `trained_on` names the cohort's data set."""
    here = cohort.dataset or cohort.name
    # A card may also say less than the data set's own name does.
    return any(
        names_dataset(name, here) or names_dataset(here, name) for name in entry.trained_on or ()
    )


def _tags(entry: Entry, board: Board) -> tuple[Tag, ...]:
    found: list[tuple[str, str, bool]] = []
    if entry.kind in KINDS:
        found.append((entry.kind, KINDS[entry.kind], False))
    if entry.tier and entry.tier != GENERATED:
        found.append((entry.tier, "The reports were brought in as a file and scored here", False))
    if entry.status == "incomplete":
        found.append(("incomplete", "Something is unscored, failed or not run", True))
    if trained_on_this(entry, board.cohort):
        listed = ", ".join(entry.trained_on or ())
        found.append(("trained on this data set", f"Its card says: trained on {listed}", True))
    if entry.needs_train:
        found.append(("fitted here", "Fitted on the cohort’s training split", False))
    if entry.ignores_image:
        found.append(("ignores its image", f"Vision use: {vision_sentence(entry.vision)}", True))
    if entry.mode_collapse:
        found.append(("mode collapse", "One text makes up a fifth of its answers or more", True))
    return tuple(
        Tag(text, tip, text if text in KINDS else "warn" if warn else "")
        for text, tip, warn in found
    )


def _read(entry: Entry) -> str:
    """Return 'read frontal 64, lateral 20' as counted in the answers; else the card's inputs."""
    parts = []
    if entry.used:
        parts.append(f"read {_numbered(entry.used)}")
    elif entry.inputs:
        parts.append(f"reads {', '.join(entry.inputs)}")
    if entry.sees_references:
        parts.append("sees references")
    return " · ".join(parts)


def _facts(entry: Entry) -> list[tuple[str, str]]:
    counts, inputs = entry.counts, entry.inputs
    declared = "not recorded" if inputs is None else ", ".join(inputs) or "none"
    facts: list[tuple[str, str | None]] = [
        ("Tier", entry.tier or "not recorded"),
        ("Declared inputs", declared),
        ("Inputs used, in studies", _numbered(entry.used) if entry.used else None),
        ("Trained on", ", ".join(entry.trained_on or ()) or "nothing declared"),
        ("Fitted on", "the cohort’s training split" if entry.needs_train else None),
        ("Sees", "the test references" if entry.sees_references else None),
        ("Studies evaluated", f"{count(counts.evaluated)} of {count(counts.cohort)}"),
        ("Empty references, excluded", count(counts.excluded_empty_reference)),
        ("Failed", count(counts.failed)),
        ("Empty answers", count(counts.empty_candidates)),
        ("Different texts", count(counts.unique_candidates)),
    ]
    if entry.lengths:
        facts.append(("Candidate words", _quantiles(entry.lengths.candidate)))
        facts.append(("Reference words", _quantiles(entry.lengths.reference)))
    if entry.speed:
        facts.append(("Seconds per 1,000 studies", f"{entry.speed.seconds_per_1000:,.3g}"))
    if entry.cost:
        facts.append(("US dollars per 1,000 studies", f"{entry.cost.usd_per_1000:,.2f}"))
    facts.append(("Vision use", vision_sentence(entry.vision)))
    facts.append(("Draws", count(entry.draws)))
    return [(name, value) for name, value in facts if value is not None]


def _numbered(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in found.items())


def _quantiles(of: Quantiles) -> str:
    """Return 'p5 3, p25 20, p50 31, …'."""
    return ", ".join(f"{name} {value:g}" for name, value in asdict(of).items())


def _files(entry: Entry, board: Board) -> tuple[tuple[str, str], ...]:
    """Return the files behind the numbers as (name, link from leaderboard/index.html)."""
    results, run = Results(Path("..")), board.run(entry.model)
    predictions = results.predictions(run.cohort, run.system)
    found = [(path.name, path) for path in (predictions.log, predictions.card)]
    for metric in entry.score_files:
        path = results.metric(run, metric).scores
        found.append((f"{metric}/{path.name}", path))
    return tuple((name, quote(path.as_posix())) for name, path in found)
