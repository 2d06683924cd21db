"""Your own table and images: what is read, what is refused, and that errors name file and line."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path

import pytest

from reportcard.api import ImageError, ReportCardError, Selection, Study
from reportcard.cli.main import main
from reportcard.config.settings import Plugin
from reportcard.data.cohort import load_cohort
from reportcard.data.sources.folder import Folder
from tests.data.test_exchange import adds_up
from tests.fixtures.folder import TABLE, write_folder


def study(selection: Selection, name: str) -> Study:
    (found,) = (s for s in selection.test if s.study_id == name)
    return found


def table(root: Path, text: str, name: str = "studies.csv") -> Path:
    path = root / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def selection(tmp_path: Path) -> Selection:
    write_folder(tmp_path)
    return Folder(str(tmp_path)).select()


def test_the_cohort_and_its_account(selection: Selection) -> None:
    assert [s.study_id for s in selection.test] == ["s2", "s5", "s6", "s10"]
    assert [s.study_id for s in selection.train] == ["s7"]
    assert [(s.rule, s.dropped) for s in selection.attrition] == [
        ("rows in the table", 0),
        ("studies (rows joined by study_id)", 0),
        ("split = test", 2),
        ("findings not empty", 1),
        ("an image is named", 1),
    ]
    assert adds_up(selection)


def test_every_column_arrives(selection: Selection) -> None:
    request = study(selection, "s10").request
    assert [(i.image_id, i.view) for i in request.images] == [
        ("a/10_pa.png", "PA"),
        ("a/10_lat.png", "Lateral"),
    ]
    assert (request.indication, request.age, request.sex) == ("Cough", 63.0, "F")
    reference = study(selection, "s10").reference
    assert reference.findings == "Clear lungs.\nHeart is small. CANARY-10"
    assert reference.impression == "Normal."
    assert study(selection, "s10").patient_id == study(selection, "s2").patient_id == "p1"
    assert study(selection, "s10").groups == {"ward": "chest"}
    assert study(selection, "s5").groups == {"ward": "absent"}
    assert "columns that are not read: scanner" in selection.notes


def test_spellings_of_view_age_and_sex(tmp_path: Path) -> None:
    write_folder(tmp_path)
    found = Folder(str(tmp_path), reference="any").select()
    second, third = study(found, "s2").request, study(found, "s3").request
    assert (second.images[0].view, second.age, second.sex) == ("PA", 72.0, "F")
    assert (third.images[0].view, third.age, third.sex) == ("Unknown", 1.5, "M")


def test_broken_images_cost_their_own_study(selection: Selection) -> None:
    assert study(selection, "s10").request.images[1].pixels().shape == (24, 32)
    for name, kind in (("s5", "outside"), ("s6", "missing")):
        with pytest.raises(ImageError) as caught:
            study(selection, name).request.images[0].pixels()
        assert caught.value.kind == kind
    assert "1 of 5 image paths leave the root: refused" in selection.notes
    assert "text only for 1 of 5 images: no such file" in selection.notes


def test_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_folder(root)
    (tmp_path / "secret.png").write_bytes((root / "a/2.png").read_bytes())
    (root / "a" / "absent.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ImageError, match="leaves the data root") as caught:
        study(Folder(str(root)).select(), "s6").request.images[0].pixels()
    assert caught.value.kind == "outside"


def test_rows_of_one_study_are_joined(tmp_path: Path) -> None:
    text = (
        "study_id,image,view,findings,age\n"
        "b,1/10.png,LL,Clear.,50\na,0.png,PA,Effusion.,\nb,1/9.png,AP,,50\nb,,,Clear.,\n"
    )
    table(tmp_path, text)
    found = Folder(str(tmp_path)).select()
    joined = study(found, "b")
    assert [(i.image_id, i.view) for i in joined.request.images] == [
        ("1/9.png", "AP"),
        ("1/10.png", "LL"),
    ]
    assert (joined.reference.findings, joined.request.age) == ("Clear.", 50.0)
    assert [(s.before, s.after) for s in found.attrition][:2] == [(4, 4), (4, 2)]
    assert adds_up(found)


def test_texts_for_models_keep_their_white_space(tmp_path: Path) -> None:
    """LLaVA-Rad's and MAIRA-2's prompts show it, so a stripped text would be another prompt."""
    head, rows = (
        "study_id,findings,indication,comparison",
        ["a, Clear. ,  chest pain ,", "b,x, ,y "],
    )
    table(tmp_path, "\n".join([head, *rows]) + "\n")
    found = Folder(str(tmp_path)).select()
    assert study(found, "a").request.indication == "  chest pain "
    assert study(found, "a").reference.findings == "Clear."
    assert study(found, "b").request.indication is None
    assert study(found, "b").request.comparison == "y "
    # Rows of one study that differ in white space alone agree, in whatever order they stand.
    for both in ("a,Clear., pain\na,Clear.,pain\n", "a,Clear.,pain\na,Clear., pain\n"):
        table(tmp_path, f"study_id,findings,indication\n{both}")
        assert study(Folder(str(tmp_path)).select(), "a").request.indication == " pain"


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    text = "study_id,image,findings,group_x\n" + "".join(
        f"s{n},{n}/{k}.png,Report {n}.,{n % 2}\n" for n in range(12) for k in range(3)
    )
    plugin = Plugin("folder", "f", {"root": str(tmp_path)})
    table(tmp_path, text)
    first = load_cohort(plugin)
    head, *rows = text.splitlines()
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        table(tmp_path, "\n".join([head, *rows]) + "\n")
        again = load_cohort(plugin)
        assert again.fingerprint == first.fingerprint
        assert [s.study_id for s in again.test] == [f"s{n}" for n in range(12)]


@pytest.mark.parametrize("ending", ["tsv", "jsonl", "json"])
def test_the_other_kinds_of_table_give_the_same_cohort(tmp_path: Path, ending: str) -> None:
    def fingerprint(root: Path) -> str:
        return load_cohort(Plugin("folder", "f", {"root": str(root)})).fingerprint

    (tmp_path / "csv").mkdir()
    write_folder(tmp_path / "csv")
    other = tmp_path / "other"
    write_folder(other)
    (other / "studies.csv").unlink()
    rows = list(csv.DictReader(io.StringIO(TABLE)))
    if ending == "tsv":
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
        text = out.getvalue()
    elif ending == "jsonl":
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        text = json.dumps(rows)
    (other / f"studies.{ending}").write_bytes(text.encode())
    assert fingerprint(other) == fingerprint(tmp_path / "csv")


def test_jsonl_has_lists_of_images_and_views(tmp_path: Path) -> None:
    row = {"study_id": 7, "findings": "Clear.", "images": ["b.png", "a.png"], "age": 61.5}
    table(tmp_path, json.dumps({**row, "views": ["frontal", "LATERAL"]}) + "\n", "s.jsonl")
    request = study(Folder(str(tmp_path)).select(), "7").request
    assert [(i.image_id, i.view) for i in request.images] == [
        ("b.png", "Frontal"),
        ("a.png", "Lateral"),
    ]
    assert request.age == 61.5
    table(tmp_path, json.dumps({**row, "views": ["frontal"]}) + "\n", "s.jsonl")
    with pytest.raises(ReportCardError, match=r"s\.jsonl:1: 2 images and 1 views"):
        Folder(str(tmp_path)).select()


def test_a_table_without_images_is_text_only(tmp_path: Path) -> None:
    table(tmp_path, "study_id,findings\n1,Clear.\n2,\n")
    found = Folder(str(tmp_path)).select()
    assert [step.rule for step in found.attrition][-1] == "findings not empty"
    assert len(found.test) == 1
    assert any(note.startswith("text only: no images") for note in found.notes)
    assert found.test[0].reference.impression is None  # no such column; "" would be an empty one


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("studyid,findings\n1,x\n", r"studies\.csv:1: no column study_id.*Did you mean studyid"),
        ("study_id,findngs\n1,x\n", r"studies\.csv:1: no column findings.*Did you mean findngs"),
        ("study_id,findings\n,x\n", r"studies\.csv:2: the study_id is blank"),
        ("study_id,findings\n1,CANARY,more\n", r"studies\.csv:2: more fields than the header"),
        ("study_id,findings,age\n1,CANARY,old\n", r"studies\.csv:2: the age is neither"),
        (
            "study_id,findings\n1,CANARY-1\n2,x\n1,CANARY-2\n",
            r"studies\.csv:2 and \S*studies\.csv:4: rows of one study differ in 'findings'",
        ),
        (
            "study_id,findings,image\n1,CANARY,a.png\n1,,a.png\n",
            r"studies\.csv:3: the study names an image twice",
        ),
        (
            "study_id,findings,split\n1,CANARY,tset\n2,x,\n",
            r"no row with split test \(blank: 1, tset: 1\)",
        ),
    ],
)
def test_errors_name_file_and_line_and_quote_no_report(
    tmp_path: Path, text: str, message: str
) -> None:
    table(tmp_path, text)
    with pytest.raises(ReportCardError, match=message) as caught:
        Folder(str(tmp_path)).select()
    assert "CANARY" not in str(caught.value)


def test_a_misspelt_optional_column_is_pointed_out(tmp_path: Path) -> None:
    table(tmp_path, "study_id,findings,indicaton\n1,Clear.,Cough\n")
    (note, _) = Folder(str(tmp_path)).select().notes
    assert note == "columns that are not read: indicaton Did you mean indication?"


def test_a_hospital_needs_no_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path / "mine")
    run = [
        *("run", "model=reference_oracle", "dataset=folder", "metrics=rouge", "tracking=none"),
        *(f"dataset.root={tmp_path / 'mine'}", "dataset.title=Ward 7", "stats.resamples=20"),
        f"results_dir={tmp_path / 'r'}",
    ]
    assert main(run) == 0
    summary = json.loads(next((tmp_path / "r" / "cohorts").glob("folder@*.json")).read_text())
    assert (summary["n_studies"], summary["n_patients"]) == (4, 3)
    assert (summary["dataset"], summary["data_class"]) == ("Ward 7", "credentialed")
    assert "CANARY" not in json.dumps(summary)
    assert main(["doctor", "dataset=folder", f"data_dir={tmp_path}"]) == 2
    assert "No table of studies: expected one file" in capsys.readouterr().out.replace("\n", " ")
