"""The section parser against the official one, and the variant for findings generation.

section_parser_cases.json: 29 invented texts, each with what MIT-LCP's section_parser.py answered
in both its versions (mimic-cxr@3190146 and mimic-code@8bcbd19), which we ran on them once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reportcard.api import ReportCardError
from reportcard.cli.main import main
from reportcard.data.sources.report_sections import (
    FINDINGS_VARIANT,
    Special,
    conclusion,
    findings_sections,
    section_row,
    sections,
    special,
)
from tests.fixtures.reserved import study

FILE = Path(__file__).parent / "section_parser_cases.json"
CASES = json.loads(FILE.read_text(encoding="utf-8"))
TEXT = {case["case"]: case["text"] for case in CASES}


@pytest.mark.parametrize("version", ["2.0", "2.1"])
@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_equals_the_official_parser(case: dict[str, Any], version: Any) -> None:
    found = sections(case["text"], version)
    assert [s.name for s in found] == case["names"]
    assert [s.text for s in found] == case["texts"]
    assert [s.start for s in found] == case[f"starts_{version}"]


def test_the_versions_differ_only_in_where_the_last_paragraph_starts() -> None:
    differ = {c["case"] for c in CASES if sections(c["text"], "2.0") != sections(c["text"])}
    with_one = {c["case"] for c in CASES if "last_paragraph" in c["names"]}
    assert differ == with_one
    assert len(with_one) == 2
    old, new = (sections(TEXT["last paragraph"], v)[-1] for v in ("2.0", "2.1"))
    assert (old.name, new.start - old.start) == ("last_paragraph", 3)
    # The newer offset is the text's own; the older one points at the blank line before it.
    assert TEXT["last paragraph"][new.start :] == new.text


def test_offsets_find_the_texts() -> None:
    for case in CASES:
        for section in sections(case["text"]):
            assert case["text"][section.start :].startswith(section.text)


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(ReportCardError, match=r"2\.0 and 2\.1"):
        sections("x", "3.0")  # type: ignore[arg-type]


def test_a_row_holds_the_last_section_of_each_name() -> None:
    row = section_row(TEXT["two findings"], study(1))
    assert row == {
        "impression": None,
        "findings": "Second examination.",
        "last_paragraph": None,
        "comparison": None,
    }
    assert section_row(TEXT["no header"], study(1)) == {
        "impression": None,
        "findings": None,
        "last_paragraph": "Another line.",
        "comparison": None,
    }


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("conclusion", "Better than before."),
        ("two findings", "Second examination."),
        ("last paragraph", "Lungs are clear.\n \n Heart is small."),
        ("no last paragraph without the space", "None.\n\n Lungs are clear."),
        ("empty file", ""),
    ],
)
def test_conclusion_prefers_impression_findings_last_paragraph_comparison(
    case: str, expected: str
) -> None:
    assert conclusion(TEXT[case], study(1)) == expected


def special_ids() -> dict[str, Special]:
    path = Path("harness/data/sources/data/mimic_special_sections.csv")
    lines = (Path(__file__).parents[2] / path).read_text(encoding="utf-8").splitlines()[1:]
    found = {line.split(",")[0]: special(line.split(",")[0]) for line in lines}
    return {name: cut for name, cut in found.items() if cut is not None}


def test_special_studies_are_the_authors_54() -> None:
    cuts = special_ids()
    named = [cut.section for cut in cuts.values() if cut.section]
    offsets = [(cut.start, cut.end) for cut in cuts.values() if not cut.section]
    assert (len(cuts), len(named), len(offsets)) == (54, 23, 31)
    assert offsets.count((0, 0)) == 8
    counts = {name: named.count(name) for name in named}
    assert counts == {
        "recommendations": 7,
        "indication": 6,
        "examination": 5,
        "technique": 3,
        "note": 1,
        "history": 1,
    }
    assert special(study(1)) is None
    some = next(iter(cuts))
    assert special(some.removeprefix("s")) == special(some)


def test_special_studies_are_cut_by_hand_and_have_no_row() -> None:
    by_name = next(name for name, cut in special_ids().items() if cut.section == "note")
    by_offset = next(name for name, cut in special_ids().items() if cut.end)
    nothing = next(n for n, cut in special_ids().items() if not cut.section and not cut.end)
    text = "Title\n NOTE: Mislabelled. \n IMPRESSION: Normal.\n" + "x" * 2000
    assert conclusion(text, by_name) == "Mislabelled."
    cut = special(by_offset)
    assert cut is not None
    assert conclusion(text, by_offset) == text[cut.start : cut.end] != ""
    assert conclusion(text, nothing) == ""
    assert section_row(text, by_offset) is None
    with pytest.raises(ReportCardError, match="no section 'note'") as caught:
        conclusion("Title\n FINDINGS: CANARY-7.", by_name)
    assert "CANARY" not in str(caught.value)


def test_the_variant_gives_what_a_model_may_read() -> None:
    text = (
        "Title\n INDICATION FOR CHEST FILM: Cough\n and fever.\n TECHNIQUE: AP, portable.\n"
        " CLINICAL HISTORY: Smoker.\n COMPARISON: None.\n COMPARISON: \n"
        " FINDINGS: Lungs   are\n clear.\n IMPRESSION: Normal.\n"
    )
    assert findings_sections(text) == {
        "indication": "Cough and fever.",
        "technique": "AP, portable.",
        "history": "Smoker.",
        "comparison": "None.",  # the last that is not empty
        "findings": "Lungs are clear.",
        "impression": "Normal.",
    }
    # The official parser counts that first header as a view, hence as findings.
    assert [s.name for s in sections(text)].count("findings") == 2


def test_the_variant_makes_no_findings_of_other_sections() -> None:
    assert findings_sections(TEXT["combined header"]) == {"impression": "Small effusion."}
    loose = findings_sections(TEXT["last paragraph"])
    assert "findings" not in loose
    assert loose["last_paragraph"] == "Lungs are clear. Heart is small."


def test_the_verb_prints_names_texts_and_offsets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text(TEXT["standard"], encoding="utf-8")
    second.write_bytes(TEXT["windows line ends"].encode())
    assert main(["sections", str(first), str(second), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["file"] for row in rows] == [str(first), str(second)]
    for part in rows[0]["sections"]:
        assert TEXT["standard"][part["start"] :].startswith(part["text"])
    assert rows[0][FINDINGS_VARIANT]["indication"] == "Cough for a week."
    assert rows[1]["sections"][-1]["name"] == "findings"
    assert main(["sections", str(first)]) == 0
    assert "findings" in capsys.readouterr().out
    assert main(["sections", str(tmp_path / "absent.txt")]) == 2
    assert "No file at" in capsys.readouterr().err
