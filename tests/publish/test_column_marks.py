"""Which columns are headlines, which a floor leads, and what ranks a board."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from reportcard.api import Direction
from reportcard.config import compose as config
from reportcard.pipeline import run
from reportcard.publish.board.boards import Board, Cell, Column, Entry, Leaderboard
from reportcard.publish.board.build import collect
from reportcard.publish.board.column_marks import (
    NOT_SEPARATED,
    best_possible,
    exact,
    floor_leads,
    marked_columns,
    primary_column,
)
from reportcard.publish.page import page
from reportcard.publish.page.terminal_board import render
from tests.publish.test_leaderboard import Bench, edit


def column(
    key: str = "toy.a",
    direction: Direction = "higher",
    range_: tuple[float | None, float | None] = (0.0, 1.0),
    lead: bool = False,
) -> Column:
    return Column(key, key.split(".")[0], key.split(".", 1)[1], direction, range=range_, lead=lead)


def entry(
    name: str, kind: str, values: Mapping[str, float | Cell | None], inputs: tuple[str, ...] = ()
) -> Entry:
    cells = {
        key: v if isinstance(v, Cell) else Cell(v, v, v, n=40 if v is not None else 0)
        for key, v in values.items()
    }
    sees = kind == "ceiling"
    return Entry(
        name, f"{name}@01", "01", kind=kind, cells=cells, inputs=inputs, sees_references=sees
    )


@pytest.mark.parametrize(
    ("direction", "range_", "reference", "other", "fine"),
    [
        ("higher", (0.0, 1.0), 1.0, 0.4, True),
        ("higher", (0.0, 100.0), 100.00000000000004, 12.0, True),  # BLEU
        ("higher", (0.0, 1.0), 0.857, 0.4, False),  # absent classes count 0
        ("higher", (0.0, 1.0), 0.0, 0.0, False),  # nothing to find in this cohort
        ("lower", (0.0, None), 0.0, 3.0, True),  # errors per report
        ("lower", (0.0, None), 0.5, 3.0, False),
        ("lower", (None, None), -2.1, 1.0, True),  # no best value: only to be the best row
        ("lower", (None, None), 1.2, 1.0, False),
        ("higher", (0.0, None), 7.1, 2.0, True),
    ],
)
def test_a_headline_has_a_ceiling_that_is_its_best_value(
    direction: Direction,
    range_: tuple[float | None, float | None],
    reference: float,
    other: float,
    fine: bool,
) -> None:
    rows = [entry("ref", "ceiling", {"toy.a": reference}), entry("x", "model", {"toy.a": other})]
    [found] = marked_columns([column(direction=direction, range_=range_)], rows)
    assert found.headline is fine
    assert (found.not_headline is None) is fine


def test_the_interval_of_the_ceiling_must_hold_the_best_value() -> None:
    rows = [entry("ref", "ceiling", {"toy.a": Cell(1.0, 0.8, 0.95, n=40)})]
    [found] = marked_columns([column()], rows)
    assert not found.headline
    assert "interval" in (found.not_headline or "")


@pytest.mark.parametrize(
    "cell",
    [
        Cell(None, n=0, not_run="weights missing"),
        Cell(None, n=0),
        Cell(0.3, 0.3, 0.3, n=40, other_version=True),
    ],
)
def test_a_ceiling_that_was_not_measured_takes_no_headline_away(cell: Cell) -> None:
    [found] = marked_columns([column()], [entry("ref", "ceiling", {"toy.a": cell})])
    assert found.headline


def test_the_next_headline_key_leads_a_metric_whose_lead_is_none() -> None:
    columns = [column("toy.a", lead=True), column("toy.b"), column("other.c", lead=True)]
    values = {"toy.a": 0.9, "toy.b": 1.0, "other.c": 1.0}
    found = marked_columns(columns, [entry("ref", "ceiling", values)])
    assert [c.key for c in found if c.lead] == ["toy.b", "other.c"]


@pytest.mark.parametrize("direction", ["higher", "lower"])
@pytest.mark.parametrize(("floor", "led"), [(0.5, False), (0.6, True), (0.7, True)])
def test_a_column_that_a_floor_leads_is_marked(
    direction: Direction, floor: float, led: bool
) -> None:
    sign = 1 if direction == "higher" else -1
    rows = [
        entry("ref", "ceiling", {"toy.a": sign * 1.0}),
        entry("system", "model", {"toy.a": sign * 0.6}),
        entry("empty", "floor", {"toy.a": sign * floor}),
    ]
    found = floor_leads(column(direction=direction, range_=(None, None)), rows)
    assert (found == f"led by a floor (empty): {NOT_SEPARATED}") is led


def test_among_floors_alone_one_that_reads_nothing_separates_nothing() -> None:
    empty = entry("empty", "floor", {"toy.a": 0.5, "toy.b": 0.1})
    search = entry("search", "floor", {"toy.a": 0.4, "toy.b": 0.3}, inputs=("indication",))
    led = [floor_leads(column(key), [empty, search]) or "" for key in ("toy.a", "toy.b")]
    assert NOT_SEPARATED in led[0]
    assert "no model has a score" in led[1]


def test_a_board_is_ranked_by_the_first_key_with_a_score_on_a_competing_row() -> None:
    columns = [column("toy.a"), column("toy.b"), column("toy.c")]
    wanted = ["gone.x", "toy.a", "toy.b"]

    def chosen(*rows: Entry) -> str:
        found = primary_column(wanted, columns, rows)
        assert found
        return found.key

    ceiling = entry("ref", "ceiling", {"toy.a": 1.0, "toy.b": 1.0, "toy.c": 1.0})
    floor = entry("floor", "floor", {"toy.a": 0.1, "toy.b": 0.1, "toy.c": 0.1})
    model = entry("system", "model", {"toy.a": None, "toy.b": 0.4, "toy.c": 0.4})
    other = Cell(0.9, 0.8, 1.0, n=40, other_version=True)
    older = entry("older", "model", {"toy.a": other, "toy.b": None, "toy.c": None})
    assert chosen(ceiling, floor) == "toy.a"
    assert chosen(ceiling, floor, model) == "toy.b"
    assert chosen(ceiling, floor, model, older) == "toy.b"
    assert chosen(ceiling) == "toy.a"
    assert primary_column(wanted, columns, []) == columns[0]


def test_a_key_without_a_ceiling_ranks_a_board_only_where_nothing_else_does() -> None:
    values = {"toy.a": 0.9, "toy.b": 1.0}
    rows = [entry("ref", "ceiling", values), entry("x", "model", {"toy.a": 0.5, "toy.b": 0.5})]
    columns = marked_columns([column("toy.a"), column("toy.b")], rows)
    found = primary_column(["toy.a", "toy.b"], columns, rows)
    assert found == columns[1]
    alone = primary_column(["toy.a"], columns, rows)
    assert alone == columns[0]


def test_only_the_reference_at_the_best_value_is_beyond_doubt() -> None:
    why = "the interval has no width"
    assert exact(Cell(1.0, 1.0, 1.0, doubt=why), column()).doubt is None
    assert exact(Cell(0.5, 0.5, 0.5, doubt=why), column()).doubt == why
    assert exact(Cell(1.0, 0.9, 1.0, doubt=why), column()).doubt == why


def shown(board: Board, width: int = 240) -> str:
    out = io.StringIO()
    render(Leaderboard(2, (board,)), Console(file=out, width=width))
    return " ".join(out.getvalue().split())


def test_page_terminal_and_json_say_that_a_floor_leads_and_set_no_floor_in_bold(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    bench.add("system", 0.6, seed=1)
    bench.add("second", 0.7, seed=3)
    bench.add("floor", 0.1, seed=2, kind="floor")
    bench.add("oracle", 0.0, kind="ceiling", sees_references=True)
    [board] = collect(tmp_path).boards
    for key in ("bleu.bleu_4", "rouge.rouge_l"):
        found = board.column(key)
        assert found is not None
        assert NOT_SEPARATED in (found.floor_leads or "")
        cells = {entry.label: entry.cells[key] for entry in board.entries}
        assert cells["system"].best  # ties are against the best competing system
        assert not cells["floor"].best
        assert cells["second"].difference
    assert f"▽ led by a floor (floor): {NOT_SEPARATED}" in shown(board)
    narrow = shown(board, width=70).split("▽ led")[1].split("‡")[0]
    assert all(c.key in narrow for c in board.columns if c.headline)  # also those without room
    html = bench.page()
    assert "floor leads</small>" in html
    assert NOT_SEPARATED in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    rows = re.findall(r'<tr class="floor".*?</tr>', html, flags=re.DOTALL)
    assert rows
    assert not any(re.search(r'class="[^"]*best', row) for row in rows)


def test_a_key_that_is_no_headline_says_why_on_the_page_and_in_the_terminal(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    bench.add("system", 0.6, seed=1)
    oracle = bench.add("oracle", 0.0, kind="ceiling", sees_references=True)
    edit(bench.scores(oracle), lambda saved: saved["keys"]["bleu.bleu_2"].update(value=64.3))
    found = collect(tmp_path)
    [board] = found.boards
    column = board.column("bleu.bleu_2")
    assert column is not None
    assert not column.headline
    assert "scores 64.3 here, not 100" in (column.not_headline or "")
    assert "no headline here: bleu.bleu_2: the reference itself scores 64.3" in shown(board)
    assert "Not a headline here: <bdi>bleu.bleu_2</bdi>" in page.render(found)


@pytest.mark.parametrize("dataset", ["phantom", "openi_findings"])
def test_the_reference_has_the_best_value_in_every_headline_of_a_default_board(
    tmp_path: Path, mini_data: Path, dataset: str
) -> None:
    settings = config.load(
        [
            *(f"dataset={dataset}", "model=reference_oracle,empty_report", "tracking=none"),
            *(f"data_dir={mini_data}", f"results_dir={tmp_path / 'r'}", "stats.resamples=50"),
        ]
    )
    run(settings, frozenset({"predict", "score", "publish"}), False, lambda text: None)
    [board] = collect(tmp_path / "r").boards
    headlines = [c for c in board.columns if c.headline]
    assert len(headlines) > 6
    reference = next(entry for entry in board.entries if entry.kind == "ceiling")
    for column in headlines:
        cell = reference.cells[column.key]
        if cell.not_applicable:
            continue
        assert cell.value == pytest.approx(best_possible(column)), column.key
        assert cell.interval is not None
        assert cell.interval[0] <= cell.value <= cell.interval[1], column.key
    lost = [c for c in board.columns if c.not_headline]
    text = shown(board)
    assert all(f"no headline here: {c.key}: {c.not_headline}" in text for c in lost)
    if dataset == "openi_findings":  # a few studies: no class has ten, so no macro average
        assert "f1_chexpert_rules.macro_f1_supported_14" in [c.key for c in lost]
