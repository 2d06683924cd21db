"""RadFact end to end: files of pairs and recorded verdicts in, scores out, no model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reportcard import evaluate
from reportcard.api import Json, ReportCardError

BOX = {"x_min": 0.1, "y_min": 0.1, "x_max": 0.4, "y_max": 0.4}
GROUNDED = [
    {
        "prediction": [
            {"text": "An opacity on the left.", "boxes": [BOX]},
            {"text": "No effusion.", "boxes": None},
        ],
        "target": [{"text": "Left opacity.", "boxes": [BOX]}],
    },
    {
        "prediction": [{"text": "Large heart.", "boxes": None}],
        "target": [{"text": "Left opacity.", "boxes": [BOX]}],
    },
]


def entailment(premises: list[str], hypothesis: str, *evidence: str) -> str:
    status = "entailment" if evidence else "not_entailment"
    line = {
        "kind": "radfact.entailment",
        "premises": premises,
        "hypothesis": hypothesis,
        "status": status,
        "evidence": evidence,
    }
    return json.dumps(line)


def recorded(tmp_path: Path, lines: list[str]) -> list[str]:
    path = tmp_path / "v.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ["judge=recorded", f"judge.verdicts={path}"]


def test_a_grounded_file_and_recorded_verdicts_need_no_model(tmp_path: Path) -> None:
    file = tmp_path / "grounded.json"
    file.write_text(json.dumps(GROUNDED), encoding="utf-8")
    said = ["An opacity on the left.", "No effusion."]
    lines = [
        entailment(["Left opacity."], said[0], "Left opacity."),
        entailment(["Left opacity."], said[1]),
        entailment(said, "Left opacity.", said[0]),
        entailment(["Left opacity."], "Large heart."),
        entailment(["Large heart."], "Left opacity."),
    ]
    found = evaluate(file, ["radfact"], resamples=20, overrides=recorded(tmp_path, lines))
    value = {name: entry["value"] for name, entry in found["metrics"].items()}
    assert found["unscored"] == {}
    assert value["radfact.logical_precision"] == 0.25
    assert value["radfact.logical_recall"] == 0.5
    assert value["radfact.spatial_precision"] == 1.0
    assert value["radfact.spatial_recall"] == 0.5
    assert value["radfact.grounding_f1"] == 1.0
    without = evaluate(file, ["radfact"], resamples=20, overrides=recorded(tmp_path, lines[:3]))
    assert list(without["unscored"]["radfact"]) == ["pair 1"]
    assert without["metrics"]["radfact.logical_precision"]["value"] == 0.5
    assert without["metrics"]["radfact.logical_precision"]["bounds"] == [0.25, 0.75]


def test_narrative_pairs_and_recorded_verdicts(tmp_path: Path) -> None:
    pairs = [{"study_id": "1", "candidate": "No A or B.", "reference": "No A."}]
    lines = [
        json.dumps(
            {"kind": "radfact.phrases", "report": "No A or B.", "phrases": ["No A.", "No B."]}
        ),
        json.dumps({"kind": "radfact.phrases", "report": "No A.", "phrases": ["No A."]}),
        entailment(["No A."], "No A.", "No A."),
        entailment(["No A."], "No B."),
        entailment(["No A.", "No B."], "No A.", "No A."),
    ]
    found = evaluate(pairs, ["radfact"], resamples=20, overrides=recorded(tmp_path, lines))
    assert found["metrics"]["radfact.logical_f1"]["value"] == pytest.approx(2 / 3)
    assert found["metrics"]["radfact.spatial_f1"]["value"] is None


def test_without_a_judge_the_metric_is_not_run_and_says_how() -> None:
    found = evaluate(GROUNDED, ["radfact"], resamples=20)
    assert "no judge chosen" in found["metrics"]["radfact.logical_f1"]["not_run"]


@pytest.mark.parametrize(
    ("phrase", "says"),
    [
        ({"text": "a", "boxes": []}, "at least one box"),
        ({"text": " ", "boxes": None}, "empty text"),
        ({"text": "a", "boxes": [{**BOX, "x_max": 10**400}]}, "fractions of the image"),
        ({"text": "a", "boxes": [{**BOX, "x_max": 224}]}, "fractions of the image"),
        ({"text": "a", "boxes": [{**BOX, "x_max": None}]}, "must have the numbers"),
    ],
)
def test_a_bad_grounded_file_is_refused_with_its_place(phrase: Json, says: str) -> None:
    with pytest.raises(ReportCardError, match=says) as caught:
        evaluate([{"prediction": [phrase], "target": [{"text": "b"}]}], ["bleu"])
    assert "prediction[0]" in str(caught.value)
