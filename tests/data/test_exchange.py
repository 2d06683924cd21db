"""ReXrank's and R2Gen's JSON: every mismatch by name, and nothing that depends on order."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from reportcard.api import ImageError, ReportCardError, Selection, Study
from reportcard.config import compose as config
from reportcard.config import paths
from reportcard.config.settings import Plugin
from reportcard.data.cohort import load_cohort
from reportcard.data.sources.r2gen_json import R2GenJson
from reportcard.data.sources.rexrank_json import RexrankJson
from reportcard.score.normalise import report_text
from tests.fixtures.r2gen_json import iu, write_r2gen_json
from tests.fixtures.reserved import subject
from tests.fixtures.rexrank_json import rows, write_rexrank_json


def one(selection: Selection, prefix: str) -> Study:
    (found,) = (s for s in selection.test if s.study_id.startswith(prefix))
    return found


def adds_up(selection: Selection) -> bool:
    steps = selection.attrition
    chained = all(a.after == b.before for a, b in itertools.pairwise(steps))
    total = steps[-1].after + sum(step.dropped for step in steps)
    return chained and total == steps[0].before and steps[-1].after == len(selection.test)


@pytest.fixture
def rexrank(tmp_path: Path) -> Selection:
    write_rexrank_json(tmp_path)
    return RexrankJson(str(tmp_path)).select()


def test_rexrank_keeps_test_rows_with_a_report_and_an_image(rexrank: Selection) -> None:
    numbers = [s.study_id.split("_")[0] for s in rexrank.test]
    assert numbers == ["2", "3", "4", "5", "6", "7", "10", "11"]
    assert [s.study_id for s in rexrank.train] == ["12_train"]
    assert [step.dropped for step in rexrank.attrition] == [0, 2, 1, 1]
    assert adds_up(rexrank)


def test_views_are_unknown_where_the_lists_do_not_fit(rexrank: Selection) -> None:
    assert [i.view for i in one(rexrank, "2_").request.images] == ["Unknown", "Unknown"]
    assert [i.view for i in one(rexrank, "10_").request.images] == ["Frontal", "Lateral"]
    assert one(rexrank, "2_").request.provenance["views"] == "list does not fit"


@pytest.mark.parametrize(
    "note",
    [
        "1 studies whose view list does not fit the image list: views Unknown",
        "2 studies whose key image is a lateral view",
        "1 studies whose key image is none of their images",
        "1 studies with no frontal view",
        "1 of 12 image paths leave the root: refused",
        "text only for 7 of 12 images: no such file",
    ],
)
def test_each_mismatch_is_counted(rexrank: Selection, note: str) -> None:
    assert note in rexrank.notes


def test_the_key_image_alone(tmp_path: Path) -> None:
    write_rexrank_json(tmp_path)
    selection = RexrankJson(str(tmp_path), image_select="key").select()
    assert [i.image_id for i in one(selection, "3_").request.images] == ["3/1.png"]
    # A key that is none of the images leaves the first one.
    assert [i.image_id for i in one(selection, "4_").request.images] == ["4/0.png"]
    assert one(selection, "3_").request.provenance["image_select"] == "key"


def test_a_view_list_that_is_too_short_is_no_crash(tmp_path: Path) -> None:
    row = {**rows()["10_plain"], "frontal_lateral": ["Frontal"], "key_image_path": "10/1.png"}
    (tmp_path / "x.json").write_text(json.dumps({"1": row}), encoding="utf-8")
    selection = RexrankJson(str(tmp_path)).select()
    assert {i.view for i in selection.test[0].request.images} == {"Unknown"}
    assert not any("key image" in note for note in selection.notes)


def test_images_are_read_and_refused_one_by_one(rexrank: Selection) -> None:
    assert one(rexrank, "10_").request.images[0].pixels().shape == (24, 32)
    with pytest.raises(ImageError) as outside:
        one(rexrank, "11_").request.images[0].pixels()
    with pytest.raises(ImageError) as absent:
        one(rexrank, "5_").request.images[0].pixels()
    assert (outside.value.kind, absent.value.kind) == ("outside", "missing")


def test_an_absent_section_says_none_under_rexrank_only(rexrank: Selection) -> None:
    study = one(rexrank, "6_")
    assert study.reference.impression is None
    for name in paths.names("protocol"):
        protocol = config.load([f"protocol={name}"]).protocol
        text = report_text(protocol, study.reference, missing="None")
        assert ("None" in text) == (name == "rexrank"), name
    ours = config.load(["protocol=rexrank"]).protocol
    expected = "Findings: Rib fracture. CANARY-6 Impression: None"
    assert report_text(ours, study.reference, missing="None") == expected


def test_the_context_is_the_indication(rexrank: Selection) -> None:
    assert one(rexrank, "10_").request.indication == "Indication: Cough."
    assert one(rexrank, "7_").request.indication is None
    assert one(rexrank, "10_").request.provenance["indication"] == "context"


def test_the_context_keeps_its_white_space(tmp_path: Path) -> None:
    path = write_rexrank_json(tmp_path)
    written = json.loads(path.read_text())
    said = {"10_": "  Indication: Cough.\n", "7_": " \n"}
    for key, row in written.items():
        row["context"] = next((t for start, t in said.items() if key.startswith(start)), None)
    path.write_text(json.dumps(written))
    found = RexrankJson(str(path.parent)).select()
    assert one(found, "10_").request.indication == "  Indication: Cough.\n"
    assert one(found, "7_").request.indication is None


def test_the_order_of_rexrank_rows_does_not_matter(tmp_path: Path) -> None:
    path = write_rexrank_json(tmp_path)
    plugin = Plugin("rexrank_json", "r", {"root": str(tmp_path)})
    first = load_cohort(plugin)
    for seed in range(3):
        mixed = list(rows().items())
        random.Random(seed).shuffle(mixed)
        path.write_text(json.dumps(dict(mixed)), encoding="utf-8")
        again = load_cohort(plugin)
        assert [s.study_id for s in again.test] == [s.study_id for s in first.test]
        assert again.fingerprint == first.fingerprint
        assert again.train_fingerprint == first.train_fingerprint


def test_a_split_may_be_spelled_in_any_case(tmp_path: Path, rexrank: Selection) -> None:
    assert RexrankJson(str(tmp_path), split=" Test").select().test == rexrank.test


def test_a_file_of_another_shape_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"1": {"section_findings": "CANARY-1"}}', encoding="utf-8")
    with pytest.raises(ReportCardError, match=r"x\.json: 1: no image_path") as caught:
        RexrankJson(str(tmp_path)).select()
    assert "CANARY" not in str(caught.value)
    bad = {**rows()["10_plain"], "section_findings": ["CANARY-2"]}
    path.write_text(json.dumps({"1": bad}), encoding="utf-8")
    with pytest.raises(ReportCardError, match="'section_findings' must be text") as caught:
        RexrankJson(str(tmp_path)).select()
    assert "CANARY" not in str(caught.value)


def test_two_tables_in_one_folder_ask_for_a_name(tmp_path: Path) -> None:
    write_rexrank_json(tmp_path)
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    problem = RexrankJson(str(tmp_path)).missing()
    assert problem is not None
    assert "other.json, rexrank.json" in problem
    assert RexrankJson(str(tmp_path), table="rexrank.json").missing() is None
    assert "expected" in (RexrankJson(str(tmp_path), table="absent.json").missing() or "")


def r2gen(root: Path, shape: str = "", **options: Any) -> Selection:
    write_r2gen_json(root)
    return R2GenJson(str(root), table=f"annotation{shape}.json", **options).select()


def test_r2gen_keeps_the_test_list(tmp_path: Path) -> None:
    selection = r2gen(tmp_path)
    assert [s.study_id for s in selection.test] == ["CXR9004_IM-0004", "CXR9010_IM-0010"]
    assert [s.study_id for s in selection.train] == ["CXR9001_IM-0001"]  # the blank one is out
    assert [step.dropped for step in selection.attrition] == [0, 3, 1, 1]
    assert adds_up(selection)
    first = selection.test[0]
    assert [i.image_id[-5:] for i in first.request.images] == ["0.png", "1.png"]
    assert {i.view for i in first.request.images} == {"Unknown"}  # 0.png is not always frontal
    assert first.request.images[0].pixels().shape == (24, 32)


def test_the_validation_list_can_be_chosen(tmp_path: Path) -> None:
    assert [s.study_id for s in r2gen(tmp_path, split="val").test] == ["CXR9003_IM-0003"]
    with pytest.raises(ReportCardError, match="it is one of train, val, test"):
        R2GenJson(str(tmp_path), split="tset")


def test_four_blanks_for_test_are_taken_for_test_and_said(tmp_path: Path) -> None:
    blank, plain = r2gen(tmp_path, "_blank"), r2gen(tmp_path)
    assert blank.test == plain.test
    assert "the list of the test part is called '    ' in the file" in blank.notes
    assert any(note.startswith("4 rows spell their split as blanks") for note in blank.notes)
    assert not any("spell" in note or "called" in note for note in plain.notes)


def test_a_row_that_names_another_split_is_counted(tmp_path: Path) -> None:
    value = iu()
    value["test"][0]["split"] = "val"
    path = tmp_path / "annotation.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    selection = R2GenJson(str(tmp_path)).select()
    assert len(selection.test) == 2
    assert any(note.startswith("1 rows name another split") for note in selection.notes)


def test_the_mimic_shape_has_patients_and_one_image_a_row(tmp_path: Path) -> None:
    selection = r2gen(tmp_path, "_mimic")
    assert len(selection.test) == 3
    assert {s.patient_id for s in selection.test} == {subject(3)}
    assert all(len(s.request.images) == 1 for s in selection.test)
    assert not any("are in train and in test" in note for note in selection.notes)
    value = json.loads((tmp_path / "annotation_mimic.json").read_text())
    value["train"][0]["subject_id"] = int(subject(3))
    (tmp_path / "annotation_mimic.json").write_text(json.dumps(value))
    again = R2GenJson(str(tmp_path), table="annotation_mimic.json").select()
    assert "1 subjects are in train and in test" in again.notes


def test_the_order_of_r2gen_rows_does_not_matter(tmp_path: Path) -> None:
    write_r2gen_json(tmp_path)
    plugin = Plugin("r2gen_json", "r", {"root": str(tmp_path)})
    first = load_cohort(plugin)
    value = {key: found[::-1] for key, found in reversed(iu().items())}
    (tmp_path / "annotation.json").write_text(json.dumps(value))
    again = load_cohort(plugin)
    assert again.fingerprint == first.fingerprint
    assert again.train_fingerprint == first.train_fingerprint


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"trian": []}, "found 'trian'"),
        ({"test": {}}, "found 'test'"),
        ({"test": [{"id": "1"}]}, r"annotation\.json: test\[0\]: expected an object with id"),
        ({"test": [{"id": "1", "report": 5.5, "image_path": []}]}, "'report' must be text"),
        ({"test": [{"id": "1", "report": "x", "image_path": [1]}]}, "'image_path' must be a list"),
        ({"test": [{"id": " ", "report": "x", "image_path": []}]}, "the id is blank"),
    ],
)
def test_annotations_of_another_shape_are_named(tmp_path: Path, value: Any, message: str) -> None:
    (tmp_path / "annotation.json").write_text(json.dumps(value))
    with pytest.raises(ReportCardError, match=message):
        R2GenJson(str(tmp_path)).select()


@pytest.mark.parametrize("name", ["rexrank_json", "r2gen_json"])
def test_untagged_data_counts_as_credentialed(name: str) -> None:
    from reportcard.data.cohort import open_dataset

    (plugin,) = config.load([f"dataset={name}"]).datasets
    card = open_dataset(plugin).card
    assert (card.data_class, card.dua_id) == ("credentialed", None)
    chosen = [f"dataset={name}", "dataset.data_class=open", "dataset.dua_id=mine"]
    (plugin,) = config.load(chosen).datasets
    assert open_dataset(plugin).card.data_class == "open"
    with pytest.raises(ReportCardError, match=r"data_class is one of .*secret"):
        open_dataset(Plugin(name, name, {"root": ".", "data_class": "secret"}))
