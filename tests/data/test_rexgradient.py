"""ReXGradient-160K in miniature: every awkward case of the true layout, by name."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from reportcard.api import ImageError, ReportCardError
from reportcard.config import compose as config
from reportcard.config.settings import Plugin
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.data.sources.rexgradient import years
from tests.fixtures import rexgradient as fixture


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fixture.write_rexgradient(tmp_path / "rexgradient")
    return tmp_path / "rexgradient"


def cohort(root: Path, **options: object) -> Cohort:
    return load_cohort(Plugin("rexgradient", "mini", {"root": str(root), **options}))


def views(found: Cohort) -> dict[str, list[str]]:
    return {s.study_id: [i.view for i in s.request.images] for s in found.test}


def test_view_spellings_are_mapped_and_frontal_images_come_first(root: Path) -> None:
    found = views(cohort(root))
    assert found["59999001"] == ["PA", "Lateral"]
    assert found["59999004"] == ["AP", "PA"] or found["59999004"] == ["PA", "AP"]


def test_short_view_lists_and_unmapped_spellings_are_unknown_and_counted(root: Path) -> None:
    found = cohort(root)
    assert views(found)["59999002"] == ["AP", "Unknown"]
    assert views(found)["59999005"] == ["Unknown"]
    assert "1 lists of views shorter than the list of images" in found.notes
    assert "1 views of a spelling that is not mapped" in found.notes


def test_deid_png_prefix_lies_under_the_root(root: Path) -> None:
    image = cohort(root).test[0].request.images[0]
    assert image.path is not None
    assert image.path.is_relative_to(root / "deid_png")
    assert image.pixels().shape == (8, 6)


def test_a_path_out_of_the_root_costs_its_own_image(root: Path) -> None:
    found = cohort(root)
    images = next(s for s in found.test if s.study_id == "59999004").request.images
    kinds = []
    for image in images:
        try:
            image.pixels()
        except ImageError as error:
            kinds.append(error.kind)
    assert kinds == ["outside"]
    assert "1 images name a file outside dataset.root: refused" in found.notes


def test_blank_findings_are_dropped_and_all_adds_up(root: Path) -> None:
    steps = cohort(root).attrition
    assert all(a.after == b.before for a, b in itertools.pairwise(steps))
    assert [(s.rule, s.after) for s in steps] == [
        ("studies of split test", 5),
        ("findings not empty", 4),
        ("at least one image", 4),
    ]
    assert cohort(root, require_frontal=True).attrition[-1].dropped == 1
    assert len(cohort(root, unit="pair").test) == 4


@pytest.mark.parametrize(
    ("age", "found"),
    [("072Y", 72.0), ("006M", 0.5), ("", None), ("72", None), ("x072Y", None)],
)
def test_dicom_ages(age: str, found: float | None) -> None:
    assert years(age) == found


def test_request_has_the_context(root: Path) -> None:
    first, second = cohort(root).test[:2]
    assert (first.request.age, second.request.age) == (0.5, 72.0)
    assert first.request.sex == "F"
    assert first.request.indication == "Cough. CANARY-59999001"
    assert first.request.comparison is None
    assert first.patient_id == "P19999001"


def test_order_of_the_json_changes_nothing(root: Path) -> None:
    before = cohort(root)
    fixture.write_split(root, "test", fixture.items(), seed=7)
    assert cohort(root).fingerprint == before.fingerprint
    assert [s.study_id for s in cohort(root).test] == sorted(s.study_id for s in before.test)


def test_train_part_is_read_only_when_wanted(root: Path) -> None:
    assert [s.study_id for s in cohort(root).train] == ["59999101"]
    (root / "metadata" / "train_metadata_view_position.json").unlink()
    assert cohort(root, train=False).train == ()
    with pytest.raises(ReportCardError, match=r"expected .*train_metadata_view_position\.json"):
        cohort(root)


def test_csv_of_another_length_is_said(root: Path) -> None:
    path = root / "metadata" / "test_metadata.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    assert any("has 4 rows; the JSON 5 studies" in note for note in cohort(root).notes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "expected a JSON dict"),
        ('{"a":\n nope}', r"\.json:2: not JSON"),
        ('{"CANARY": 3}', "entry 0 must be an object"),
        ("[" * 200_000, "nested too deep"),
        ('{"a": {"ImagePath": [1]}}', "ImagePath must be a list of strings"),
        ('{"a": {"ImagePath": [], "Findings": ["CANARY"]}}', "Findings must be a string"),
    ],
)
def test_damage_names_the_file_and_quotes_no_text(root: Path, text: str, reason: str) -> None:
    path = root / "metadata" / "test_metadata_view_position.json"
    path.write_text(text)
    with pytest.raises(ReportCardError, match=reason) as caught:
        cohort(root)
    assert path.name in str(caught.value)
    assert "CANARY" not in str(caught.value)


def test_missing_views_and_null_entries(root: Path) -> None:
    items = fixture.items()
    items["59999001"]["ImageViewPosition"] = None
    items["59999002"]["ImageViewPosition"] = [None, "PA", "PA"]
    fixture.write_split(root, "test", json.loads(json.dumps(items)))
    found = cohort(root)
    assert views(found)["59999001"] == ["Unknown", "Unknown"]
    assert views(found)["59999002"] == ["PA", "Unknown"]
    assert "1 lists of views longer than the list of images" in found.notes


def test_a_path_listed_twice_is_one_image(root: Path) -> None:
    items = fixture.items()
    items["59999003"]["Findings"] = "Clear lungs. CANARY-3"
    items["59999003"] |= {
        "ImagePath": items["59999003"]["ImagePath"] * 2,
        "ImageViewPosition": [None, "PA"],
    }
    fixture.write_split(root, "test", items)
    found = cohort(root)
    assert views(found)["59999003"] == ["PA"]
    assert "1 image paths listed twice in a study: left out" in found.notes


def test_named_cohort_composes(root: Path) -> None:
    (plugin,) = config.load(["dataset=rexgradient_test", f"data_dir={root.parent}"]).datasets
    found = load_cohort(plugin)
    assert found.card.dua_id == "rexgradient"
    assert any(note.endswith("prints 10,000; here 5") for note in found.notes)
