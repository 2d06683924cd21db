"""The study viewer's files: what is written for whom, which studies, and the same bytes again."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reportcard.api import Box, Image, Json, Phrase
from reportcard.publish.board.build import collect
from reportcard.publish.page import viewer
from reportcard.publish.page.viewer import write_viewers
from tests.publish.test_leaderboard import HOSTILE, Bench


def drawn() -> np.ndarray:
    return np.tile(np.arange(200, dtype=np.uint8), (600, 4))


def write(bench: Bench, text: str = "open") -> dict[str, str]:
    model = collect(bench.results_dir)
    return write_viewers(model, [(bench.cohort, bench.protocol)], bench.results_dir, text)


def page(bench: Bench) -> Path:
    return bench.results_dir / "leaderboard" / "studies" / bench.cohort.folder / "index.html"


def data(bench: Bench) -> Json:
    found = re.search(r'id="data">(.*?)</script>', page(bench).read_text(), re.S)
    assert found
    loaded: Json = json.loads(found[1])
    return loaded


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_open_cohort_is_shown_with_values_of_each_report(bench: Bench) -> None:
    bench.add("good", 0.1)
    bench.add("oracle", 0.0, kind="ceiling")
    assert list(write(bench)) == [bench.cohort.folder]
    shown = data(bench)
    assert len(shown["studies"]) == 60
    at = [key["key"] for key in shown["keys"]].index("rouge.rouge_l")
    oracle = [system["label"] for system in shown["systems"]].index("oracle")
    assert all(study["answers"][oracle]["values"][at] == 1.0 for study in shown["studies"])
    assert shown["studies"][0]["answers"][oracle]["text"] == shown["studies"][0]["reference"]


def test_a_second_build_has_the_same_bytes(bench: Bench) -> None:
    bench.add("good", 0.1)
    write(bench)
    first = page(bench).read_bytes()
    write(bench)
    assert page(bench).read_bytes() == first


def test_a_closed_cohort_is_shown_only_when_asked_and_only_to_its_owner(bench: Bench) -> None:
    bench.cohort = replace(bench.cohort, card=replace(bench.cohort.card, data_class="credentialed"))
    bench.add("good", 0.1)
    assert write(bench) == {}
    assert not page(bench).exists()
    assert list(write(bench, "on")) == [bench.cohort.folder]
    assert stat.S_IMODE(page(bench).stat().st_mode) == 0o600
    assert stat.S_IMODE(page(bench).parent.stat().st_mode) == 0o700
    assert write(bench) == {}  # and it is gone again
    assert not page(bench).exists()


def test_a_large_cohort_shows_its_worst_and_some_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add("good", 0.5)
    write(bench)
    every = data(bench)
    at = [key["key"] for key in every["keys"]].index(every["primary"])
    worst = sorted(every["studies"], key=lambda s: (s["answers"][0]["values"][at], s["id"]))
    monkeypatch.setattr(viewer, "WORST", 10)
    monkeypatch.setattr(viewer, "RANDOM", 5)
    write(bench)
    shown = [study["id"] for study in data(bench)["studies"]]
    assert shown[:10] == [study["id"] for study in worst[:10]]
    assert len(set(shown)) == 15


def test_images_and_boxes_of_open_data_are_there(bench: Bench) -> None:
    first, *rest = bench.cohort.test
    request = replace(first.request, images=(Image("i0", "PA", read=drawn),))
    phrase = Phrase("effusion", (Box(0.1, 0.2, 0.3, 0.4),))
    reference = replace(first.reference, phrases=(phrase,))
    bench.cohort = replace(
        bench.cohort, test=(replace(first, request=request, reference=reference), *rest)
    )
    bench.add("good", 0.1)
    write(bench)
    study = data(bench)["studies"][0]
    assert study["phrases"] == [{"text": "effusion", "boxes": [[0.1, 0.2, 0.3, 0.4]]}]
    assert max(study["images"][0]["size"]) <= viewer.PIXELS
    assert (page(bench).parent / study["images"][0]["file"]).read_bytes()[:4] == b"\x89PNG"


def test_no_report_can_leave_the_data_it_stands_in(bench: Bench) -> None:
    first, *rest = bench.cohort.test
    hostile = replace(first.reference, findings=" ".join((*HOSTILE, "</script>" * 9_000)))
    bench.cohort = replace(bench.cohort, test=(replace(first, reference=hostile), *rest))
    bench.add("good", 0.0)
    write(bench)
    assert page(bench).read_text().count("</script>") == 2
    assert len(data(bench)["studies"][0]["reference"]) < 21_000
