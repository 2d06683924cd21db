"""PadChest in miniature: every awkward case of the true layout, by name."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest

from reportcard.api import ImageError, ReportCardError
from reportcard.cli.main import main
from reportcard.config import compose as config
from reportcard.config.settings import Plugin
from reportcard.core.files import read_json
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.data.sources._padchest_labels import cuis_of, list_of
from reportcard.data.sources.padchest import STEMMED, TRANSLATED, PadChest, read_translation
from tests.fixtures import padchest as fixture
from tests.fixtures.padchest import image_id, patient_id, study_id


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fixture.write_padchest(tmp_path / "padchest")
    return tmp_path / "padchest"


def cohort(root: Path, **options: object) -> Cohort:
    """All patients are test patients, unless the test is about the split."""
    everyone = {"root": str(root), "test_percent": 99, "test_split": "all-1", **options}
    return load_cohort(Plugin("padchest", "mini", everyone))


def numbers(found: Cohort) -> list[int]:
    return [int(s.study_id[5:]) for s in found.test]


def test_fixture_has_the_36_columns_with_a_leading_unnamed_one() -> None:
    assert len(fixture.COLUMNS) == 36
    assert fixture.COLUMNS[0] == ""


def test_ids_beyond_int64_stay_themselves(root: Path) -> None:
    first = cohort(root).test[0]
    assert int(first.study_id) > 2**63
    assert first.study_id == study_id(1)
    assert first.patient_id == patient_id(1)


def test_projection_decides_the_view_and_not_the_dicom_tag(root: Path) -> None:
    found = cohort(root, require_frontal=False)
    views = {int(s.study_id[5:]): [i.view for i in s.request.images] for s in found.test}
    assert views[1] == ["PA", "Lateral"]
    assert [views[n] for n in (2, 3, 4, 5, 6)] == [
        ["AP"],
        ["AP_horizontal"],
        ["COSTAL"],
        ["EXCLUDE"],
        ["Unknown"],
    ]


def test_frontal_is_pa_ap_and_ap_horizontal_and_blank_reports_fall_out(root: Path) -> None:
    found = cohort(root)
    assert numbers(found) == [1, 2, 3, 8, 9, 10, 11]
    steps = found.attrition
    assert all(a.after == b.before for a, b in itertools.pairwise(steps))
    assert [(s.rule, s.dropped) for s in steps[:3]] == [
        ("studies", 0),
        ("report not blank", 1),
        ("frontal view", 3),
    ]
    assert len(cohort(root, unit="pair").test) == 8


def test_16_bit_ramp_reads_0_128_255(root: Path) -> None:
    assert cohort(root).test[0].request.images[0].pixels().tolist() == [[0, 128, 255]] * 2


def test_truncated_png_costs_its_own_study_at_reading(root: Path) -> None:
    found = {int(s.study_id[5:]): s.request.images[0] for s in cohort(root).test}
    with pytest.raises(ReportCardError, match=image_id(8)):
        found[8].pixels()
    assert found[9].pixels().shape == (2, 3)


def test_path_out_of_the_root_is_refused(root: Path) -> None:
    image = cohort(root).test[-1].request.images[0]
    with pytest.raises(ImageError, match=r"leaves the data root"):
        image.pixels()


def test_images_on_the_broken_list_are_skipped_and_counted(root: Path) -> None:
    found = cohort(root, broken=str(root / "broken.txt"))
    images = {int(s.study_id[5:]): s.request.images for s in found.test}
    assert [i.image_id for i in images[9]] == [image_id(9, 1)]
    assert "1 images on the list of broken ones: skipped" in found.notes
    (root / "broken.txt").write_text(image_id(2))
    assert 2 not in numbers(cohort(root, broken=str(root / "broken.txt")))


def test_shared_reports_are_counted(root: Path) -> None:
    assert "2 studies share their report with another study" in cohort(root).notes


def test_list_reprs_are_read_and_code_is_not() -> None:
    assert list_of("['loc  cardiac', 'nodule']") == ["loc cardiac", "nodule"]
    assert list_of("[['a', 'loc  b'], ['normal']]") == [["a", "loc b"], ["normal"]]
    assert list_of("") == list_of("nan") == []
    for cell in ("__import__('os')", "[1]", "'a'", "[", "[" * 500):
        with pytest.raises(ValueError, match="not a list of strings"):
            list_of(cell)


def test_cui_reprs_have_no_commas() -> None:
    assert cuis_of("['C0000001' 'C0000002'\n 'C0000003']") == ["C0000001", "C0000002", "C0000003"]
    assert cuis_of("[]") == []


def test_labels_by_image_and_a_damaged_cell_by_line(root: Path) -> None:
    lists = dict(PadChest(str(root)).labels())[image_id(2)]
    assert lists["Localizations"] == ["loc cardiac", "loc left"]
    assert lists["LocalizationsCUIS"] == ["C0000003", "C0000004"]
    assert lists["LabelsLocalizationsBySentence"] == [["nodule", "loc left"], ["normal"]]
    table = fixture.rows()
    table[0]["Labels"] = "canary-99"
    fixture.write_table(root, table)
    with pytest.raises(ReportCardError, match=r"\.csv:\d+: Labels is not a list") as caught:
        list(PadChest(str(root)).labels())
    assert "canary" not in str(caught.value)


def test_stemmed_text_has_a_caveat_beside_every_score(root: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    arguments = [
        *("run", "dataset=padchest_test", f"data_dir={root.parent}", "dataset.test_percent=50"),
        *("model=most_frequent_report", "metrics=rouge", "tracking=none"),
    ]
    assert main([*arguments, f"results_dir={results}"]) == 0
    (saved,) = results.glob("scores/*/*/*/rouge/scores.json")
    assert {entry["caveat"] for entry in read_json(saved)["keys"].values()} == {STEMMED}
    page = "".join(path.read_text() for path in results.rglob("*.html"))
    assert "stemmed Spanish, not fluent text" in page
    assert cohort(root).card.caveat == STEMMED
    assert "lexical scores against them mean nothing" in (cohort(root).summary().caveat or "")
    assert cohort(root).test[0].request.provenance["translation"] == "none: stemmed Spanish"


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_translation_is_an_input_and_part_of_the_fingerprint(root: Path, kind: str) -> None:
    path = root / f"english.{kind}"
    rows = [{"ReportID": f"4{n:09d}", "text": f'Clear, "lungs"\n{n}.'} for n in (1, 2)]
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(
            "ReportID,text\n"
            + "".join('{},"{}"\n'.format(r["ReportID"], r["text"].replace('"', '""')) for r in rows)
        )
    found = cohort(root, translation=str(path))
    assert numbers(found) == [1, 2, 10]  # 10 shares the report of 2
    assert found.test[0].reference.findings == 'Clear, "lungs"\n1.'
    assert found.attrition[1].rule == "translated"
    assert found.card.caveat == TRANSLATED
    path.write_text(path.read_text() + "\n")  # the same texts, another file
    assert cohort(root, translation=str(path)).fingerprint != found.fingerprint


def test_translation_that_repeats_an_id_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("ReportID,text\n1,a\n1,b\n")
    with pytest.raises(ReportCardError, match=r"t\.csv:3: its ReportID occurs twice"):
        read_translation(path)
    (tmp_path / "t.jsonl").write_text('{"ReportID": 1, "text": "a"}\n')
    with pytest.raises(ReportCardError, match=r"t\.jsonl:1: ReportID and text must be strings"):
        read_translation(tmp_path / "t.jsonl")


def test_a_study_of_two_patients_has_no_side_of_the_split(root: Path) -> None:
    table = fixture.rows()
    table[0]["PatientID"] = patient_id(99)
    fixture.write_table(root, table)
    with pytest.raises(ReportCardError, match=r"\.csv:\d+: another PatientID than") as caught:
        cohort(root)
    assert study_id(1) not in str(caught.value)


def test_a_repeated_image_counts_once_whatever_the_order_of_rows(root: Path) -> None:
    table = fixture.rows()
    again = [table[1], table[1] | {"Report": "otro canary-77"}]
    found = []
    for rows in ([*table, *again], [*reversed(again), *table]):
        fixture.write_table(root, rows)
        found.append(cohort(root))
    assert found[0].fingerprint == found[1].fingerprint
    assert [i.view for i in found[0].test[0].request.images] == ["PA", "Lateral"]
    assert "2 rows repeat an ImageID of their study: left out" in found[0].notes
    assert "2 ReportIDs have several texts: first image's taken" in found[0].notes  # and 2's


def test_split_is_by_patient_named_and_independent_of_the_others(root: Path) -> None:
    half = cohort(root, test_percent=50)
    test, train = ({s.patient_id for s in part} for part in (half.test, half.train))
    assert test
    assert train
    assert not test & train
    fixture.write_table(root, [r for r in fixture.rows() if r["PatientID"] != min(test | train)])
    again = cohort(root, test_percent=50)
    assert {s.patient_id for s in again.test} == test - {min(test | train)}
    tenth = [PadChest("", test_percent=10)._is_test(patient_id(n)) for n in range(2000)]
    assert 150 < sum(tenth) < 250
    other = [PadChest("", test_split="reportcard-2")._is_test(patient_id(n)) for n in range(2000)]
    assert tenth != other


def test_the_split_of_version_1_never_moves() -> None:
    chosen = [n for n in range(60) if PadChest("")._is_test(patient_id(n))]
    assert chosen == [1, 6, 20, 21, 47, 51, 54]


def test_patients_of_excluded_studies_fall_out(root: Path) -> None:
    (root / "master_table.csv").write_text(f"StudyID,split\n{study_id(2)},test\n")
    found = cohort(root, exclude_studies=str(root / "master_table.csv"))
    assert 2 not in numbers(found)
    assert found.attrition[3].rule == "patient not excluded"
    assert found.attrition[3].dropped == 1


def test_row_order_and_packing_change_nothing(root: Path, tmp_path: Path) -> None:
    before = cohort(root)
    table = fixture.rows()
    random.Random(3).shuffle(table)
    fixture.write_table(root, table)
    fixture.write_table(tmp_path / "packed", table, packed=True)
    packed = cohort(tmp_path / "packed")
    assert before.fingerprint == cohort(root).fingerprint == packed.fingerprint
    assert any(note.startswith("text only") for note in packed.notes)


def test_age_and_groups(root: Path) -> None:
    found = {int(s.study_id[5:]): s for s in cohort(root).test}
    assert found[1].request.age == 63.0
    assert found[1].groups["normal"] == "normal"
    assert (found[3].groups["pediatric"], found[3].groups["normal"]) == ("yes", "abnormal")


@pytest.mark.parametrize("percent", ["abc", 5.5, 0, 101, True])
def test_a_percentage_that_makes_no_split_is_refused(percent: object) -> None:
    with pytest.raises(ReportCardError, match="test_percent is a whole number from 1 to 99"):
        PadChest("", test_percent=percent)  # type: ignore[arg-type]


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    fixture.write_table(tmp_path, fixture.rows(), packed=True)
    path = tmp_path / f"{fixture.TABLE}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ReportCardError, match=r"\.csv\.gz is damaged"):
        cohort(tmp_path)


def test_missing_files_of_options_are_named(root: Path) -> None:
    with pytest.raises(ReportCardError, match=r"No file at .*gone\.csv"):
        cohort(root, translation=str(root / "gone.csv"))


def test_named_cohort_composes(root: Path) -> None:
    overrides = ["dataset=padchest_test", f"data_dir={root.parent}", "dataset.test_percent=99"]
    overrides.append("dataset.test_split=all-1")
    (plugin,) = config.load(overrides).datasets
    found = load_cohort(plugin)
    assert found.card.dua_id == "bimcv-padchest"
    pairs = load_cohort(Plugin("padchest", "mini", dict(plugin.options) | {"unit": "pair"}))
    assert not any("108,765" in note for note in pairs.notes)
    assert any("108,765; here 8" in note for note in found.notes)
