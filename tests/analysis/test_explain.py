"""`explain`: every kind of difference is found, put where it belongs, and nothing is invented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reportcard.api import Json
from reportcard.cli.main import main
from tests.cli.test_cli import options


@pytest.fixture
def chosen(mini_data: Path, tmp_path: Path) -> list[str]:
    return options(mini_data, tmp_path / "r", "metrics=bleu,rouge")


def explained(capsys: pytest.CaptureFixture[str], *words: str) -> Json:
    capsys.readouterr()
    assert main(["explain", *words, "--json", "-"]) == 0
    found: Json = json.loads(capsys.readouterr().out)
    return found


def fields(found: Json, group: str) -> dict[str, tuple[Any, Any]]:
    return {e["field"]: (e["a"], e["b"]) for e in found["differences"][group]}


def test_two_models_differ_by_their_cards(
    chosen: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    models = "model=fixed_normal_report,indication_retrieval"
    assert main(["run", *chosen, models]) == 0
    found = explained(capsys, "fixed_normal_report", "indication_retrieval", *chosen)
    changes = fields(found, "changes the number")
    assert changes["model.plugin"] == ("fixed_normal_report", "indication_retrieval")
    assert changes["model.inputs"] == ("none", "indication")
    assert changes["inputs used.indication"] == ("none", 4)
    assert "about.description" in fields(found, "does not change it")
    assert not any("cohort" in name for name in changes)
    assert {k: (a, b) for k, a, b in found["values"]}["rouge.rouge_l"][0] > 0
    words = ("explain", "fixed_normal_report", "indication_retrieval", "--metric", "rouge")
    assert main([*words, *chosen]) == 0
    out = capsys.readouterr().out
    assert "model.inputs" in out
    assert "bleu" not in out


def test_the_same_row_twice_differs_in_nothing(
    chosen: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *chosen, "model=fixed_normal_report"]) == 0
    (path,) = (tmp_path / "r").glob("scores/*/fixed*/reportcard")
    found = explained(capsys, "fixed_normal_report", str(path), *chosen)
    differences = {**found["differences"]}
    differences["may change it"] = [
        e for e in differences["may change it"] if not e["field"].startswith("uncommitted")
    ]
    assert not any(differences.values())
    assert "same predictions, byte for byte" in found["verdict"]


def test_interval_sections_and_protocol_are_told_apart(
    chosen: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = "model=fixed_normal_report"
    other = [w.replace(str(tmp_path / "r"), str(tmp_path / "r2")) for w in chosen]
    assert main(["run", *chosen, model]) == 0
    assert main(["run", *other, model, "stats.resamples=60"]) == 0
    (there,) = (tmp_path / "r2").glob("scores/*/fixed*/reportcard")
    found = explained(capsys, "fixed_normal_report", str(there), *chosen)
    assert not found["differences"]["changes the number"]
    assert "metric rouge.interval" in fields(found, "does not change it")
    assert all(a == b for _, a, b in found["values"])
    assert main(["run", *other, model, "protocol=r2gen"]) == 0
    (there,) = (tmp_path / "r2").glob("scores/*/fixed*/r2gen")
    changes = fields(
        explained(capsys, "fixed_normal_report", str(there), *chosen), "changes the number"
    )
    assert changes["scoring.protocol"] == ("reportcard", "r2gen")
    assert "scoring.normalisation" in changes


def test_a_smaller_cohort_and_its_failures_are_named(
    chosen: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    model = "model=fixed_normal_report"
    assert main(["run", *chosen, model]) == 0
    assert main(["run", *chosen, model, "limit=3"]) == 0
    whole, first = (f"{c}/fixed_normal_report" for c in ("openi_findings", "openi_findings-first3"))
    plain = [word for word in chosen if not word.startswith("dataset=")]
    changes = fields(explained(capsys, whole, first, *plain), "changes the number")
    assert changes["cohort.n"] == (5, 3)
    assert "cohort.fingerprint" in changes
    assert "limit=3" in changes["cohort.attrition"][1]
    assert changes["counts.evaluated"] == (5, 3)


def test_changed_code_behind_the_same_options_shows(
    chosen: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *chosen, "model=fixed_normal_report"]) == 0
    (card,) = (tmp_path / "r").glob("predictions/*/fixed*/card.json")
    (scores,) = (tmp_path / "r").glob("scores/*/fixed*/reportcard")
    folder = scores.parent.name
    other = folder.split("@")[0] + "@" + "0" * 8
    for part in (card.parent, scores.parent):
        part.rename(part.with_name(other))
    for path in (tmp_path / "r").glob(f"scores/*/{other}/*/*/scores.json"):
        saved = json.loads(path.read_text())
        path.write_text(json.dumps({**saved, "model_fingerprint": "0" * 64}))
    moved = (tmp_path / "r").glob(f"predictions/*/{other}/card.json")
    (card,) = moved
    saved = json.loads(card.read_text())
    saved["environment"]["packages"]["numpy"] = "1.0"
    card.write_text(json.dumps(saved))
    assert main(["run", *chosen, "model=fixed_normal_report"]) == 0
    found = explained(capsys, "fixed_normal_report", other, *chosen)
    may = fields(found, "may change it")
    assert any(name.startswith("adapter code") for name in may)
    assert may["package.numpy"][1] == "1.0"
    assert not found["differences"]["changes the number"]


def test_a_figure_as_published(chosen: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *chosen, "model=fixed_normal_report"]) == 0
    figure = "published:R2Gen@MIMIC-CXR findings, n 3,858"
    found = explained(capsys, "fixed_normal_report", figure, *chosen)
    changes = fields(found, "changes the number")
    assert changes["cohort.dataset"][1] == "MIMIC-CXR"
    assert changes["cohort.n"] == (5, 3858)
    assert "model" in fields(found, "recorded on one side only")
    values = {key: (a, b) for key, a, b in found["values"]}
    ours, theirs = values["bleu.bleu_4 (BLEU-4)"]  # one score under two names, in one unit
    assert ours is not None
    assert theirs == pytest.approx(10.3)
    assert values["rouge.rouge_l (ROUGE-L)"][1] == pytest.approx(0.277)
    assert not any(key.startswith("BLEU") for key in values)
    assert main(["explain", "fixed_normal_report", "published:R2Gen", *chosen]) == 2
    assert "n 3,858" in capsys.readouterr().err
    assert main(["explain", "fixed_normal_report", "published:R2Gem", *chosen]) == 2
    assert "No figure of 'R2Gem'" in capsys.readouterr().err
    assert main(["explain", "fixed_normal_report", *chosen]) == 2
    assert main(["explain", "fixed_normal_report", "nobody", *chosen]) == 2


@pytest.mark.parametrize("name", ["IU X-Ray", "IU X-Ray findings", "Open-I findings", "open-i"])
def test_two_names_of_one_collection_are_no_difference(
    chosen: list[str], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["run", *chosen, "model=fixed_normal_report"]) == 0
    found = explained(capsys, "fixed_normal_report", f"published:R2Gen@{name}", *chosen)
    assert "IU X-Ray" in found["b"]["name"] if isinstance(found["b"], dict) else found["b"]
    assert not any("cohort.dataset" in fields(found, group) for group in found["differences"])


def test_sections_that_nobody_took_may_differ_and_need_not(
    chosen: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *chosen, "model=fixed_normal_report"]) == 0
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("study_id,candidate,reference\n1,No effusion.,Clear lungs.\n", "utf-8")
    scored = tmp_path / "scored.json"
    assert main(["evaluate", str(pairs), "--metrics", "rouge", "--json", str(scored)]) == 0
    found = explained(capsys, "fixed_normal_report", str(scored), *chosen)
    assert fields(found, "may change it")["scoring.sections"] == ("findings", "as-given")
    assert "scoring.sections" not in fields(found, "changes the number")
