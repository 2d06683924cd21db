"""What is the same for every dataset: its unit is said, its reading named, grounded or not."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from reportcard.api import FRONTAL_VIEWS, LATERAL_VIEWS, Image
from reportcard.config import compose as config
from reportcard.config.settings import Plugin
from reportcard.core.imaging.read import READING
from reportcard.data.cohort import Cohort, load_cohort, plural
from reportcard.score.pairs import References
from tests.fixtures import make_fixtures

FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "mimic_cxr": ("study", {}),
    "ms_cxr": ("phrase", {}),
    "chexpert_plus": ("study", {}),
    "padchest": ("study", {"test_percent": 50}),
    "padchest_gr": ("study", {}),
    "rexgradient": ("study", {}),
    "rexrank_json": ("study", {}),
    "r2gen_json": ("study", {}),
    "folder": ("study", {}),
}
PAIRS = {"mimic_cxr", "chexpert_plus", "padchest", "rexgradient"}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_fixtures(tmp_path_factory.mktemp("miniatures"))


def opened(roots: dict[str, Path], name: str, **options: Any) -> Cohort:
    return load_cohort(Plugin(name, name, {"root": str(roots[name]), **FILES[name][1], **options}))


@cache
def phantom(task: str) -> Cohort:
    return load_cohort(Plugin("phantom", "phantom", {"test": 3, "train": 0, "task": task}))


@pytest.mark.parametrize("name", FILES)
def test_the_unit_is_said(roots: dict[str, Path], name: str) -> None:
    cohort = opened(roots, name)
    assert cohort.unit == cohort.summary().unit == FILES[name][0]
    assert cohort.size == f"{len(cohort.test)} {plural(cohort.unit)}"


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_an_image_report_pair_is_no_study(roots: dict[str, Path], name: str) -> None:
    cohort = opened(roots, name, unit="pair")
    assert cohort.summary().unit == "image-report pair"
    assert {len(study.request.images) for study in cohort.test} == {1}


def test_words_for_units() -> None:
    assert [plural(u) for u in ("study", "image-report pair", "phrase")] == [
        *("studies", "image-report pairs", "phrases")
    ]


@pytest.mark.parametrize("name", FILES)
def test_how_images_are_read_is_in_the_provenance(roots: dict[str, Path], name: str) -> None:
    cohort = opened(roots, name)
    assert {s.request.provenance["reading"] for s in (*cohort.test, *cohort.train)} == {READING}


def test_a_drawn_image_is_not_read_from_a_file() -> None:
    assert "reading" not in phantom("findings").test[0].request.provenance


@pytest.mark.parametrize("name", FILES)
def test_views_are_of_the_list(roots: dict[str, Path], name: str) -> None:
    views = {image.view for study in opened(roots, name).test for image in study.request.images}
    assert views <= {*FRONTAL_VIEWS, *LATERAL_VIEWS, "Unknown", "COSTAL", "EXCLUDE"}
    assert "" not in views


def test_frontal_and_lateral_exclude_each_other_and_unknown_is_neither() -> None:
    frontal = {view for view in FRONTAL_VIEWS if Image("i", view).frontal}
    lateral = {view for view in LATERAL_VIEWS if Image("i", view).lateral}
    assert (frontal, lateral) == (set(FRONTAL_VIEWS), set(LATERAL_VIEWS))
    assert not frontal & lateral
    assert not any((i.frontal, i.lateral) != (False, False) for i in [Image("i", "Unknown")])


def test_phrases_count_one_by_one_only_where_the_task_is_grounded(
    roots: dict[str, Path],
) -> None:
    def phrases(cohort: Cohort) -> list[Any]:
        protocol = config.load_protocol("reportcard")
        return list(References.of(cohort, protocol).phrases)

    narrative, grounded = phantom("findings"), phantom("grounded_findings")
    assert all(study.reference.phrases for study in narrative.test)  # the truth has them anyway
    assert phrases(narrative) == [None] * 3
    assert phrases(grounded) == [study.reference.phrases for study in grounded.test]
    padchest = opened(roots, "padchest_gr")
    assert phrases(padchest) == [study.reference.phrases for study in padchest.test]
    assert phrases(opened(roots, "chexpert_plus"))[0] is None
