"""The view of skill: where each value lies between the best floor (0) and the ceiling (1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from reportcard.core.console import UNRELIABLE
from reportcard.publish.board.boards import Board, Column, Entry, KeySkill, Skill
from reportcard.publish.page.cells import (
    PageCell,
    decimals,
    marked_span,
    number,
    whisker,
)

MakeCell = Callable[[Entry, PageCell], PageCell]

PLACES = 3
LOWEST = (
    -1.0
)  # where the axis of the whiskers ends: a floor that is far behind would press the rest


def labels_of(board: Board, found: KeySkill) -> tuple[str, str]:
    """Return the labels of the floor that is 0 and of the ceiling that is 1."""
    labels = {entry.model: entry.label for entry in board.entries}
    ends = (found.floor or "", found.ceiling or "")
    return labels.get(ends[0], ends[0]), labels.get(ends[1], ends[1])


def scale_sentence(board: Board, column: Column) -> str | None:
    """Say what is 0 and 1 in a column, or why it has no skill; None where nothing is known.

    '0 is most_frequent_report (0.123), 1 is reference_oracle (1.000)'
    """
    found = (board.skill or {}).get(column.key)
    if found is None:
        return None
    if found.unknown is not None:
        return f"no skill: {found.unknown}"
    floor, ceiling = labels_of(board, found)
    places = decimals(column.range, board.values(column))
    low, high = (number(value, places) for value in (found.floor_value, found.ceiling_value))
    return f"0 is {floor} ({low}), 1 is {ceiling} ({high})"


def skill_of(board: Board, column: Column, entry: Entry) -> Skill | None:
    """Return the skill of an entry in a column, or None where it has none."""
    found = (board.skill or {}).get(column.key)
    return found.systems.get(entry.model) if found else None


def why_without(board: Board, column: Column, entry: Entry) -> str:
    """Return in a word or two why an entry has no skill in a column."""
    return "undefined" if entry.has_score(column) else entry.cells[column.key].why_empty


def axis_of(board: Board) -> tuple[float, float]:
    """Return the axis that all columns share, since skill is one scale: to 1, and 0 is on it."""
    ends = [
        end
        for found in (board.skill or {}).values()
        for skill in found.systems.values()
        for end in (skill.value, skill.low)
        if end is not None
    ]
    return max(LOWEST, min([0.0, *ends])), 1.0


def zero_of(board: Board) -> float:
    """Return the place of 0 on the axis, from 0 to 1."""
    low, high = axis_of(board)
    return round(-low / (high - low), 4)


def skill_text(skill: Skill) -> tuple[str, str]:
    """Return a skill and its interval as text; the ends of the scale have no interval."""
    interval = skill.interval
    if interval is None:
        what = "by definition" if skill.value in (0.0, 1.0) else "no interval"
        return number(skill.value, PLACES), what
    return number(skill.value, PLACES), marked_span(interval, PLACES, skill.doubt)


def skill_cells(board: Board) -> dict[str, MakeCell]:
    """Return for each column that has skill the function that makes its cells in that view."""
    axis = axis_of(board)
    return {
        column.key: partial(_skill_cell, board, column, axis)
        for column in board.columns
        if column.key in (board.skill or {})
    }


def _skill_cell(
    board: Board, column: Column, axis: tuple[float, float], entry: Entry, beside: PageCell
) -> PageCell:
    """Return the cell of an entry in the view of skill.

    Args:
        board: the board.
        column: the column.
        axis: what the whiskers are drawn on.
        entry: the entry.
        beside: its cell in the view of scores, whose marks are kept.
    """
    skill, scale = skill_of(board, column, entry), scale_sentence(board, column) or ""
    if skill is None:
        why = why_without(board, column, entry)
        return PageCell(text=why, css="none", tip=None if beside.why else scale, why=beside.why)
    text, interval = skill_text(skill)
    tip = f"score {beside.text}; {scale}"
    if skill.doubt:
        tip += f"; {UNRELIABLE} interval unreliable: {skill.doubt}"
    return replace(
        beside,
        text=text,
        sort=skill.value,
        lines=(interval,),
        whisker=whisker(skill.interval, skill.value, axis) if skill.value >= axis[0] else None,
        tip=tip,
        doubt=skill.doubt,
        exact=None,
        gap=None,
        bounds=None,
        signature=None,
    )


def skill_lines(board: Board, columns: Sequence[Column]) -> list[str]:
    """Return what is 0 and 1 in each column, a line each."""
    found = ((column.key, scale_sentence(board, column)) for column in columns)
    return [f"{key}: {sentence}" for key, sentence in found if sentence]
