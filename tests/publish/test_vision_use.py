"""The vision-use probe on the leaderboard: a flag, a line in the details, and nothing claimed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from reportcard.analysis.check import report_file as saved
from reportcard.analysis.check.vision_use import Change, ImageUse
from reportcard.api import ReportCardError
from reportcard.predict.system import System
from reportcard.publish.board.build import collect
from reportcard.publish.page.terminal_board import render
from reportcard.publish.page.write import write
from tests.publish.test_leaderboard import Bench, Tags

NONE = Change(0.0, 0.0)
SEES = ImageUse(20, 0, NONE, blank=Change(0.61, 1.0), other=Change(0.42, 0.95), claims_pixels=True)
BLIND = ImageUse(20, 0, NONE, blank=NONE, other=NONE, claims_pixels=True)
TEXT_ONLY = ImageUse(20, 0, NONE, blank=NONE, other=NONE, claims_pixels=False)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, n=12)


def probed(bench: Bench, system: System, vision: ImageUse | None) -> Path:
    return saved.write(bench.results_dir, system, [], vision, n=20)


VISION = '["Vision use","'  # a row's details stand in the page as JSON


def text(page: str) -> str:
    return " ".join(Tags(page).text.split())


def printed(bench: Bench) -> str:
    out = io.StringIO()
    render(collect(bench.results_dir), Console(width=160, file=out))
    return out.getvalue()


def test_a_model_that_ignores_its_image_is_flagged_for_every_reader(bench: Bench) -> None:
    probed(bench, bench.add("blind", 0.2), BLIND)
    page = bench.page()
    assert '<span class="tag warn" title="Vision use: 0.00 of the words' in page
    assert text(page).count("ignores its image") == 1
    assert "blind: ignores its image: 0.00 of the words change" in printed(bench)


def test_a_model_that_looks_has_its_number_in_the_details(bench: Bench) -> None:
    probed(bench, bench.add("sees", 0.2), SEES)
    probed(bench, bench.add("reads", 0.3), TEXT_ONLY)
    found = bench.page()
    assert VISION + "0.42 of the words change with another patient\\u2019s image" in found
    assert f'{VISION}text only: its card names no image"]' in found
    assert "ignores its image" not in found + printed(bench)


def test_nothing_is_claimed_of_a_model_that_was_not_probed(bench: Bench) -> None:
    system = bench.add("unknown", 0.2)
    probed(bench, System("unknown", system.plugin, system.adapter, "0" * 64), BLIND)
    probed(bench, system, None)  # the probe had no answers
    found = bench.page()
    assert f'{VISION}not probed"]' in found
    assert "ignores its image" not in found


def test_a_check_under_another_label_is_found_and_an_older_one_is_not(bench: Bench) -> None:
    system = bench.add("one", 0.2)
    path = probed(bench, System("other label", system.plugin, system.adapter, system.fingerprint),
                  BLIND)  # fmt: skip
    assert "ignores its image" in text(bench.page())
    path.write_text(json.dumps({**json.loads(path.read_text()), "phantom": "0"}))
    assert "ignores its image" not in text(bench.page())


def test_the_same_files_give_the_same_bytes(bench: Bench) -> None:
    probed(bench, bench.add("sees", 0.2), SEES)
    first = [path.read_bytes() for path in write(bench.results_dir)]
    assert [path.read_bytes() for path in write(bench.results_dir)] == first
    assert json.loads(first[1])["boards"][0]["rows"][0]["vision"]["other"]["words"] == 0.42


@pytest.mark.parametrize("vision", [{"blank": 1}, "much", {"other": {"words": "0.4"}}])
def test_a_damaged_check_is_named(bench: Bench, vision: object) -> None:
    path = probed(bench, bench.add("sees", 0.2), SEES)
    path.write_text(json.dumps({**json.loads(path.read_text()), "vision": vision}))
    with pytest.raises(ReportCardError, match=r"check\.json is damaged"):
        write(bench.results_dir)
