"""Reads figures that other people printed. Each has its source, and none is ranked with ours.

results/published/<source>.yaml, one file per paper or board:

    title: MAIRA-2 paper
    tables:
      - dataset: MIMIC-CXR
        section: findings
        n: 2461                     # left out where the source does not say
        source: Table D.1           # here or at the figure; a figure without one is an error
        second_hand: true           # read in another text that quotes it
        note: …                     # what a reader must know of all these figures
        figures:
          MAIRA-2:
            BLEU-4: 23.1 [22.6, 23.7]
            ROUGE-L: {value: 38.4, source: …, note: …}
        not_found:
          MAIRA-Seg: no figure could be read

Metrics are named as the source names them, and figures keep the digits that were printed. Where
two sources differ on one figure, both are shown and marked as a conflict.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reportcard.api import ReportCardError
from reportcard.data.dataset_names import collection_of, names_of

NUMBER = r"-?\d{1,9}(?:\.\d{1,9})?"
FIGURE = re.compile(rf"({NUMBER})(?: \[({NUMBER}), ({NUMBER})\])?")
TABLE = ("dataset", "section", "n", "source", "second_hand", "note", "figures", "not_found")
CELL = ("value", "source", "second_hand", "note")


class _Strict(yaml.BaseLoader):
    """A YAML loader that keeps every scalar as text, so that 3.10 does not become 3.1.

    A name that is given twice is an error: YAML would keep the last and silently drop a figure.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key) for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                line = node.start_mark.line + 1
                raise yaml.YAMLError(f"the mapping at line {line} has '{name}' twice")
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Figure:
    """One printed figure as a file has it. `printed` is None where none was found for a system."""

    dataset: str
    section: str
    n: int | None
    system: str
    metric: str | None
    printed: str | None
    interval: tuple[str, str] | None
    source: str
    second_hand: bool
    note: str | None

    @property
    def cohort(self) -> str:
        """Return 'MIMIC-CXR findings, n 2,461'."""
        return self.cohort_of(self.dataset)

    @property
    def same_cohort(self) -> str:
        """Return the same name for sources that call one collection by different names."""
        return self.cohort_of(collection_of(self.dataset))

    def cohort_of(self, dataset: str) -> str:
        """Return the cohort's name with another name of its dataset."""
        n = f"n {self.n:,}" if self.n is not None else "n not stated"
        return f"{dataset} {self.section}, {n}"


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """One printed figure as leaderboard.json has it.

    `conflict`: two sources print different figures for the same system and metric.
    """

    system: str
    metric: str | None
    value: float | None
    ci_low: float | None
    ci_high: float | None
    printed: str | None
    printed_interval: tuple[str, str] | None
    source: str
    second_hand: bool
    conflict: bool
    note: str | None


@dataclass(frozen=True, slots=True)
class PublishedCohort:
    """The figures that were printed for one cohort, sorted by system and metric.

    `dataset` is the name that the sources use; where they use several, all of them ("Open-I / IU
    X-Ray").
    """

    name: str
    dataset: str
    section: str
    n: int | None
    figures: tuple[PublishedFigure, ...]

    def goes_by(self, start: str) -> bool:
        """Whether a name of the cohort starts so, with any name of its dataset."""
        first = self.dataset.split(" / ")[0]
        rest = self.name.removeprefix(self.dataset)
        names = (self.dataset, *self.dataset.split(" / "), *names_of(first))
        return any(f"{name}{rest}".lower().startswith(start.lower()) for name in names)


def published_dir() -> Path:
    """Return the folder of transcribed results: `results/published` of a checkout."""
    return (Path(__file__).parents[2] / "published").resolve()


def published(folder: Path | None = None) -> tuple[PublishedCohort, ...]:
    """Read all published figures: cohorts by name, their figures by system and metric.

    Raises ReportCardError naming file and key of what is not as above.
    """
    cohorts: dict[str, list[Figure]] = defaultdict(list)
    for path in sorted((folder or published_dir()).glob("*.yaml")):
        for figure in read_figures(path):
            cohorts[figure.same_cohort].append(figure)
    found = [_cohort(figures) for figures in cohorts.values()]
    return tuple(sorted(found, key=lambda cohort: cohort.name))


def read_figures(path: Path) -> list[Figure]:
    """Read the figures of one file. Raises ReportCardError naming file and key."""
    try:
        node = yaml.load(path.read_text(encoding="utf-8"), Loader=_Strict)  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ReportCardError(f"{path}: {' '.join(str(error).split())}") from None
    top = _mapping(node, f"{path}: the file", ("title", "tables"))
    title = _text(top, "title", f"{path}: the file")
    tables = top.get("tables")
    if not isinstance(tables, list) or not tables:
        raise ReportCardError(f"{path}: tables must be a list with at least one table.")
    return [
        figure
        for i, table in enumerate(tables)
        for figure in _table(table, title, f"{path}: tables[{i}]")
    ]


def _table(node: Any, title: str, where: str) -> Iterator[Figure]:
    table = _mapping(node, where, TABLE)
    dataset, section = (_text(table, name, where) for name in ("dataset", "section"))
    n = table.get("n")
    if n is not None and not re.fullmatch(r"[1-9]\d{0,8}", str(n)):
        raise ReportCardError(f"{where}.n is a whole number from 1 up, not {n!r}.")
    if not table.get("figures") and not table.get("not_found"):
        raise ReportCardError(f"{where} has neither figures nor not_found.")
    about = (dataset, section, None if n is None else int(n))
    for system, cells in _mapping(table.get("figures", {}), f"{where}.figures").items():
        for metric, cell in _mapping(cells, f"{where}.figures.{system}").items():
            here = f"{where}.figures.{system}.{metric}"
            given = {"value": cell} if isinstance(cell, str) else _mapping(cell, here, CELL)
            match = FIGURE.fullmatch(_text(given, "value", here))
            if match is None:
                raise ReportCardError(
                    f"{here} is a figure, 14.2 or 14.2 [13.7, 14.7], not {given['value']!r}."
                )
            value, low, high = match.groups()
            if low is not None and not float(low) <= float(value) <= float(high):
                raise ReportCardError(f"{here}: {value} is not in [{low}, {high}].")
            interval = None if low is None else (low, high)
            yield Figure(
                *about, system, metric, value, interval, *_origin(given, table, title, here)
            )
    for system, reason in _mapping(table.get("not_found", {}), f"{where}.not_found").items():
        here = f"{where}.not_found.{system}"
        origin = _origin({"note": reason}, table, title, here)
        yield Figure(*about, system, None, None, None, *origin)


def _origin(
    cell: Mapping[str, Any], table: Mapping[str, Any], title: str, where: str
) -> tuple[str, bool, str | None]:
    """Return the source, whether it is second-hand, and the notes of figure and table."""
    source = cell.get("source") or table.get("source")
    if not isinstance(source, str) or not source.strip():
        raise ReportCardError(f"{where} has no source.")
    hand = cell.get("second_hand", table.get("second_hand"))
    if hand not in ("true", "false"):
        raise ReportCardError(f"{where}: second_hand must be true or false, not {hand!r}.")
    notes = [note for note in (cell.get("note"), table.get("note")) if note]
    if not all(isinstance(note, str) for note in notes):
        raise ReportCardError(f"{where}.note must be text.")
    return f"{title}, {source}", hand == "true", "; ".join(notes) or None


def _cohort(figures: list[Figure]) -> PublishedCohort:
    values: dict[tuple[str, str | None], set[float]] = defaultdict(set)
    for figure in figures:
        if figure.printed is not None:
            values[figure.system, figure.metric].add(_percent(float(figure.printed)))
    shown = [
        PublishedFigure(
            system=figure.system,
            metric=figure.metric,
            value=None if figure.printed is None else float(figure.printed),
            ci_low=figure.interval and float(figure.interval[0]),
            ci_high=figure.interval and float(figure.interval[1]),
            printed=figure.printed,
            printed_interval=figure.interval,
            source=figure.source,
            second_hand=figure.second_hand,
            conflict=len(values[figure.system, figure.metric]) > 1,
            note=figure.note,
        )
        for figure in figures
    ]
    # Sorted by name and never by value: these figures are no ranking.
    shown.sort(key=lambda figure: (figure.system.lower(), figure.metric or "", figure.source))
    first = figures[0]
    dataset = " / ".join(dict.fromkeys(figure.dataset for figure in figures))
    name = f"{first.cohort_of(dataset)} — as published"
    return PublishedCohort(name, dataset, first.section, first.n, tuple(shown))


def _percent(value: float) -> float:
    """Bring figures to one scale: some sources print a fraction, others a percentage."""
    return round(100 * value if abs(value) < 1 else value, 6)


def _mapping(node: Any, where: str, known: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(node, dict) or not all(isinstance(k, str) and k.strip() for k in node):
        raise ReportCardError(f"{where} must be a mapping of names.")
    for name in node:
        if known and name not in known:
            raise ReportCardError(f"{where} has no key '{name}'; {', '.join(known)}.")
    return node


def _text(node: Mapping[str, Any], name: str, where: str) -> str:
    value = node.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ReportCardError(f"{where}: {name} must be text.")
    return value
