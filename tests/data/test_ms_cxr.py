"""MS-CXR in miniature: boxes by phrase, rescaled, and rows that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from reportcard.api import Box, ReportCardError
from reportcard.config.settings import Plugin
from reportcard.data.cohort import load_cohort
from reportcard.data.sources.ms_cxr import MsCXR
from tests.fixtures import reserved
from tests.fixtures.ms_cxr import dicom_id, image_path, write_ms_cxr


def test_two_boxes_of_one_phrase_are_one_study(tmp_path: Path) -> None:
    write_ms_cxr(tmp_path)
    selection = MsCXR(str(tmp_path)).select()
    assert len(selection.test) == 4
    rim = next(s for s in selection.test if s.groups["category"] == "Pneumothorax")
    (phrase,) = rim.reference.phrases
    # 100 of 1000 wide, 200 of 2000 high: fractions, though the file has 80 × 96 pixels
    assert phrase.boxes == (Box(0.1, 0.1, 0.15, 0.15), Box(0.6, 0.1, 0.65, 0.15))
    assert rim.request.phrase == phrase.text == "invented rim of air CANARY-1"
    assert rim.reference.findings == phrase.text  # without a text it would not be scored
    assert rim.request.task == "phrase_grounding"
    assert rim.request.images[0].pixels().shape == (96, 80)
    assert rim.patient_id == f"p{reserved.subject(501)}"


def test_text_scores_carry_a_caveat(tmp_path: Path) -> None:
    write_ms_cxr(tmp_path)
    found = load_cohort(Plugin("ms_cxr", "m", {"root": str(tmp_path)}))
    assert "text metrics mean nothing" in (found.summary().caveat or "")


def test_one_phrase_in_two_categories_is_two_studies(tmp_path: Path) -> None:
    write_ms_cxr(tmp_path)
    found = [s for s in MsCXR(str(tmp_path)).select().test if dicom_id(1) in s.study_id]
    assert {s.groups["category"] for s in found} == {"Pneumothorax", "Atelectasis"}
    assert len({s.study_id for s in found}) == 2


def test_a_repeated_box_counts_once_and_a_rounded_one_is_cut(tmp_path: Path) -> None:
    write_ms_cxr(tmp_path)
    selection = MsCXR(str(tmp_path)).select()
    by_image = {s.request.images[0].image_id: s for s in selection.test}
    for study, corners in ((2, (0.1, 0.1, 0.3, 0.3)), (3, (0.95, 0, 1, 0.005))):
        (box,) = by_image[dicom_id(study)].reference.phrases[0].boxes
        assert (box.x_min, box.y_min, box.x_max, box.y_max) == pytest.approx(corners)
    assert any("counted once: 1" in note for note in selection.notes)


def test_a_path_out_of_the_root_is_refused_and_counted(tmp_path: Path) -> None:
    write_ms_cxr(tmp_path)
    selection = MsCXR(str(tmp_path)).select()
    assert (selection.attrition[0].before, selection.attrition[0].dropped) == (5, 1)
    assert any("prints 1,162, here 4 on 3 images" in note for note in selection.notes)


def test_split_is_a_column_of_1_1_0_alone(tmp_path: Path) -> None:
    table = write_ms_cxr(tmp_path)
    assert len(MsCXR(str(tmp_path), split="test").select().test) == 1
    lines = [line.rpartition(",")[0] for line in table.read_text().splitlines()]
    table.write_text("\n".join(lines))
    assert len(MsCXR(str(tmp_path)).select().test) == 4
    with pytest.raises(ReportCardError, match=r"csv:1: no column split"):
        MsCXR(str(tmp_path), split="test").select()


@pytest.mark.parametrize(
    "numbers", ["5,5,-2,2,10,10", "5,5,9,2,10,10", "a,5,2,2,10,10", "1,1,2,2,0,9"]
)
def test_an_impossible_box_names_its_line(tmp_path: Path, numbers: str) -> None:
    table = write_ms_cxr(tmp_path)
    header, *rest = table.read_text().splitlines()
    broken = f"Edema,invented,files/{image_path(1)},{numbers},{dicom_id(1)},test"
    table.write_text("\n".join([header, broken, *rest]))
    with pytest.raises(ReportCardError, match=r"csv:2: x, y, w, h are no box"):
        MsCXR(str(tmp_path)).select()


def test_row_order_changes_nothing(tmp_path: Path) -> None:
    prints = set()
    for seed in range(3):
        write_ms_cxr(tmp_path / str(seed), seed)
        plugin = Plugin("ms_cxr", "ms_cxr", {"root": str(tmp_path / str(seed))})
        prints.add(load_cohort(plugin).fingerprint)
    assert len(prints) == 1


def test_missing_table_says_what_was_expected_where(tmp_path: Path) -> None:
    with pytest.raises(ReportCardError, match=r"expected .*MS_CXR_Local_Alignment_v1\.1\.0\.csv"):
        MsCXR(str(tmp_path)).select()


def test_the_text_of_closed_data_has_its_class() -> None:
    card = MsCXR("nowhere").card
    assert (card.data_class, card.dua_id) == ("credentialed", "physionet-ms-cxr")
