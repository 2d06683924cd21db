"""CheXpert Plus in miniature: every awkward case of the true layout, by name."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from reportcard.api import ImageError, ReportCardError
from reportcard.config import compose as config
from reportcard.config.settings import Plugin
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.data.sources.chexpert_plus import ChexpertPlus
from tests.fixtures import chexpert_plus as fixture

S = "valid/patient1999900{}/study1".format


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fixture.write_chexpert_plus(tmp_path / "chexpert_plus")
    return tmp_path / "chexpert_plus"


def cohort(root: Path, **options: object) -> Cohort:
    return load_cohort(Plugin("chexpert_plus", "mini", {"root": str(root), **options}))


def test_fixture_has_the_27_columns() -> None:
    assert len(fixture.COLUMNS) == 27


def test_studies_are_the_first_three_parts_of_the_path(root: Path) -> None:
    found = cohort(root)
    assert [s.study_id for s in found.test] == [S(1), S(5)]
    assert [s.study_id for s in found.train] == ["train/patient19999006/study1"]
    assert found.test[0].patient_id == "patient19999001"


def test_blank_and_literal_backslash_n_are_missing_sections(root: Path) -> None:
    studies, _, _ = ChexpertPlus(str(root))._studies()
    by_id = {s.study_id: s.reference for s in studies}
    assert by_id[S(2)].findings is None
    assert by_id[S(2)].impression == "NO ACUTE DISEASE. CANARY-3"
    assert by_id[S(3)].findings is None
    assert by_id[S(3)].impression is None


def test_quoted_newlines_and_capitals_stay_as_written(root: Path) -> None:
    assert cohort(root).test[0].reference.findings == fixture.TWO_LINES
    anyview = cohort(root, require_frontal=False)
    assert anyview.test[1].reference.findings == fixture.CAPITALS


def test_indication_is_clinical_history_else_history(root: Path) -> None:
    first, fifth = cohort(root).test
    assert first.request.indication == "Cough. CANARY-2"
    assert fifth.request.indication == "Fever. CANARY-6"
    assert (first.request.age, first.request.sex) == (61.0, "F")


@pytest.mark.parametrize("folder", ["PNG", "PNG/PNG", "."])
def test_jpg_paths_lead_to_png_files_below_either_root(tmp_path: Path, folder: str) -> None:
    fixture.write_chexpert_plus(tmp_path, images=folder)
    frontal, lateral = cohort(tmp_path).test[0].request.images
    assert (frontal.view, lateral.view) == ("PA", "Lateral")
    assert frontal.path is not None
    assert frontal.path.suffix == ".png"
    assert frontal.pixels()[0, 63] == 63


def test_a_path_out_of_the_root_costs_its_own_image(root: Path) -> None:
    found = cohort(root)
    (image,) = found.test[1].request.images
    with pytest.raises(ImageError, match=r"leaves the data root") as caught:
        image.pixels()
    assert caught.value.kind == "outside"
    assert "1 images name a file outside dataset.root: refused" in found.notes


def test_a_link_out_of_the_root_is_refused(root: Path, tmp_path: Path) -> None:
    path = root / "PNG" / S(1) / "view1_frontal.png"
    path.rename(tmp_path / "elsewhere.png")
    path.symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(ImageError, match=r"leaves the data root"):
        cohort(root).test[0].request.images[0].pixels()


def test_unit_pair_makes_an_example_of_each_frontal_image(root: Path) -> None:
    found = cohort(root, unit="pair")
    assert found.test[0].study_id == f"{S(1)}/view1_frontal"
    assert [len(s.request.images) for s in found.test] == [1, 1]
    assert found.attrition[0].rule == "images"
    assert found.attrition[0].before == len(fixture.rows())
    assert found.test[0].request.provenance["unit"] == "pair"
    assert found.fingerprint != cohort(root).fingerprint


def test_one_frontal_image_per_study(root: Path) -> None:
    table = fixture.rows()
    table[1] |= {"frontal_lateral": "Frontal", "ap_pa": "PA"}
    table[0] |= {"ap_pa": "AP"}
    fixture.write_table(root, table)
    views = [
        cohort(root, frontal_select=policy).test[0].request.images
        for policy in ("prefer_pa", "first", "all")
    ]
    assert [[i.image_id[-13:] for i in images] for images in views] == [
        ["view2_lateral"],
        ["view1_frontal"],
        ["view2_lateral", "view1_frontal"],
    ]


def test_laterals_come_by_their_own_policy(root: Path) -> None:
    views = [
        [image.view for image in cohort(root, lateral_select=policy).test[0].request.images]
        for policy in ("all", "first", "none")
    ]
    assert views == [["PA", "Lateral"], ["PA", "Lateral"], ["PA"]]
    with pytest.raises(ReportCardError, match="unit is one of study, pair, not 'image'"):
        cohort(root, unit="image")


def test_kept_and_dropped_add_up(root: Path) -> None:
    for options in ({}, {"unit": "pair"}, {"require_frontal": False}):
        steps = cohort(root, **options).attrition
        assert all(a.after == b.before for a, b in itertools.pairwise(steps))
    assert [(s.rule, s.after) for s in cohort(root).attrition] == [
        ("studies", 7),
        ("split valid", 5),
        ("findings not empty", 3),
        ("frontal view", 2),
    ]


def test_row_order_and_extra_columns_change_nothing(root: Path) -> None:
    before = cohort(root)
    table = fixture.rows()
    random.Random(5).shuffle(table)
    fixture.write_table(root, table)
    after = cohort(root)
    assert before.fingerprint == after.fingerprint
    assert before.train_fingerprint == after.train_fingerprint
    assert [s.study_id for s in before.test] == [s.study_id for s in after.test]


def test_rows_of_a_study_that_disagree_are_counted(root: Path) -> None:
    table = fixture.rows()
    table[1]["section_findings"] = "Another text. CANARY-9"
    fixture.write_table(root, table)
    found = cohort(root)
    assert found.test[0].reference.findings == fixture.TWO_LINES
    assert any(note.startswith("1 studies have rows with different") for note in found.notes)


def test_a_repeated_path_counts_once_whatever_the_order_of_rows(root: Path) -> None:
    table = fixture.rows()
    again = [table[0], table[0] | {"section_findings": "Another text. CANARY-9"}]
    found = []
    for rows in ([*table, *again], [*reversed(again), *table]):
        fixture.write_table(root, rows)
        found.append(cohort(root))
    assert found[0].fingerprint == found[1].fingerprint
    assert [i.view for i in found[0].test[0].request.images] == ["PA", "Lateral"]
    assert "2 rows repeat a path of their study: left out" in found[0].notes
    assert any(note.startswith("1 studies have rows with different") for note in found[0].notes)


def test_a_study_in_two_splits_is_an_error_with_its_line(root: Path) -> None:
    table = fixture.rows()
    table[1]["split"] = "train"
    fixture.write_table(root, table)
    with pytest.raises(ReportCardError, match=r"\.csv:\d+: another split than its study's first"):
        cohort(root)


def test_labels_are_json_lines_by_image_path(root: Path) -> None:
    labels = ChexpertPlus(str(root)).labels("findings")
    assert labels[S(1)] == {"Edema": None, "No Finding": 1.0}


def test_text_alone_says_so(tmp_path: Path) -> None:
    fixture.write_table(tmp_path, [r for r in fixture.rows() if ".." not in r["path_to_image"]])
    found = cohort(tmp_path)
    assert not found.has_images
    assert any(note.startswith("text only") for note in found.notes)


def test_papers_n_is_printed_and_not_asserted(root: Path) -> None:
    assert "A paper prints 61; here 2" in cohort(root, expected={"study": {"A paper": 61}}).notes
    pairs = cohort(root, unit="pair", expected={"study": {"A paper": 61}})
    assert not any("A paper" in note for note in pairs.notes)


def test_damage_names_file_and_line_and_quotes_nothing(root: Path) -> None:
    path = root / "df_chexpert_plus_240401.csv"
    whole = path.read_text()
    path.write_text(whole + "valid/patient19999009/study1/view1_frontal.jpg,CANARY-10\n")
    with pytest.raises(ReportCardError, match=r"csv:\d+: 2 fields where the header has 27") as e:
        cohort(root)
    assert "CANARY" not in str(e.value)
    path.write_text(whole.replace("section_findings", "findings", 1))
    with pytest.raises(ReportCardError, match=r"csv:1: no column section_findings"):
        cohort(root)


def test_unknown_options_and_splits_are_named(root: Path) -> None:
    with pytest.raises(ReportCardError, match="frontal_select is one of all, first, prefer_pa"):
        cohort(root, frontal_select="best")
    with pytest.raises(ReportCardError, match="no split 'test'; it has train, valid"):
        cohort(root, split="test")


@pytest.mark.parametrize("name", ["chexpert_plus_valid", "chexpert_plus_llava_rad"])
def test_named_cohorts_compose(root: Path, name: str) -> None:
    (plugin,) = config.load([f"dataset={name}", f"data_dir={root.parent}"]).datasets
    found = load_cohort(plugin)
    assert len(found.test) == 2
    assert found.card.dua_id == "stanford-chexpert-plus"
    assert found.card.data_class == "registered"
