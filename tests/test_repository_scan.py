"""The scan refuses what looks like patients' data, prints none of it, and passes the repository."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import sqlite3
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from tests.fixtures import make_fixtures
from tests.fixtures.reserved import dicom, gradient, study, subject

REPOSITORY = Path(__file__).parents[1]
SCAN = REPOSITORY / ".ci" / "scan.py"
SPECIAL = "harness/data/sources/data/mimic_special_sections.csv"

# Put together here, so that this file passes the scan that it tests.
S, P = "5" + "1234567", "1" + "2345678"
HEX = "-".join(["0a1b2c3d"] * 5)
PLANTED = {
    "study folder": (f"files/s{S}.txt", "study id"),
    "study id after an underscore": (f"x_s{S}_1", "study id"),
    "subject folder": (f"p12/p{P}/", "subject id"),
    "CSV row of bare numbers": (f"{P},{S},1.0", "beside a study id"),
    "CSV row the other way round": (f"{S}, {P}", "beside a study id"),
    "JSON row of bare numbers": (f'{{"subject_id": "{P}", "study_id": {S}}}', "beside a study id"),
    "CSV row with columns between": (f"{P},2180,10:31,{'x' * 300},7.5,{S}", "beside a study id"),
    "CSV row of decimals": (f"{P}.0,{S}.0", "beside a study id"),
    "JSON subject alone": (f'"subject_id": {P}', "under its column"),
    "JSON study alone, as text": (f'"study_id":"{S}"', "under its column"),
    "JSON inside JSON": (rf"\"study_id\": \"{S}\"", "under its column"),
    "YAML list": (f"study_id: [{S}]", "under its column"),
    "keyword": (f"StudyID={S}", "under its column"),
    "one decimal": (f"subject_id = {P}.0", "under its column"),
    "comparison": (f"df['subject_id'] == {P}", "under its column"),
    "image id": (f"{HEX}.jpg", "image id"),
    "image id in capitals": (HEX.upper(), "image id"),
    "image id without dashes": (f"{HEX.replace('-', '')}.jpg", "without dashes"),
    "the same after its column": (f"dicom_id: {HEX.replace('-', '')}", "without dashes"),
    "report": ("x\nFINAL" + " REPORT\n SECRET was seen by Dr. __" + "_.\n", "text of a report"),
    "ReXGradient id": ("GRDN" + "4Z07QX1P", "ReXGradient id"),
}


def scan(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCAN), *names]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("case", PLANTED)
def test_planted_data_is_refused_without_being_printed(case: str, tmp_path: Path) -> None:
    text, rule = PLANTED[case]
    (tmp_path / "notes.md").write_text(f"first line\n{text}\n", encoding="utf-8")
    done = scan(tmp_path, "notes.md")
    assert done.returncode == 1
    line = 3 if case == "report" else 2
    assert f"notes.md:{line}: " in done.stderr
    assert rule in done.stderr
    for secret in (S, P, "0a1b2c3d", "0A1B2C3D", "SECRET", "4Z07QX1P"):
        assert secret not in done.stdout + done.stderr


@pytest.mark.parametrize("name", [f"p{P}/s{S}.txt", f"{P}/s{S}.txt", f"{HEX}.txt"])
def test_an_id_in_a_name_is_refused_without_being_printed(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("nothing", encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    for done in (scan(tmp_path, name), scan(tmp_path)):
        assert done.returncode == 1
        assert "its name: a MIMIC" in done.stderr
        assert not any(secret in done.stdout + done.stderr for secret in (S, P, HEX))


def test_the_target_of_a_link_is_read_though_it_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(f"/elsewhere/files/p{P}")
    (tmp_path / "fixture").symlink_to(f"p{subject(1)}/s{study(1)}.txt")
    done = scan(tmp_path, "data", "fixture")
    assert done.returncode == 1
    assert "data:its target: a MIMIC subject id" in done.stderr
    assert "fixture" not in done.stderr.splitlines()[0]
    assert len(done.stderr.splitlines()) == 2
    assert P not in done.stderr


def test_utf_16_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"s{S}", encoding="utf-16")
    assert scan(tmp_path, "a.txt").returncode == 1


@pytest.mark.parametrize("name", ["reports.zip", "split.csv.gz", "image.dcm", "a.xlsx", "A.NPZ"])
def test_what_cannot_be_read_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    done = scan(tmp_path, name)
    assert done.returncode == 1
    assert "cannot be scanned" in done.stderr


def containers(folder: Path) -> dict[str, bytes]:
    """Small real ones, where the standard library writes them."""
    base = sqlite3.connect(folder / "base")
    base.execute("create table t (a)")
    base.close()
    packed, tape = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("a", "b")
    with tarfile.open(fileobj=tape, mode="w") as file:
        file.addfile(tarfile.TarInfo("a"))
    return {
        "zip": packed.getvalue(),
        "tar": tape.getvalue(),
        "gzip": gzip.compress(b"a"),
        "bzip2": bz2.compress(b"a"),
        "bzip2 of nothing": bz2.compress(b""),
        "xz": lzma.compress(b"a"),
        "zstd": b"\x28\xb5\x2f\xfd\x20\x01",
        "SQLite": (folder / "base").read_bytes(),
        "HDF5": b"\x89HDF\r\n\x1a\n\0",
        "DICOM": b"\n" * 128 + b"DICM",
        "Parquet": b"PAR1\x15\x04",
        "pickle": pickle.dumps({}),
    }


def test_a_container_under_a_harmless_name_is_refused(tmp_path: Path) -> None:
    for kind, data in containers(tmp_path).items():
        (tmp_path / "notes.txt").write_bytes(data)
        done = scan(tmp_path, "notes.txt")
        assert (done.returncode, "cannot be scanned" in done.stderr) == (1, True), kind


@pytest.mark.parametrize("space", ["\n  ", "  ", "\u00a0", "\u2009", "&nbsp;", "\\u00a0", "\\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_no_space_hides_the_title_of_a_report(space: str, encoding: str, tmp_path: Path) -> None:
    data = f"Final{space}Report\n seen by ___".encode(encoding, "replace")
    (tmp_path / "a.txt").write_bytes(data.replace(b"?", b"\xa0"))
    assert "text of a report" in scan(tmp_path, "a.txt").stderr


def test_a_canary_excuses_its_own_report_only(tmp_path: Path) -> None:
    title = "FINAL" + " REPORT\n"
    real, invented = f"{title} seen by ___\n", f"{title} seen by ___ CANARY-1\n"
    for text, lines in (
        (real + invented, [1]),
        (invented + real, [3]),
        ("CANARY-0\n" + real + real, [2, 4]),
        (invented + invented, []),
        (title + invented, []),  # the first has no text
    ):
        (tmp_path / "a.txt").write_text(text, encoding="utf-8")
        refused = [f"a.txt:{line}: the text of a report" for line in lines]
        assert scan(tmp_path, "a.txt").stderr.splitlines()[:-1] == refused


def test_reserved_ids_and_invented_reports_pass(tmp_path: Path) -> None:
    lines = [f"p{subject(1)}/s{study(999)}/{dicom('a')}.jpg", f"{subject(2)},{study(2)}"]
    lines += [f"{subject(2)}.0,x,{study(2)}.0", f'"subject_id": {subject(3)}', "0.12345678,5e7"]
    lines += [f"study_id={study(3)}.0", f'{{"study_id": "{study(3)}"}}', "study_id: 12"]
    lines += [f"{dicom('a').replace('-', '')}.jpg", "see commit " + HEX.replace("-", "")]
    lines += [gradient(1), "FINAL REPORT\n CANARY-1 ___\n", "ab12cd34-not-an-id", "s5999", "GRDN"]
    (tmp_path / "fixture.txt").write_text("\n".join(lines), encoding="utf-8")
    done = scan(tmp_path, "fixture.txt")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_published_special_studies_pass_under_their_own_name_only(tmp_path: Path) -> None:
    assert scan(REPOSITORY, SPECIAL).returncode == 0
    (tmp_path / "copy.csv").write_bytes((REPOSITORY / SPECIAL).read_bytes())
    assert scan(tmp_path, "copy.csv").returncode == 1


def test_without_names_it_reads_every_tracked_file(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "staged file.txt").write_text(f"s{S}", encoding="utf-8")
    (tmp_path / "mine.txt").write_text(f"s{S}", encoding="utf-8")
    subprocess.run(["git", "add", "staged file.txt"], cwd=tmp_path, check=True)
    done = scan(tmp_path)
    assert done.returncode == 1
    assert "staged file.txt:1:" in done.stderr
    assert "mine.txt" not in done.stderr  # not tracked: nobody will push it


def test_the_repository_passes() -> None:
    done = scan(REPOSITORY)
    assert done.stderr == ""
    assert done.returncode == 0


def test_both_gates_call_it() -> None:
    assert ".ci/scan.py" in (REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    lint = (REPOSITORY / "Makefile").read_text(encoding="utf-8").split("\nlint:")[1]
    assert ".ci/scan.py" in lint.split("\n\n")[0]


def test_the_reserved_range_has_an_end() -> None:
    with pytest.raises(ValueError, match="0 to 999"):
        study(1000)
    assert dicom("a") == dicom("a") != dicom("b")


def test_one_generator_writes_every_miniature_the_same_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def contents(root: Path) -> dict[str, bytes]:
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}

    written = make_fixtures(tmp_path / "a")
    later = time.time() + 3600  # gzip and zip would write it down
    monkeypatch.setattr(time, "time", lambda: later)
    make_fixtures(tmp_path / "b")
    sources = {"folder", "r2gen_json", "rexrank_json", "mimic_cxr", "ms_cxr", "chexpert_plus"}
    assert {"padchest", "padchest_gr", "rexgradient", "images"} | sources <= set(written)
    assert all(any(folder.iterdir()) for folder in written.values())
    one, two = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert sorted(one) == sorted(two)
    assert [name for name in one if one[name] != two[name]] == []
