"""PadChest-GR in miniature: every awkward case of the true layout, by name."""

from __future__ import annotations

import io
import itertools
import json
import pickle
import random
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reportcard.api import Box, ImageError, ReportCardError
from reportcard.config import compose as config
from reportcard.config.settings import Plugin
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.data.sources._zip_parts import Parts, members_of
from tests.fixtures import padchest_gr as fixture
from tests.fixtures.padchest import image_id, patient_id, study_id


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fixture.write_padchest_gr(tmp_path / "padchest_gr")
    return tmp_path / "padchest_gr"


def cohort(root: Path, **options: object) -> Cohort:
    return load_cohort(Plugin("padchest_gr", "mini", {"root": str(root), **options}))


def test_findings_are_sentences_joined_and_each_is_a_phrase(root: Path) -> None:
    first = cohort(root).test[0]
    assert first.request.task == "grounded_findings"
    assert first.reference.findings == "Nodule in the left lung CANARY-1. Large heart. No effusion."
    assert [p.text for p in first.reference.phrases][1] == "Large heart"
    spanish = cohort(root, language="es")
    assert spanish.test[0].reference.findings.startswith("ES Nodule")  # type: ignore[union-attr]
    assert spanish.card.caveat is not None
    assert cohort(root).card.caveat is None


def test_both_readers_boxes_are_kept_apart(root: Path) -> None:
    nodule = cohort(root).test[0].reference.phrases[0]
    assert nodule.boxes == (Box(0.1, 0.2, 0.3, 0.4), Box(0.5, 0.5, 0.6, 0.7))
    assert nodule.second_reader == (Box(0.11, 0.2, 0.3, 0.41),)


def test_a_number_too_large_and_a_prior_that_is_no_id_are_named(root: Path) -> None:
    path = root / "grounded_reports_20240819.json"
    whole = json.loads(path.read_text())
    item = next(i for i in whole if any(f.get("boxes") for f in i["findings"]))
    finding = next(f for f in item["findings"] if f.get("boxes"))
    item["PreviousImageID"] = ["a"]
    path.write_text(json.dumps(whole))
    with pytest.raises(ReportCardError, match=r"\]: PreviousImageID must be a string or null"):
        cohort(root)
    item["PreviousImageID"] = None
    finding["boxes"] = [[0, 0, 10**400, 1]]
    path.write_text(json.dumps(whole))
    with pytest.raises(ReportCardError, match=r"boxes\[0\] has a number that is too large"):
        cohort(root)


def test_negatives_may_lack_the_keys_of_boxes(root: Path) -> None:
    assert cohort(root).test[0].reference.phrases[2].boxes == ()


def test_boxes_may_touch_0_and_1(root: Path) -> None:
    assert cohort(root).test[1].reference.phrases[1].boxes == (Box(0, 0, 1, 1),)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([0.3, 0.2, 0.1, 0.4], "x1 < x2"),
        ([0.1, 0.2, 1.01, 0.4], "x1 < x2"),
        ([-0.1, 0.2, 0.3, 0.4], "x1 < x2"),
        ([0.1, 0.2, float("nan"), 0.4], "x1 < x2"),
        ([0.1, 0.2, 0.3], r"must be \[x1, y1, x2, y2\]"),
        ([0.1, 0.2, 0.3, "CANARY"], r"must be \[x1, y1, x2, y2\]"),
    ],
)
@pytest.mark.parametrize("key", ["boxes", "extra_boxes"])
def test_inverted_and_outside_boxes_name_file_and_finding(
    root: Path, key: str, box: list[Any], reason: str
) -> None:
    studies = fixture.reports()
    studies[0]["findings"][1][key] = [[0, 0, 1, 1], box]
    fixture.write_reports(root, studies)
    where = rf"grounded_reports_20240819\.json: \[0\]\.findings\[1\]\.{key}\[1\] .*{reason}"
    with pytest.raises(ReportCardError, match=where) as caught:
        cohort(root)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    ("finding", "reason"),
    [
        (["CANARY"], r"findings\[0\] must be an object"),
        ({"sentence_en": ["CANARY"]}, "sentence_en must be a string"),
        ({"sentence_en": "CANARY", "boxes": "x"}, "boxes must be a list"),
    ],
)
def test_damaged_findings_are_named(root: Path, finding: Any, reason: str) -> None:
    studies = fixture.reports()
    studies[0]["findings"] = [finding]
    fixture.write_reports(root, studies)
    with pytest.raises(ReportCardError, match=reason) as caught:
        cohort(root)
    assert "CANARY" not in str(caught.value)


def test_split_and_patient_come_from_the_long_table(root: Path) -> None:
    found = cohort(root)
    assert [s.study_id for s in found.test] == [study_id(1), study_id(2)]
    assert [s.study_id for s in found.train] == [study_id(5)]
    assert found.test[0].patient_id == patient_id(1)
    assert (found.test[0].request.age, found.test[0].request.sex) == (71.0, "F")
    assert [s.study_id for s in cohort(root, split="validation").test] == [study_id(4)]


def test_kept_and_dropped_add_up(root: Path) -> None:
    steps = cohort(root).attrition
    assert all(a.after == b.before for a, b in itertools.pairwise(steps))
    assert [(s.rule, s.after) for s in steps] == [
        ("studies", 6),
        ("in master_table", 5),
        ("split test", 3),
        ("findings not empty", 2),
    ]


def test_rows_of_a_study_in_two_splits_are_an_error(root: Path) -> None:
    rows = fixture.table_rows()
    rows[1]["split"] = "train"
    fixture.write_rows(root, rows)
    with pytest.raises(ReportCardError, match=r"master_table\.csv:3: another split"):
        cohort(root)


def test_findings_without_a_sentence_are_counted(root: Path) -> None:
    assert "1 findings without a sentence left out" in cohort(root).notes


def test_prior_is_the_image_the_file_names(root: Path) -> None:
    first, second = cohort(root).test
    assert first.request.prior is not None
    (image,) = first.request.prior.images
    assert image.image_id == fixture.PRIOR
    assert image.pixels().tolist() == [[0, 128, 255]] * 2
    assert first.request.prior.report is None
    assert second.request.prior is None
    without = cohort(root, prior_select="none")
    assert without.test[0].request.prior is None
    assert without.fingerprint != cohort(root).fingerprint


def test_images_are_read_out_of_the_parts_and_of_a_folder(root: Path, tmp_path: Path) -> None:
    assert len(list((root / "Padchest_GR_files").glob("*.zip.00?"))) == 3
    image = cohort(root).test[0].request.images[0]
    assert image.pixels().tolist() == [[0, 128, 255]] * 2
    again = pickle.loads(pickle.dumps(image.read))
    assert again().tolist() == [[0, 128, 255]] * 2
    fixture.write_padchest_gr(tmp_path / "unpacked", packed=False)
    unpacked = cohort(tmp_path / "unpacked")
    assert unpacked.test[0].request.images[0].path is not None
    assert unpacked.test[0].request.images[0].pixels().tolist() == [[0, 128, 255]] * 2
    assert unpacked.fingerprint == cohort(root).fingerprint


def test_threads_read_one_archive_at_once(root: Path) -> None:
    images = [s.request.images[0] for s in cohort(root).test] * 50
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: image.pixels().tolist(), images))
    assert found == [[[0, 128, 255]] * 2] * 100


def test_text_alone_is_the_same_cohort_and_says_so(root: Path) -> None:
    before = cohort(root).fingerprint
    for name in ("Padchest_GR_files", "PadChest_GR_progression_prior_studies"):
        shutil.rmtree(root / name)
    found = cohort(root)
    assert found.fingerprint == before
    assert not found.has_images
    assert any(note.startswith("text only") for note in found.notes)


def test_a_missing_part_is_named(root: Path) -> None:
    (root / "Padchest_GR_files" / "PadChest_GR.zip.002").unlink()
    with pytest.raises(ReportCardError, match=r"part \.002 of PadChest_GR\.zip is missing"):
        cohort(root)


def test_a_missing_last_part_is_explained(root: Path) -> None:
    (root / "Padchest_GR_files" / "PadChest_GR.zip.003").unlink()
    with pytest.raises(ReportCardError, match=r"2 parts are no zip .*Is the last part there"):
        cohort(root)


def test_a_damaged_member_costs_its_own_image(root: Path) -> None:
    folder = root / "Padchest_GR_files"
    shutil.rmtree(folder)
    folder.mkdir()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"PadChest_GR/{image_id(1)}", fixture.png16())
        archive.writestr(f"PadChest_GR/{image_id(2)}", fixture.png16()[:50])
    damaged = bytearray(buffer.getvalue())
    damaged[damaged.index(b"IDAT")] ^= 255  # the first member: its CRC is wrong now
    fixture.write_parts(folder, "PadChest_GR", bytes(damaged))
    first, second = (s.request.images[0] for s in cohort(root).test)
    with pytest.raises(ImageError, match="Bad CRC"):
        first.pixels()
    with pytest.raises(ImageError, match=rf"{image_id(2)} .*in PadChest_GR\.zip\.001"):
        second.pixels()


def test_members_that_climb_link_or_repeat_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    link = zipfile.ZipInfo("a/link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../climb.png", b"x")
        archive.writestr("/absolute.png", b"x")
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a/good.png", b"x")
        archive.writestr("b/good.png", b"y")
        archive.writestr("readme.txt", b"x")
        archive.writestr("__MACOSX/a/good.png", b"x")
    fixture.write_parts(tmp_path, "x", buffer.getvalue())
    members, refused = members_of(tuple(sorted(tmp_path.iterdir())))
    assert members == {"good.png": "a/good.png"}
    assert refused == 4


def test_parts_read_like_one_file(tmp_path: Path) -> None:
    data = random.Random(0).randbytes(1000)
    fixture.write_parts(tmp_path, "x", data, size=99)
    with Parts(sorted(tmp_path.iterdir())) as stream:
        for start, length in [(0, 1000), (98, 2), (99, 99), (500, 0), (990, 50), (1000, 5)]:
            stream.seek(start)
            found = b""
            while chunk := stream.read(length - len(found)):
                found += chunk
            assert found == data[start : start + length]
        assert stream.seek(-5, io.SEEK_END) == 995
        assert stream.read() == data[-5:]


def test_order_of_json_and_table_changes_nothing(root: Path, tmp_path: Path) -> None:
    fixture.write_padchest_gr(tmp_path / "other", seed=9)
    other = cohort(tmp_path / "other")
    assert other.fingerprint == cohort(root).fingerprint
    assert other.train_fingerprint == cohort(root).train_fingerprint


def test_a_study_that_occurs_twice_is_an_error(root: Path) -> None:
    fixture.write_reports(root, [*fixture.reports(), fixture.reports()[0]])
    with pytest.raises(ReportCardError, match=r"\[6\]: its StudyID occurs twice"):
        cohort(root)


def test_named_cohort_composes(root: Path) -> None:
    (plugin,) = config.load(["dataset=padchest_gr_test", f"data_dir={root.parent}"]).datasets
    found = load_cohort(plugin)
    assert found.card.dua_id == "bimcv-padchest-gr"
    assert any(note.endswith("prints 4,555; here 6") for note in found.notes)
