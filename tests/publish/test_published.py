"""Figures as published: read strictly, shown with their source, never among measured rows."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from reportcard.api import Json, ReportCardError
from reportcard.core.records import to_json
from reportcard.publish.board.boards import Leaderboard
from reportcard.publish.board.published import published, published_dir, read_figures
from reportcard.publish.page import page
from reportcard.publish.page.terminal_board import published_line, render, render_published
from reportcard.publish.page.write import tidy

GOOD = """
title: A paper
tables:
  - dataset: MIMIC-CXR
    section: findings
    n: 2461
    source: Table 2
    second_hand: true
    figures:
      System <b>X</b>:
        RadCliQ-v0: 3.10 [3.07, 3.14]
    not_found:
      System Y: no figure could be read
"""


def write(folder: Path, text: str, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def by_name() -> dict[str, Json]:
    found: list[Json] = to_json(published())
    return {cohort["name"]: cohort for cohort in found}


def test_every_system_that_cannot_be_run_has_a_row_with_its_source() -> None:
    cohorts = by_name()
    mimic = cohorts["MIMIC-CXR findings, n 2,461 — as published"]["figures"]
    found = {(f["system"], f["metric"]): f for f in mimic}
    maira = found["MAIRA-2", "RadGraph-F1 (RadCliQ def)"]
    assert (maira["value"], maira["ci_low"], maira["ci_high"]) == (34.6, 33.9, 35.3)
    assert maira["source"] == "MAIRA-2 paper, Table D.1"
    assert maira["second_hand"] is True
    assert found["MAIRA-1", "RadCliQ-v0"]["printed"] == "3.10"  # the digits that were printed
    every = [figure for cohort in cohorts.values() for figure in cohort["figures"]]
    systems = {figure["system"] for figure in every}
    assert systems >= {"MAIRA-1", "MAIRA-Seg", "Med-PaLM M 84B", "Flamingo-CXR", "LLaVA-Rad"}
    assert systems >= {"MedVersa", "MAIRA-2", "R2Gen"}
    (seg,) = (figure for figure in every if figure["system"] == "MAIRA-Seg")
    assert (seg["value"], seg["metric"]) == (None, None)
    assert "could not be read" in seg["note"]
    assert all(figure["source"] for figure in every)
    primary = {figure["source"] for figure in every if not figure["second_hand"]}
    # Read where they were printed; every other figure was read in a text that quotes it.
    assert primary == {
        "Med-PaLM M paper, Table 2",
        "Libra, README of X-iZhang/Libra",
        "ReXrank, results of an older board",
        "ReXrank, results/findings_result_iu_xray.csv at commit 1602a4c",
        "ReXrank, results/result_iu_xray.csv at commit 0a1fd6b",
        "CvT2DistilGPT2, README of aehrc/cvt2distilgpt2 at commit 7dee565",
        "VLCI, README of WissingChen/VLCI at commit 216038f",
        "CXR-LLaVA paper, abstract of arXiv 2310.18341v3 (2024)",
        "CXR-LLaVA paper, abstract of arXiv 2310.18341v3 (2024) and of European Radiology 35:4374"
        " (2025)",
        "CXR-LLaVA paper, abstract of European Radiology 35:4374 (2025), in the authors’ copy on"
        " ResearchGate",
    }


def test_sources_that_differ_both_stand_and_are_marked() -> None:
    rest = by_name()["MIMIC-CXR findings, n not stated — as published"]["figures"]
    bleu = [f for f in rest if (f["system"], f["metric"]) == ("LLaVA-Rad", "BLEU-4")]
    assert {f["printed"] for f in bleu} == {"15.4", "16.1"}
    assert all(f["conflict"] for f in bleu)
    # 0.557 in one source is 55.7 in the other.
    maira = {f["metric"]: f["conflict"] for f in rest if f["system"] == "MAIRA-1"}
    assert (maira["Micro-F1-14"], maira["Macro-F1-14"]) == (False, True)
    assert all(f["conflict"] for f in rest if f["system"] == "M4CXR" and "F1-14" in f["metric"])


def test_iu_x_ray_has_the_rows_that_newcomers_look_for() -> None:
    iu = [c for c in by_name().values() if "IU X-Ray" in c["dataset"]]
    found = {
        (f["system"], f["metric"]): f["printed"]
        for cohort in iu
        for f in cohort["figures"]
        if cohort["section"] in ("findings", "findings test, ReXrank")
    }
    assert found["R2Gen", "BLEU-4"] == "0.165"
    assert found["CvT2DistilGPT2", "BLEU-4"] == "0.1752"
    assert found["VLCI", "BLEU-4"] == "0.1826"
    assert found["MedVersa", "1/RadCliQ-v1"] == "1.46"
    assert found["CvT2DistilGPT2-IU", "BLEU-2"] == "0.244"
    assert found["MAIRA-2", "GREEN"] == "0.194"
    older = [c["figures"] for c in iu if c["section"] == "test, ReXrank"]
    assert {f["metric"] for figures in older for f in figures} >= {"RadCliQ-v0", "RadCliQ-v1"}
    assert len({f["system"] for figures in older for f in figures}) == 14


def test_cxr_llavas_two_abstracts_both_stand() -> None:
    figures = by_name()["CXR-LLaVA external test set labels, n not stated — as published"][
        "figures"
    ]
    f1 = [f for f in figures if f["metric"] == "F1"]
    assert {f["printed"] for f in f1} == {"0.62", "0.56"}
    assert all(f["conflict"] for f in f1)
    assert all("findings" in f["note"] for f in f1)
    accepted = {f["system"]: f for f in figures if (f["metric"] or "").startswith("acceptable")}
    assert {name: f["printed"] for name, f in accepted.items()} == {
        "CXR-LLaVA": "72.7",
        "reference reports": "84.0",
    }
    assert not any(f["conflict"] for f in accepted.values())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "    source: Table 2\n",
            "",
            r"a\.yaml: tables\[0\]\.figures\.System .*RadCliQ-v0 has no so",
        ),
        ("3.10 [3.07, 3.14]", "about 3", r"RadCliQ-v0 is a figure, .* not 'about 3'"),
        ("3.10 [3.07, 3.14]", "3.20 [3.07, 3.14]", r"3\.20 is not in \[3\.07, 3\.14\]"),
        ("3.10 [3.07, 3.14]", "nan", "is a figure"),
        ("second_hand: true", "second_hand: maybe", "second_hand must be true or false"),
        ("n: 2461", "n: many", r"tables\[0\]\.n is a whole number"),
        ("section: findings", "sections: findings", r"tables\[0\] has no key 'sections'"),
        ("title: A paper", "title: []", "title must be text"),
        ("tables:", "tables: {", "a.yaml"),
        ("figures:", "figures: []\n    x:", "has no key 'x'"),
        (
            "      System <b>X</b>:\n        RadCliQ-v0: 3.10 [3.07, 3.14]\n",
            "      S: {A: 1, B: 2, A: 3}\n",
            "has 'A' twice",
        ),
        ("    not_found:", "    source: Table 3\n    not_found:", "has 'source' twice"),
        (GOOD[GOOD.index("    figures:") :], "", r"tables\[0\] has neither figures nor not_found"),
    ],
)
def test_a_file_that_does_not_fit_is_an_error_with_file_and_key(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ReportCardError, match=message):
        read_figures(path)
    with pytest.raises(ReportCardError, match=str(path)):
        published(tmp_path)


def test_page_json_csv_and_terminal_show_them_apart(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    found = Leaderboard(1, (), published(tmp_path))
    text = page.render(found)
    assert text == page.render(Leaderboard.from_json(json.loads(json.dumps(found.to_json()))))
    assert "System &lt;b&gt;X&lt;/b&gt;" in text
    assert "<b>X" not in text
    assert 'href="#as-published"' in text
    for shown in ("3.10", "[3.07, 3.14]", "A paper, Table 2", "second-hand", "not found"):
        assert shown in text
    assert 'class="scores"' not in text  # neither sorted nor ranked
    lines = list(csv.DictReader(io.StringIO(tidy(found))))
    assert [(x["model"], x["kind"], x["value"], x["best"], x["source"]) for x in lines] == [
        ("System <b>X</b>", "as published", "3.1", "", "A paper, Table 2"),
        ("System Y", "as published", "", "", "A paper, Table 2"),
    ]
    console = Console(width=200, file=io.StringIO())
    render_published(found, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "MIMIC-CXR findings, n 2,461 — as published: 1 of System <b>X</b>" in printed
    assert "not found: System Y" in printed


def test_a_run_says_in_one_line_where_they_are(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    found = Leaderboard(1, (), published(tmp_path))
    console = Console(width=200, file=io.StringIO())
    render(found, console)
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
    page_path = Path("results/leaderboard/index.html")
    assert published_line(found, page_path) == (
        "1 board of figures as published: results/leaderboard/index.html, tab As published"
    )
    assert published_line(Leaderboard(1, ()), page_path) == ""


def test_the_files_are_tracked_and_linked_into_the_package() -> None:
    root = Path(__file__).parents[2]
    assert published_dir() == root / "results" / "published"
    assert (root / "reportcard" / "published").resolve() == published_dir()
