"""MIMIC-CXR in miniature: every awkward case by name, the policies of choice, and the index."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reportcard.api import ImageError, ReportCardError, Selection, Study
from reportcard.config import compose as config
from reportcard.config.settings import Plugin
from reportcard.data.cohort import load_cohort
from reportcard.data.sources import report_sections as sections
from reportcard.data.sources._mimic import index as _mimic_index
from reportcard.data.sources._mimic.index import Exam, Radiograph
from reportcard.data.sources._mimic.mimic_tables import seconds_of_day, study_date
from reportcard.data.sources._mimic.select import PriorPolicy, pick_lateral
from reportcard.data.sources._mimic.studies import Example, ImageFiles, Studies, StudyTexts
from reportcard.data.sources.mimic_cxr import MimicCXR
from tests.fixtures import reserved
from tests.fixtures.mimic_cxr import (
    CASES,
    STUDIES,
    dicom_id,
    folder,
    pair_id,
    report,
    study_id,
    write_mimic_cxr,
)

FIRST = "two frontals and a lateral"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mimic")
    write_mimic_cxr(path)
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTCARD_CACHE", str(tmp_path / "cache"))


def select(root: Path, **options: Any) -> Selection:
    return MimicCXR(str(root), **options).select()


def by_id(root: Path, **options: Any) -> dict[str, Study]:
    return {study.study_id: study for study in select(root, **options).test}


def image_ids(study: Study) -> list[str]:
    return [image.image_id for image in study.request.images]


def prior_of(root: Path, name: str, **options: Any) -> str | None:
    """The name of the case that is the prior of a case; None without one."""
    prior = by_id(root, **options)[study_id(name)].request.prior
    if prior is None:
        return None
    named = {dicom_id(c.name, i): c.name for c in STUDIES for i in range(len(c.images))}
    return named[prior.images[0].image_id]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("all", [2, 0]), ("prefer_pa", [2]), ("first", None)],
)
def test_two_frontals_in_a_study(root: Path, policy: str, expected: list[int] | None) -> None:
    found = image_ids(by_id(root, frontal_select=policy)[study_id(FIRST)])
    if expected is None:
        assert found == [min(dicom_id(FIRST, 0), dicom_id(FIRST, 2))]
    else:  # image 2 is the PA
        assert found == [dicom_id(FIRST, i) for i in expected]


def test_each_frontal_is_a_pair_of_its_own(root: Path) -> None:
    pairs = by_id(root, unit="pair")
    assert {pair_id(FIRST, 0), pair_id(FIRST, 2)} <= set(pairs)
    assert pair_id(FIRST, 1) not in pairs  # the lateral
    assert pairs[pair_id(FIRST, 0)].patient_id == f"p{reserved.subject(1)}"
    preferred = by_id(root, unit="pair", frontal_select="prefer_pa")
    assert [key for key in preferred if key.startswith(study_id(FIRST))] == [pair_id(FIRST, 2)]


def test_lateral_of_either_name(root: Path) -> None:
    studies = by_id(root, lateral_select="first")
    assert [i.view for i in studies[study_id("AP and LATERAL")].request.images] == ["AP", "LATERAL"]
    assert [i.view for i in studies[study_id("PA and LL")].request.images] == ["PA", "LL"]
    drawn = by_id(root, lateral_select="random:7")
    assert image_ids(drawn[study_id("PA and LL")]) == image_ids(studies[study_id("PA and LL")])
    assert drawn[study_id("PA and LL")].request.provenance["lateral_select"] == "random:7"


@pytest.mark.parametrize(
    "name",
    [
        *("blank ViewPosition", "lateral only", "other views", "no findings", "empty findings"),
        *("last_paragraph", "prior without report", "no metadata at all"),
    ],
)
def test_left_out_of_the_cohort(root: Path, name: str) -> None:
    assert study_id(name) not in by_id(root)
    assert pair_id(name) not in by_id(root, unit="pair")


@pytest.mark.parametrize("unit", ["study", "pair"])
@pytest.mark.parametrize("annotations", ["parser", "llava_rad", "r2gen"])
def test_kept_and_dropped_add_up(root: Path, unit: str, annotations: str) -> None:
    if annotations != "parser" and unit == "study":
        with pytest.raises(ReportCardError, match="unit=pair"):
            select(root, unit=unit, annotations=annotations)
        return
    selection = select(root, unit=unit, annotations=annotations)
    steps = selection.attrition
    assert all(a.after == b.before for a, b in itertools.pairwise(steps))
    assert steps[0].before == len(selection.test) + sum(step.dropped for step in steps)


def test_attrition_of_the_studies(root: Path) -> None:
    assert [(s.before, s.after) for s in select(root).attrition] == [
        *((37, 35), (35, 34), (34, 33), (33, 33), (33, 30), (30, 26)),
    ]


def test_same_day_earlier_by_a_time_that_lost_its_zero(root: Path) -> None:
    assert prior_of(root, "same day, later", prior_select="previous") == "same day, earlier"
    assert prior_of(root, "same day, earlier", prior_select="previous") == "day before the same day"
    for options in (
        {"prior_select": "strictly_earlier"},
        {"prior_select": "previous", "same_day": "forbid"},
    ):  # all studies of a day share one prior
        assert prior_of(root, "same day, later", **options) == "day before the same day"
        assert prior_of(root, "same day, earlier", **options) == "day before the same day"


def test_one_policy_in_two_spellings_has_one_fingerprint(root: Path) -> None:
    options = {"root": str(root), "prior_select": "strictly_earlier"}
    one = load_cohort(Plugin("mimic_cxr", "m", options))
    options |= {"prior_select": "previous", "same_day": "forbid"}
    assert load_cohort(Plugin("mimic_cxr", "m", options)).fingerprint == one.fingerprint
    options |= {"same_day": "allow"}
    assert load_cohort(Plugin("mimic_cxr", "m", options)).fingerprint != one.fingerprint


def test_tied_studies_are_no_priors_of_each_other(root: Path) -> None:
    for name in ("tied one", "tied two"):
        assert prior_of(root, name, prior_select="previous") is None
    selection = select(root, prior_select="previous")
    assert prior_of(root, "after a tie", prior_select="previous") == "tied one"
    assert any("order of two earlier studies is unknown 1" in note for note in selection.notes)


def test_missing_times_and_dates_give_no_order(root: Path) -> None:
    for name in ("missing StudyTime", "same day as a missing time", "missing StudyDate"):
        assert prior_of(root, name, prior_select="previous") is None


def test_three_studies_out_of_id_order(root: Path) -> None:
    assert prior_of(root, "third by date", prior_select="previous") == "second by date"
    assert prior_of(root, "second by date", prior_select="previous") == "first by date"
    assert prior_of(root, "first by date", prior_select="previous") is None


def test_prior_without_frontal_is_no_prior_unless_asked_to_look_back(root: Path) -> None:
    name = "after a prior without frontal"
    assert prior_of(root, name, prior_select="previous") is None
    assert prior_of(root, name, prior_select="previous", look_back=True) == "long before"
    assert prior_of(root, "after a prior without report", prior_select="previous") is None


def test_a_prior_may_lack_what_the_cohort_needs(root: Path) -> None:
    """The search spans all studies, before the findings filter."""
    prior = by_id(root, prior_select="previous", unit="study")
    assert study_id("last_paragraph") not in prior
    studies = MimicCXR(str(root), prior_select="previous")
    selection = studies.select()
    given = [s for s in selection.test if s.request.prior]
    assert all(s.request.prior and s.request.prior.report for s in given)
    assert any("priors: given 9" in note for note in selection.notes), selection.notes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("80556.875", 8 * 3600 + 5 * 60 + 56.875), ("213014.531", 77414.531), ("1.5", 1.5)),
        *(("", None), ("nan", None), ("inf", None), ("256000", None), ("-5", None), ("x", None)),
    ],
)
def test_study_time(text: str, seconds: float | None) -> None:
    assert seconds_of_day(text) == seconds


def test_study_date() -> None:
    assert study_date("21800105") == study_date("21800105.0") == 21800105
    assert study_date("") is study_date("0") is study_date("21801305") is None


def test_split_row_without_image_is_counted(root: Path) -> None:
    selection = select(root)
    study = next(s for s in selection.test if s.study_id == study_id("split row without image"))
    # the one without a metadata row has no view; the one without a file stays, and cannot be read
    assert image_ids(study) == [dicom_id("split row without image", i) for i in (0, 2)]
    assert [image.available for image in study.request.images] == [True, False]
    assert "images with a split row and no metadata row: 2" in selection.notes
    assert "images without a file: 1" in selection.notes


def test_image_without_split_row_is_counted_and_never_used(root: Path) -> None:
    selection = select(root)
    study = next(s for s in selection.test if s.study_id == study_id("image without split row"))
    assert image_ids(study) == [dicom_id("image without split row", 0)]
    assert any("no split row (never used): 1" in note for note in selection.notes)


@pytest.mark.parametrize("name", ["truncated JPG", "zero-byte JPG"])
def test_a_broken_image_costs_its_study_at_prediction_and_not_the_selection(
    root: Path, name: str
) -> None:
    (image,) = by_id(root)[study_id(name)].request.images
    with pytest.raises(ReportCardError, match=image.image_id):
        image.pixels()


def test_rgb_and_large_images_are_read_as_grey(root: Path) -> None:
    (image,) = by_id(root)[study_id("RGB JPG")].request.images
    assert image.pixels().shape == (96, 80)
    assert by_id(root)[study_id(FIRST)].request.images[0].pixels().shape == (2500, 3000)


def test_a_link_out_of_the_root_is_refused_for_that_image(root: Path) -> None:
    selection = select(root)
    study = next(s for s in selection.test if s.study_id == study_id("link out of the root"))
    with pytest.raises(ImageError, match="a link that leaves the data root") as refused:
        study.request.images[0].pixels()
    assert refused.value.kind == "outside"
    assert "images with a file outside the data root (a link): 1" in selection.notes


def test_report_with_crlf_reads_like_one_without(root: Path) -> None:
    study = by_id(root)[study_id("CRLF")]
    assert study.reference.findings
    assert "\r" not in study.reference.findings
    assert study.request.indication == "Cough and fever CANARY-31."
    assert study.reference.impression == "Nothing urgent CANARY-31."


def test_inputs_come_from_the_report_and_the_reference_stays_behind(root: Path) -> None:
    request = by_id(root)[study_id(FIRST)].request
    assert request.indication == "Cough and fever CANARY-1."
    assert (request.technique, request.comparison) == ("One exposure.", "An earlier day.")
    assert (request.age, request.sex) == (None, None)
    history = by_id(root)[study_id("history for indication")].request
    assert history.indication == "Cough and fever CANARY-39."
    assert request.provenance["frontal_select"] == "all"
    assert request.provenance["images"] == "jpg"


def test_validate_and_train_studies_are_in_no_test(root: Path) -> None:
    selection = select(root)
    names = {s.study_id for s in selection.test}
    assert not {study_id("validate split"), study_id("train split")} & names
    assert [s.study_id for s in selection.train] == [study_id("validate split")]
    train = select(root, train_part="train").train
    assert [s.study_id for s in train] == [study_id("train split")]
    assert select(root, train_part="none").train == ()


def test_special_studies_have_no_official_findings(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    special = {reserved.study(CASES[FIRST].study): sections.Special("findings")}
    monkeypatch.setattr(sections, "_specials", lambda: special)
    selection = select(root)
    assert study_id(FIRST) not in {s.study_id for s in selection.test}
    assert next(s.dropped for s in selection.attrition if "54" in s.rule) == 1
    assert study_id(FIRST) in by_id(root, parser="findings")


def test_expectations_are_printed_and_not_asserted(root: Path) -> None:
    assert any("3,269 studies, 293 patients; here 43, 35, 17" in n for n in select(root).notes)
    assert any("prints 2,347" in n and "here 30" in n for n in select(root).notes)
    assert any("2,461" in n and "here 28" in n for n in select(root, unit="pair").notes)


# LLaVA-Rad's and R2Gen's annotation files


def test_llava_rad_rows(root: Path) -> None:
    pairs = by_id(root, unit="pair", annotations="llava_rad")
    assert set(pairs) == {
        pair_id(FIRST, 0),  # with the mimic/ prefix
        pair_id(FIRST, 2),  # without, under the same id
        pair_id("AP and LATERAL"),
        pair_id("PA and LL"),
    }
    assert pairs[pair_id(FIRST, 0)].request.indication == "Cough\nand fever."  # as in the file
    assert pairs[pair_id("AP and LATERAL")].request.indication is None  # reason null
    assert pairs[pair_id("PA and LL")].request.indication == ""  # upstream shows an empty reason
    assert pairs[pair_id(FIRST, 0)].reference.findings == "Clear lungs CANARY-J1."


def test_llava_rad_attrition_names_each_reason(root: Path) -> None:
    steps = select(root, unit="pair", annotations="llava_rad").attrition
    assert {step.rule: step.dropped for step in steps} == {
        "image path of MIMIC-CXR's form": 3,  # climbing, absolute, null
        "generate_method is rule-based": 1,
        "findings are a text": 1,
        "findings not empty": 1,
        "view is AP or PA": 2,  # LATERAL, null
        "one row per (id, image)": 1,
        "one id per image": 0,
        "images in the official test split": 1,
    }


def test_llava_rad_needs_no_report_without_priors(root: Path, tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path / "m")
    (tmp_path / "m/mimic-cxr/2.1.0/mimic-cxr-reports.zip").unlink()
    options = {"unit": "pair", "annotations": "llava_rad", "train_part": "none"}
    assert len(select(tmp_path / "m", **options).test) == 4
    with pytest.raises(ReportCardError, match=r"no reports .*mimic-cxr-reports\.zip"):
        select(tmp_path / "m", **options, prior_select="previous")


def test_an_image_with_two_findings_is_an_error_without_their_text(tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path)
    path = tmp_path / "chat_test_MIMIC_CXR_all_gpt4extract_rulebased_v1.json"
    text = path.read_text()
    path.write_text(text.replace("CANARY-J1", "CANARY-J9", 1))
    with pytest.raises(ReportCardError, match="two rows with different findings") as error:
        select(tmp_path, unit="pair", annotations="llava_rad")
    assert "CANARY" not in str(error.value)


def test_rows_that_differ_in_reason_or_view_alone_have_one_order(tmp_path: Path) -> None:
    name = "chat_test_MIMIC_CXR_all_gpt4extract_rulebased_v1.json"
    write_mimic_cxr(tmp_path)
    rows = json.loads((tmp_path / name).read_text())
    first = next(r for r in rows if "CANARY-J1" in json.dumps(r))
    others = [first | {"reason": "Fall."}, first | {"view": "PA"}, first | {"view": "AP"}]
    options = {"root": str(tmp_path), "unit": "pair", "annotations": "llava_rad"}
    found = set()
    for order in ([*rows, *others], [*reversed(others), *rows]):
        (tmp_path / name).write_text(json.dumps(order))
        found.add(load_cohort(Plugin("mimic_cxr", "m", options)).fingerprint)
    assert len(found) == 1


def test_r2gen_annotation_lies_under_the_root_that_is_named(root: Path, tmp_path: Path) -> None:
    overrides = ["dataset=mimic_cxr_r2gen", f"data_dir={tmp_path}", f"dataset.root={root}"]
    (plugin,) = config.load(overrides).datasets
    assert len(load_cohort(plugin).test) == 4


@pytest.mark.parametrize("annotations", ["llava_rad", "r2gen"])
def test_annotations_nested_too_deep_are_an_error(tmp_path: Path, annotations: str) -> None:
    write_mimic_cxr(tmp_path)
    (tmp_path / "deep.json").write_text("[" * 200_000)
    options = {"annotations": annotations, "annotations_file": str(tmp_path / "deep.json")}
    with pytest.raises(ReportCardError, match=r"deep\.json: nested too deep"):
        select(tmp_path, unit="pair", **options)


def test_r2gen_takes_any_view_and_its_outer_key_is_the_split(root: Path) -> None:
    selection = select(root, unit="pair", annotations="r2gen")
    assert {s.study_id for s in selection.test} == {
        *(pair_id(FIRST, i) for i in range(3)),
        pair_id("blank ViewPosition"),
    }
    views = {s.request.images[0].view for s in selection.test}
    assert views == {"PA", "AP", "LATERAL", "Unknown"}
    assert len(selection.train) == 2  # its val
    assert selection.test[0].reference.findings == "Clear lungs CANARY-R1."
    assert any("3,858" in note and "here 4" in note for note in selection.notes)


# Layouts, order, index


def test_zip_and_unpacked_reports_give_the_same_cohort(root: Path, tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path / "m", reports="folder")
    options = {"prior_select": "previous", "lateral_select": "first"}
    one = load_cohort(Plugin("mimic_cxr", "m", {"root": str(root), **options}))
    two = load_cohort(Plugin("mimic_cxr", "m", {"root": str(tmp_path / "m"), **options}))
    assert one.fingerprint == two.fingerprint


@pytest.mark.parametrize("annotations", ["parser", "llava_rad", "r2gen"])
def test_the_order_of_rows_and_members_changes_nothing(
    root: Path, tmp_path: Path, annotations: str
) -> None:
    options: dict[str, Any] = {"unit": "pair", "annotations": annotations, "train_part": "validate"}
    options["prior_select"] = "previous"
    write_mimic_cxr(tmp_path / "m", shuffle=5)
    one = load_cohort(Plugin("mimic_cxr", "m", {"root": str(root), **options}))
    two = load_cohort(Plugin("mimic_cxr", "m", {"root": str(tmp_path / "m"), **options}))
    assert [s.study_id for s in one.test] == [s.study_id for s in two.test]
    assert one.fingerprint == two.fingerprint
    assert one.train_fingerprint == two.train_fingerprint
    assert one.attrition == two.attrition


def test_two_named_folders_stand_for_the_tree(root: Path, tmp_path: Path) -> None:
    found = select(
        tmp_path,
        reports_root=str(root / "mimic-cxr/2.1.0"),
        images_root=str(root / "mimic-cxr-jpg/2.1.0"),
    )
    assert [s.study_id for s in found.test] == list(by_id(root))


def test_dicom_images_lie_beside_the_reports(root: Path, tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path)
    path = tmp_path / "mimic-cxr/2.1.0/files" / folder(CASES[FIRST]) / f"{dicom_id(FIRST, 2)}.dcm"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    request = by_id(tmp_path, images="dicom")[study_id(FIRST)].request
    assert request.images[0].path == path
    assert request.provenance["images"] == "dicom"


def test_without_images_it_is_text_only(root: Path, tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path)
    (tmp_path / "mimic-cxr-jpg/2.1.0/files").rename(tmp_path / "away")
    selection = select(tmp_path)
    assert any(note.startswith("text only") for note in selection.notes)
    assert [s.study_id for s in selection.test] == list(by_id(root))


def test_the_second_time_comes_from_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mimic_cxr(tmp_path / "m")
    first = select(tmp_path / "m", prior_select="previous")
    place = tmp_path / "m/mimic-cxr-jpg/2.1.0" / _mimic_index.NAME
    assert b"CANARY" not in place.read_bytes()
    monkeypatch.setattr(_mimic_index, "_build", None)
    assert select(tmp_path / "m", prior_select="previous") == first
    place.write_bytes(place.read_bytes()[:-100])
    with pytest.raises(TypeError):  # damaged: it would be made again
        select(tmp_path / "m")


def test_a_root_that_cannot_be_written_to_has_its_index_in_the_cache(tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path / "m")
    place = tmp_path / "m/mimic-cxr-jpg/2.1.0" / _mimic_index.NAME
    place.mkdir()  # a folder cannot be replaced by a file, not even by root
    first = select(tmp_path / "m")
    (index,) = (tmp_path / "cache" / "indexes").glob("mimic-cxr-*.npz")
    assert index.parent.stat().st_mode & 0o077 == 0
    assert select(tmp_path / "m") == first


def test_a_changed_table_makes_a_new_index(tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path)
    before = len(select(tmp_path).test)
    path = tmp_path / "mimic-cxr-jpg/2.1.0/mimic-cxr-2.0.0-split.csv.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines(keepends=True)
    kept = [line for line in lines if reserved.study(CASES["RGB JPG"].study) not in line]
    path.write_bytes(gzip.compress("".join(kept).encode()))
    assert len(select(tmp_path).test) == before - 1


def test_a_patient_in_two_splits_is_an_error(tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path)
    path = tmp_path / "mimic-cxr-jpg/2.1.0/mimic-cxr-2.0.0-split.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    dicom = dicom_id("third by date")
    row = next(line for line in text.splitlines() if line.startswith(dicom))
    path.write_bytes(gzip.compress(text.replace(row, row.replace("test", "train")).encode()))
    with pytest.raises(ReportCardError, match="1 patients are in two splits") as error:
        select(tmp_path)
    assert reserved.subject(9) not in str(error.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("../../etc,59999001,19999001,test", r"csv\.gz:2: an id does not have the form"),
        (f"{reserved.dicom(1)},59999001,19999001,val", r"csv\.gz:2: the split is train, validate"),
        (f"{reserved.dicom(1)},59999001,test", r"csv\.gz:2: 3 fields where the header has 4"),
    ],
)
def test_a_bad_row_names_file_and_line(tmp_path: Path, row: str, message: str) -> None:
    write_mimic_cxr(tmp_path)
    path = tmp_path / "mimic-cxr-jpg/2.1.0/mimic-cxr-2.0.0-split.csv.gz"
    header, *rest = gzip.decompress(path.read_bytes()).decode().splitlines()
    path.write_bytes(gzip.compress("\n".join([header, row, *rest]).encode()))
    with pytest.raises(ReportCardError, match=message):
        select(tmp_path)


def test_a_damaged_report_is_counted_and_left_out(tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path)
    path = tmp_path / "mimic-cxr/2.1.0/mimic-cxr-reports.zip"
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"files/{folder(CASES['RGB JPG'])}.txt")
    data = bytearray(path.read_bytes())
    data[member.header_offset + 30 + len(member.filename) + 20] ^= 0xFF
    path.write_bytes(data)
    selection = select(tmp_path)
    assert study_id("RGB JPG") not in {s.study_id for s in selection.test}
    assert "reports that cannot be read: 1" in selection.notes


def test_members_of_other_names_are_never_reports(tmp_path: Path) -> None:
    write_mimic_cxr(tmp_path)
    path = tmp_path / "mimic-cxr/2.1.0/mimic-cxr-reports.zip"
    before = [s.study_id for s in select(tmp_path).test]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"../files/{folder(CASES['prior without report'])}.txt", "x")
        archive.writestr(f"/files/{folder(CASES['prior without report'])}.txt", "x")
    assert [s.study_id for s in select(tmp_path).test] == before


def test_radiologists_labels_speak_of_lung_opacity(root: Path) -> None:
    (labels,) = MimicCXR(str(root)).labels().values()
    assert labels["Lung Opacity"] == "1.0"
    assert "Airspace Opacity" not in labels
    assert len(labels) == 14


def test_missing_says_what_was_expected_where(tmp_path: Path) -> None:
    with pytest.raises(ReportCardError) as error:
        select(tmp_path)
    for name in ("mimic-cxr-2.0.0-split.csv.gz", "metadata.csv.gz", "mimic-cxr-reports.zip"):
        assert name in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        *({"frontal_select": "best"}, {"lateral_select": "random:x"}, {"prior_select": "last"}),
        *({"prior_select": "strictly_earlier", "same_day": "allow"}, {"unit": "image"}),
        {"annotations": "r2gen", "unit": "pair", "frontal_select": "first"},
    ],
)
def test_an_option_that_means_nothing_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ReportCardError):
        MimicCXR("nowhere", **options)


def test_the_text_of_closed_data_has_its_class() -> None:
    card = MimicCXR("nowhere").card
    assert (card.data_class, card.dua_id) == ("credentialed", "physionet-mimic-cxr")


def test_no_note_carries_text_or_ids(root: Path) -> None:
    for options in ({}, {"unit": "pair", "annotations": "llava_rad"}):
        notes = " ".join(select(root, prior_select="previous", **options).notes)
        assert "CANARY" not in notes
        assert "5999900" not in notes
    assert "CANARY" in report(CASES[FIRST])


# The policies and the index, seen alone


def exam(study: int, date: int, seconds: float | None, *views: str) -> Exam:
    images = tuple(Radiograph(f"{n}-{study}", view, "test") for n, view in enumerate(views))
    return Exam(int(reserved.subject(1)), study, "test", date, seconds, images)


def test_a_random_lateral_is_drawn_of_all_by_seed_and_study() -> None:
    two = [exam(study, 21800101, 0.0, "LATERAL", "PA", "LL") for study in range(40)]
    drawn = {seed: [pick_lateral(e, f"random:{seed}")[0].view for e in two] for seed in (1, 2)}
    assert set(drawn[1]) == {"LATERAL", "LL"}
    assert drawn[1] != drawn[2]
    turned = [replace(e, images=e.images[::-1]) for e in two]
    assert [pick_lateral(e, "random:1")[0].view for e in turned] == drawn[1]


def test_a_study_without_a_time_stands_before_the_others_of_its_day() -> None:
    timeless, midnight = exam(1, 21800101, None, "PA"), exam(2, 21800101, 0.0, "PA")
    later = exam(3, 21800102, 5.0, "PA")
    found = PriorPolicy("previous").candidates(later, [timeless, midnight, later])
    assert [e.study for e in found] == [2, 1]


@pytest.mark.parametrize(
    ("policy", "views"), [("all", ["PA", "AP"]), ("prefer_pa", ["PA"]), ("first", ["AP"])]
)
def test_the_images_of_a_prior_follow_frontal_select(policy: str, views: list[str]) -> None:
    before, after = exam(1, 21800101, 0.0, "AP", "PA"), exam(2, 21800102, 0.0, "PA")

    class OneText:
        def text(self, subject: int, study: int) -> str:
            return report(CASES[FIRST])

    studies = Studies(
        {after.subject: [before, after]},
        StudyTexts(OneText(), "findings"),  # type: ignore[arg-type]
        ImageFiles(None, ".jpg"),
        PriorPolicy("previous"),
        {"unit": "study", "frontal_select": policy, "lateral_select": "none"},
    )
    prior = studies.study(Example(after, after.images, "Clear.")).request.prior
    assert prior is not None
    assert [image.view for image in prior.images] == views


@pytest.mark.parametrize("what", ["time", "size"])
def test_a_changed_zip_of_reports_makes_a_new_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    write_mimic_cxr(tmp_path)
    select(tmp_path)
    path = tmp_path / "mimic-cxr/2.1.0/mimic-cxr-reports.zip"
    before = path.stat().st_mtime_ns
    if what == "size":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("note", "x")
    os.utime(path, ns=(before, before + (10**9 if what == "time" else 0)))
    monkeypatch.setattr(_mimic_index, "_build", None)
    with pytest.raises(TypeError):
        select(tmp_path)
