"""Names of datasets: two names of one collection are one, and lookalikes are not."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from reportcard.data.dataset_names import (
    COLLECTIONS,
    collection_of,
    names_dataset,
    same_dataset,
)
from reportcard.publish.board.boards import BoardCohort, Entry
from reportcard.publish.board.published import published
from reportcard.publish.page.row_view import trained_on_this


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("IU X-Ray", "Open-I (Indiana University)"),
        ("iu_xray", "OpenI"),
        ("Indiana University Chest X-ray Collection", "IU-Xray"),
        ("MIMIC-CXR-JPG", "mimic-cxr"),
        ("ReXGradient-160K", "ReXGradient"),
        ("PadChest (BIMCV)", "BIMCV PadChest"),
    ],
)
def test_one_collection_under_two_names(a: str, b: str) -> None:
    assert same_dataset(a, b)
    assert same_dataset(b, a)


def test_no_two_collections_share_a_name() -> None:
    for a, b in combinations(COLLECTIONS, 2):
        assert not same_dataset(a, b)
        assert not {*map(collection_of, COLLECTIONS[a])} & {b}


@pytest.mark.parametrize(
    ("a", "b"), [("PadChest", "PadChest-GR"), ("CheXpert", "CheXpert Plus"), ("IU", "US-CXR")]
)
def test_lookalikes_are_two_collections(a: str, b: str) -> None:
    assert not same_dataset(a, b)


@pytest.mark.parametrize(
    ("text", "dataset", "named"),
    [
        ("IU X-ray", "Open-I (Indiana University)", True),
        ("MIMIC-CXR (findings in part rewritten)", "MS-CXR", True),
        ("trained on PadChest and others", "PadChest-GR (BIMCV)", True),
        ("MIMIC-IV notes", "MIMIC-CXR", False),
        ("OpenImages", "Open-I (Indiana University)", False),
        ("nothing: a toy", "Open-I (Indiana University)", False),
        ("our hospital, 2020", "Our hospital", True),
    ],
)
def test_a_card_that_names_the_dataset(text: str, dataset: str, named: bool) -> None:
    assert names_dataset(text, dataset) is named
    entry = Entry("a", "a@0", "0", trained_on=(text,))
    assert trained_on_this(entry, BoardCohort("somewhere", "0", dataset)) is named


def test_published_figures_of_one_collection_are_one_cohort(tmp_path: Path) -> None:
    for name, dataset, value in (("a", "Open-I", "1.0"), ("b", "IU X-Ray", "2.0")):
        (tmp_path / f"{name}.yaml").write_text(
            f"title: {name}\ntables:\n  - dataset: {dataset}\n    section: findings\n    n: 590\n"
            f"    source: Table 1\n    second_hand: false\n    figures:\n"
            f"      System {name}: {{BLEU-1: {value}}}\n",
            encoding="utf-8",
        )
    (one,) = published(tmp_path)
    assert one.dataset == "Open-I / IU X-Ray"
    assert [figure.system for figure in one.figures] == ["System a", "System b"]
    assert one.goes_by("IU X-Ray findings, n 590")
    assert one.goes_by("Open-I")
    assert not one.goes_by("MIMIC")
