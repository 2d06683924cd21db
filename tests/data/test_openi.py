"""Open-I: exact numbers on the real reports, and every awkward case in miniature."""

from __future__ import annotations

import itertools
import tarfile
from pathlib import Path

import pytest

from reportcard.api import ReportCardError
from reportcard.config.settings import Plugin
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.data.sources.openi import OpenI, parse_reports
from tests.mini_openi import STUDIES, report_xml


def test_findings_cohort_has_the_documented_numbers(openi_findings: Cohort) -> None:
    # shared datasets.md 1.3, counted on the real bytes
    assert len(openi_findings.test) == 3199
    assert openi_findings.n_images("Frontal") == 3307
    assert [(s.before, s.after) for s in openi_findings.attrition] == [
        (3955, 3955),
        (3955, 3425),
        (3425, 3199),
    ]
    assert len(openi_findings.train) == 3425 - 3199


def test_r2gen_cohort_has_the_documented_numbers(openi_r2gen: Cohort) -> None:
    assert (len(openi_r2gen.train), len(openi_r2gen.test)) == (2069, 590)
    assert openi_r2gen.overlap.test_reports_verbatim_in_train == 274
    assert [s.after for s in openi_r2gen.attrition] == [3955, 3425, 2955, 590]


def test_no_study_is_in_train_and_test(openi_findings: Cohort, openi_r2gen: Cohort) -> None:
    for cohort in (openi_findings, openi_r2gen):
        assert not {s.study_id for s in cohort.train} & {s.study_id for s in cohort.test}
        assert cohort.overlap.test_studies_with_train_patient == 0


def test_kept_and_dropped_add_up(openi_findings: Cohort) -> None:
    steps = openi_findings.attrition
    assert all(a.after == b.before for a, b in itertools.pairwise(steps))
    assert steps[0].before == steps[-1].after + sum(step.dropped for step in steps)


def test_mini_cohort_keeps_what_it_should(mini_cohort: Cohort) -> None:
    assert [s.study_id for s in mini_cohort.test] == ["CXR1", "CXR2", "CXR3", "CXR4", "CXR5"]
    assert [s.study_id for s in mini_cohort.train] == ["CXR7", "CXR8"]
    third = mini_cohort.test[2]
    assert third.reference.findings == "Clear lungs. Heart <normal> & small."
    assert third.request.indication is None
    assert not mini_cohort.has_images
    assert any(note.startswith("text only") for note in mini_cohort.notes)


def test_archive_and_folder_give_the_same_cohort(mini_data: Path, mini_cohort: Cohort) -> None:
    other = mini_data / "packed"
    other.mkdir()
    files = sorted((mini_data / "openi" / "ecgen-radiology").glob("*.xml"), reverse=True)
    with tarfile.open(other / "NLMCXR_reports.tgz", "w:gz") as archive:
        for path in files:  # reversed order: the cohort must not depend on it
            archive.add(path, f"ecgen-radiology/{path.name}")
    plugin = Plugin("openi", "mini", {"root": str(other)})
    first, second = load_cohort(plugin), load_cohort(plugin)  # parsed, then from the index
    assert first.fingerprint == second.fingerprint == mini_cohort.fingerprint
    assert list(other.glob("reports-*.jsonl"))


def test_images_do_not_change_the_fingerprint(mini_data: Path, mini_cohort: Cohort) -> None:
    import PIL.Image

    from reportcard.data.sources import openi

    folder = mini_data / "openi" / "NLMCXR_png"
    folder.mkdir()
    PIL.Image.new("L", (3, 2), 200).save(folder / "CXR2_IM-0652-1001.png")
    openi._image_files.cache_clear()
    again = load_cohort(Plugin("openi", "mini", {"root": str(mini_data / "openi")}))
    openi._image_files.cache_clear()
    assert again.has_images
    assert again.fingerprint == mini_cohort.fingerprint
    image = again.test[1].request.images[0]
    assert image.pixels().shape == (2, 3)
    assert image.pixels().dtype == "uint8"
    with pytest.raises(ReportCardError, match="CXR2_IM-0652-2001"):
        again.test[1].request.images[1].pixels()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty", b"", "empty file"),
        ("cut", report_xml(*STUDIES[0]).encode()[:200], "not well-formed"),
        ("no id", b"<eCitation/>", "no <uId"),
        ("binary", bytes(range(256)), "not well-formed"),
        (
            "entities",
            b'<!DOCTYPE x [<!ENTITY a "b">]><eCitation><uId id="CXR9"/>&a;</eCitation>',
            "DTD",
        ),
        ("escape", report_xml("../../etc", [], "f", "", "", []).encode(), "leave the data root"),
        (
            "image escape",
            report_xml("CXR9", ["../../x"], "f", "", "", []).encode(),
            "leave the data root",
        ),
        ("huge", b" " * 999_999 + b"<eCitation/>", "more than"),
    ],
)
def test_damaged_files_are_named_counted_and_not_fatal(name: str, data: bytes, reason: str) -> None:
    good = report_xml(*STUDIES[0]).encode()
    records, damaged = parse_reports([("1.xml", good), (f"{name}.xml", data)])
    assert [record.id for record in records] == ["CXR1"]
    assert len(damaged) == 1
    assert damaged[0].startswith(f"{name}.xml")
    assert reason in damaged[0]


def test_damaged_file_shows_in_attrition_and_notes(mini_data: Path) -> None:
    (mini_data / "openi" / "ecgen-radiology" / "99.xml").write_bytes(b"<html>")
    selection = OpenI(str(mini_data / "openi")).select()
    assert selection.attrition[0].dropped == 1
    assert any("99.xml" in note for note in selection.notes)


def test_duplicate_study_ids_are_an_error_with_both_files() -> None:
    data = report_xml(*STUDIES[0]).encode()
    with pytest.raises(ReportCardError, match=r"CXR1 .*a\.xml, b\.xml"):
        parse_reports([("a.xml", data), ("b.xml", data)])


def test_missing_root_says_what_was_expected_where(tmp_path: Path) -> None:
    with pytest.raises(ReportCardError, match=r"expected .*NLMCXR_reports\.tgz.*fetch openi"):
        OpenI(str(tmp_path)).select()


def test_damaged_archive_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "NLMCXR_reports.tgz").write_bytes(b"<html>404</html>")
    with pytest.raises(ReportCardError, match=r"damaged.*fetch openi"):
        OpenI(str(tmp_path)).select()


@pytest.mark.parametrize("damage", ["cut at a line", "cut in a line", "empty", "another header"])
def test_a_damaged_index_is_made_again(mini_data: Path, mini_cohort: Cohort, damage: str) -> None:
    root = mini_data / "packed"
    root.mkdir()
    with tarfile.open(root / "NLMCXR_reports.tgz", "w:gz") as archive:
        archive.add(mini_data / "openi" / "ecgen-radiology", "ecgen-radiology")
    plugin = Plugin("openi", "mini", {"root": str(root)})
    load_cohort(plugin)
    (index,) = root.glob("reports-*.jsonl")
    whole = index.read_bytes()
    lines = whole.splitlines(keepends=True)
    index.write_bytes(
        {
            "cut at a line": b"".join(lines[:4]),
            "cut in a line": whole[:-40],
            "empty": b"",
            "another header": b"{}\n" + b"".join(lines[1:]),
        }[damage]
    )
    assert load_cohort(plugin).fingerprint == mini_cohort.fingerprint
    assert index.read_bytes() == whole
