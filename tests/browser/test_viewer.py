"""The study viewer as a reader uses it: next, worst first, differences, boxes, hostile reports."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reportcard.api import Box, Image, Phrase
from reportcard.publish.board.build import collect
from reportcard.publish.page.viewer import write_viewers
from tests.browser.axe import barriers
from tests.browser.test_page import HOSTILE
from tests.publish.test_leaderboard import Bench
from tests.publish.test_viewer import drawn

Visit = Callable[..., Any]


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A page of twelve studies: the first with an image and a box, the second hostile."""
    bench = Bench(tmp_path / "results", n=12)
    first, second, *rest = bench.cohort.test
    first = replace(
        first,
        request=replace(first.request, images=(Image("i0", "PA", read=drawn),)),
        reference=replace(
            first.reference, phrases=(Phrase("effusion", (Box(0.1, 0.2, 0.3, 0.4),)),)
        ),
    )
    words = replace(second.reference, findings=" ".join(HOSTILE[:4]))
    second = replace(second, reference=words)
    bench.cohort = replace(bench.cohort, test=(first, second, *rest))
    bench.add("copy", 0.0)
    bench.add("noisy", 0.5)
    model = collect(bench.results_dir)
    write_viewers(model, [(bench.cohort, bench.protocol)], bench.results_dir)
    return bench.results_dir / "leaderboard" / "studies" / bench.cohort.folder / "index.html"


def place(page: Any) -> str:
    found: str = page.locator(".pager output").inner_text()
    return found


def test_next_previous_and_a_permalink(visit: Visit, studies: Path) -> None:
    page = visit(studies)
    assert place(page) == "1 of 12"
    page.get_by_role("button", name="Next").click()
    page.keyboard.press("Escape")
    page.locator("h2").click()
    page.keyboard.press("ArrowRight")
    assert place(page) == "3 of 12"
    name = page.locator("h2").inner_text()
    again = visit(studies, page.evaluate("location.hash"))
    assert again.locator("h2").inner_text() == name
    page.get_by_role("button", name="Previous").click()
    assert place(page) == "2 of 12"


def test_worst_first_by_a_metric_of_one_system(visit: Visit, studies: Path) -> None:
    page = visit(studies)
    page.get_by_label("Sort by").select_option("rouge.rouge_l")
    page.get_by_label("System").select_option("noisy")
    seen = []
    for _ in range(12):
        cell = page.locator(".answer dl div", has_text="rouge.rouge_l")
        seen.append(float(cell.locator("dd").inner_text()))
        page.get_by_role("button", name="Next").click()
    assert seen == sorted(seen)
    assert seen[0] < seen[-1]


def test_differences_are_marked_and_can_be_left_out(visit: Visit, studies: Path) -> None:
    page = visit(studies)
    page.get_by_label("System").select_option("copy")
    assert page.locator(".answer ins, .answer del").count() == 0
    page.get_by_label("System").select_option("noisy")
    reference = page.locator(".given .report").inner_text()
    assert page.locator(".answer ins").count() > 0
    kept = page.locator(".answer .report").evaluate(
        "(p) => { p.querySelectorAll('ins').forEach((e) => e.remove()); return p.textContent; }"
    )
    assert re.findall(r"\w+", kept.lower()) == re.findall(r"\w+", reference.lower())
    page.get_by_label("differences").uncheck()
    assert page.locator(".answer ins, .answer del").count() == 0


def test_the_image_is_drawn_with_the_boxes_of_the_reference(visit: Visit, studies: Path) -> None:
    page = visit(studies)
    assert page.evaluate("document.images[0].naturalWidth") == 384
    box = page.locator("rect.reference").bounding_box()
    image = page.locator("img").bounding_box()
    assert box["x"] == pytest.approx(image["x"] + 0.1 * image["width"], abs=2)
    assert box["width"] == pytest.approx(0.2 * image["width"], abs=3)


def test_hostile_reports_stay_text(visit: Visit, studies: Path) -> None:
    page = visit(studies)
    page.get_by_role("button", name="Next").click()
    text = page.locator(".given .report").evaluate("(p) => p.textContent")
    assert all(words in text for words in HOSTILE[:4])
    assert page.evaluate("window.broken") is None
    assert page.locator("main img, textarea").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_barrier_and_no_sideways_scroll(
    visit: Visit, studies: Path, scheme: str
) -> None:
    page = visit(studies, color_scheme=scheme)
    assert barriers(page) == []
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
