"""The leaderboard as a reader uses it: tabs, sort, search, filters, columns, details, links."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.api import Json
from harness.leaderboard.page import render
from tests.browser.axe import barriers
from tests.leaderboard.synthetic import leaderboard

Visit = Callable[..., Any]
HOSTILE = (
    "<script>window.broken = 1</script>",
    "</script><script>window.broken = 1</script>",
    '</textarea><img src=x onerror="window.broken = 1">',
    "\N{RIGHT-TO-LEFT OVERRIDE}\N{HEBREW LETTER ALEF}\N{HEBREW LETTER BET} report",
    "<b>word</b> " * 4_200,  # 50 kB
)


@pytest.fixture(scope="module")
def model() -> Json:
    return leaderboard(models=12, cohorts=2)


def labels(page: Any) -> list[str]:
    found: list[str] = page.locator(".board.open tbody tr:visible a.label").all_inner_texts()
    return found


def values(page: Any, key: str) -> list[float]:
    """The column's figures, top down, of the rows that are no ceiling."""
    return [
        float(re.search(r"\d\.\d+", text)[0])
        for text in page.evaluate(
            """(key) => {
              const table = document.querySelector('.board.open table');
              const heads = [...table.querySelectorAll('.keys th')];
              const at = heads.findIndex((th) => th.textContent.startsWith(key));
              return [...table.tBodies[0].rows].filter((row) => !row.classList.contains('ceiling'))
                .map((row) => row.cells[at].textContent);
            }""",
            key,
        )
    ]


def test_a_click_sorts_best_first_and_the_next_turns_it(visit: Visit, model: Json) -> None:
    page = visit(model)
    head = page.get_by_role("columnheader", name="radcliq_v1")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"  # lower is better
    assert values(page, "radcliq_v1") == sorted(values(page, "radcliq_v1"))
    assert labels(page)[0] == "ceiling_00"
    head.get_by_role("button").click()
    assert values(page, "radcliq_v1") == sorted(values(page, "radcliq_v1"), reverse=True)
    assert labels(page)[0] == "ceiling_00"
    head.get_by_role("button").click()
    assert values(page, "f1_1") == sorted(values(page, "f1_1"), reverse=True)


def test_tabs_answer_to_mouse_and_arrows(visit: Visit, model: Json) -> None:
    page = visit(model)
    page.get_by_role("tab", name="cohort_1").click()
    assert page.locator(".board.open h2").inner_text() == "cohort_1"
    page.keyboard.press("ArrowLeft")
    assert page.locator(".board.open h2").inner_text() == "cohort_0"
    assert page.get_by_role("tab", name="cohort_0").get_attribute("aria-selected") == "true"


def test_search_and_filters_narrow_the_rows(visit: Visit, model: Json) -> None:
    page = visit(model)
    page.get_by_role("searchbox").fill("mode collapse")
    assert labels(page) == ["model_05"]
    assert "1 of 12 rows" in page.locator(".board.open .tools").inner_text()
    page.get_by_role("searchbox").fill("")
    page.get_by_label("Kind of system").select_option("floor")
    assert labels(page) == ["floor_01"]
    page.get_by_label("Kind of system").select_option("")
    page.get_by_label("Tier").select_option("re-scored from predictions")
    assert len(labels(page)) == 6


def test_the_column_picker_shows_and_hides(visit: Visit, model: Json) -> None:
    page = visit(model)
    page.locator(".board.open .picker summary").click()
    page.get_by_label("bleu.bleu_1", exact=True).check()
    page.get_by_label("rouge.rouge_l", exact=True).uncheck()
    heads = page.locator(".board.open .keys th").all_inner_texts()
    assert any(text.startswith("bleu_1") for text in heads)
    assert not any(text.startswith("rouge_l") for text in heads)
    spans = page.evaluate(
        """() => [...document.querySelector('.board.open table').tHead.rows]
             .map((row) => [...row.cells].reduce((n, cell) => n + cell.colSpan, 0))"""
    )
    assert len(set(spans)) == 1
    row = page.locator(".board.open .scores tbody tr").nth(1)
    cell = next(r for r in model["boards"][0]["rows"] if r["kind"] != "ceiling")["cells"]
    assert f"{cell['bleu.bleu_1']['value']:.3f}" in row.inner_text()


def test_a_permalink_brings_everything_back(visit: Visit, model: Json) -> None:
    page = visit(model)
    page.get_by_role("tab", name="cohort_1").click()
    page.get_by_role("columnheader", name="iou_2").get_by_role("button").click()
    page.locator(".board.open").get_by_label("Kind of system").select_option("model")
    page.locator(".board.open .picker summary").click()
    page.locator(".board.open").get_by_label("bleu.bleu_2", exact=True).check()
    page.keyboard.press("Escape")
    page.get_by_role("link", name="model_07").click()
    shown = labels(page)
    again = visit(model, page.evaluate("location.hash"))
    assert again.locator("dialog[open] h2").inner_text().startswith("model_07")
    again.keyboard.press("Escape")
    assert again.locator(".board.open h2").inner_text() == "cohort_1"
    assert labels(again) == shown
    assert again.get_by_role("columnheader", name="bleu_2").is_visible()
    assert "row=" not in again.evaluate("location.hash")


def test_details_hold_findings_errors_subgroups_and_signature(visit: Visit, model: Json) -> None:
    page = visit(model)
    page.get_by_role("link", name="model_03").click()
    text = page.locator("dialog[open]").inner_text()
    for words in (
        *("Pneumothorax", "Omissions per report", "3.1 % of 480 reports", "Subgroups", "PA"),
        *("f1_chexpert_rules|v1|seed:0|n:500", "P", "bleu.bleu_1", "predictions.jsonl"),
    ):
        assert words in text
    page.get_by_role("button", name="Close").click()
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.textContent") == "model_03"


def test_the_copy_button_copies_the_line(visit: Visit, model: Json) -> None:
    page = visit(model, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("link", name="model_03").click()
    page.locator("dialog .cite button").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("dialog .cite code").inner_text()
    assert re.match(r"model_03@00000003: f1_chexpert_rules\.f1_1 0\.\d{3} \[", copied)


def test_everything_is_reached_by_keyboard(visit: Visit, model: Json) -> None:
    page = visit(model)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    names = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break  # out of the page's end
        names.add(
            page.evaluate(
                "document.activeElement.ariaLabel || document.activeElement.textContent.trim()"
            )
        )
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
    assert {"Search systems", "Tier", "Columns", "System", "model_03"} <= names
    page.get_by_role("link", name="model_03").focus()
    page.keyboard.press("Enter")
    assert page.locator("dialog[open]").count() == 1
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_rank_interval_disclosures_and_flags_are_in_the_table(visit: Visit, model: Json) -> None:
    page = visit(model)
    first = page.locator(".board.open .scores tbody tr", has=page.get_by_role("rowheader")).nth(1)
    assert "1–3" in first.inner_text()
    assert "P(first) 60.0 %" in first.inner_text()
    text = page.locator(".board.open table.scores").inner_text()
    assert "read frontal 500, lateral 30" in text
    assert "re-scored from predictions" in text
    page.get_by_role("tab", name="cohort_1").click()
    trained = page.locator(".board.open .scores tbody tr", has_text="trained on this data set")
    assert set(trained.locator("a.label").all_inner_texts()) == {"model_02", "model_09"}


def test_dark_is_the_systems_choice_and_the_readers(visit: Visit, model: Json) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light = visit(model, color_scheme="light").evaluate(paper)
    page = visit(model, color_scheme="dark")
    dark = page.evaluate(paper)
    assert dark != light
    page.get_by_role("button", name="Theme: auto").click()
    assert page.evaluate(paper) == light
    page.reload()
    assert page.get_by_role("button", name="Theme: light").is_visible()


def test_hostile_words_stay_text(visit: Visit) -> None:
    model = leaderboard(models=6, cohorts=1)
    for row, text in zip(model["boards"][0]["rows"], HOSTILE, strict=False):
        row |= {"label": f"x {text[:60]}", "description": text, "inputs": [text[:60]], "used": {}}
        row["details"]["findings"][0]["name"] = text
        row["details"]["subgroups"] = {text: [{"value": text, "n": 1, "cells": {}}]}
        row["cells"]["bleu.bleu_4"] = {
            **{"value": None, "ci_low": None, "ci_high": None, "not_run": text}
        }
    page = visit(model)
    for i, text in enumerate(HOSTILE):
        page.locator(".board.open a.label").nth(i).click()
        assert text.strip() in page.locator("dialog[open]").evaluate("(d) => d.textContent")
        page.keyboard.press("Escape")
    assert page.evaluate("window.broken") is None
    assert page.locator("img, textarea, td b").count() == 0


def test_without_javascript_the_tables_are_readable(visit: Visit, model: Json) -> None:
    page = visit(model, java_script_enabled=False)
    assert page.locator(".board").nth(0).is_visible()
    assert page.locator(".board").nth(1).is_visible()
    assert page.locator("table.scores").nth(0).locator("tbody tr").count() == 12
    assert page.locator("noscript p").first.is_visible()


def test_print_shows_every_board_and_no_controls(visit: Visit, model: Json) -> None:
    page = visit(model)
    page.emulate_media(media="print")
    assert page.locator(".board").nth(1).is_visible()
    assert not page.get_by_role("searchbox").first.is_visible()
    assert not page.locator(".tabs").is_visible()


def test_a_phone_scrolls_the_table_and_not_the_page(visit: Visit, model: Json) -> None:
    page = visit(model, viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    scroll = page.locator(".board.open .scroll").first
    scroll.evaluate("(box) => { box.scrollLeft = 600; }")
    box = page.get_by_role("link", name="model_03").bounding_box()
    assert 0 <= box["x"] < 100  # the names stay
    page.get_by_role("link", name="model_03").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_barrier(visit: Visit, model: Json, scheme: str) -> None:
    page = visit(model, color_scheme=scheme)
    assert barriers(page) == []
    page.locator(".board.open .picker summary").click()
    assert barriers(page) == []
    page.locator(".board.open .picker summary").click()
    page.get_by_role("link", name="model_03").click()
    assert barriers(page) == []


def test_sixty_models_four_cohorts_sixty_keys_are_quick(visit: Visit, tmp_path: Path) -> None:
    """The page's own work in seconds of its thread: what else the machine does is not counted."""
    page = visit(leaderboard(models=3, cohorts=1))
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def worked(act: Callable[[], Any]) -> float:
        names = ("LayoutDuration", "RecalcStyleDuration", "ScriptDuration")

        def total(*names: str) -> float:
            found = session.send("Performance.getMetrics")["metrics"]
            return sum(metric["value"] for metric in found if metric["name"] in names)

        before = total(*names)
        act()
        return total(*names) - before

    def load() -> None:
        page.reload()
        page.wait_for_selector(".board.open .tools")

    def sort() -> None:
        page.get_by_role("columnheader", name="bleu_4").get_by_role("button").evaluate(
            "(b) => { b.click(); return b.closest('table').offsetHeight; }"
        )

    (tmp_path / "index.html").write_text(render(leaderboard()), encoding="utf-8")
    assert worked(load) < 2
    assert page.locator(".board.open .scores tbody tr").count() == 60
    assert min(worked(sort) for _ in range(4)) < 0.1
