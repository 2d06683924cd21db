"""Floors and the ceiling do what they say, on a cohort small enough to check by eye."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from reportcard.api import Prediction, ReportCardError
from reportcard.config.settings import Plugin
from reportcard.data.cohort import Cohort
from reportcard.predict.engines.job import ModelJob
from reportcard.predict.system import open_model


def answers(cohort: Cohort, plugin: str, **options: object) -> list[Prediction]:
    system = open_model(Plugin(plugin, plugin, options), cohort)
    requests = [study.request for study in cohort.test]
    ModelJob(system.adapter, requests, cohort.train, cohort.test).make_ready()
    return list(system.adapter.generate(requests))


def texts(predictions: list[Prediction]) -> list[str]:
    return [p.report.text() for p in predictions]


def test_oracle_is_the_reference(mini_cohort: Cohort) -> None:
    assert texts(answers(mini_cohort, "reference_oracle")) == [
        s.reference.text() for s in mini_cohort.test
    ]


def test_empty_says_so(mini_cohort: Cohort) -> None:
    assert {(p.report.text(), p.status) for p in answers(mini_cohort, "empty_report")} == {
        ("", "empty")
    }


def test_most_frequent_is_fitted_on_train_alone(openi_r2gen: Cohort) -> None:
    counts = Counter(s.reference.text() for s in openi_r2gen.train)
    best = counts.most_common(1)[0][1]
    (text,) = set(texts(answers(openi_r2gen, "most_frequent_report")))
    assert counts[text] == best


def test_shuffled_reference_gives_nobody_their_own(openi_r2gen: Cohort) -> None:
    given = answers(openi_r2gen, "shuffled_reference", seed=3)
    by_text = sorted(texts(given))
    assert by_text == sorted(s.reference.text() for s in openi_r2gen.test)
    # Equal texts of different studies are legitimate; the study itself is not its own source.
    own = sum(p.report is s.reference for p, s in zip(given, openi_r2gen.test, strict=True))
    assert own == 0


def test_random_report_depends_on_seed_and_draw_and_not_on_order(openi_r2gen: Cohort) -> None:
    from dataclasses import replace

    system = open_model(Plugin("random_train_report", "r", {"draws": 2, "seed": 0}), openi_r2gen)
    requests = [s.request for s in openi_r2gen.test[:100]]
    ModelJob(system.adapter, requests, openi_r2gen.train, openi_r2gen.test).make_ready()
    first = texts(list(system.adapter.generate(requests)))
    again = texts(list(system.adapter.generate(requests[::-1])))[::-1]
    other = texts(list(system.adapter.generate([replace(r, draw=1) for r in requests])))
    assert first == again
    assert first != other
    assert set(first) <= {s.reference.text() for s in openi_r2gen.train}
    assert len(set(first)) > 50


def bag(text: str | None) -> tuple[str, ...]:
    """An indication as TF-IDF sees it: its words of two letters or more, in any order."""
    return tuple(sorted(re.findall(r"\w\w+", (text or "").lower())))


def test_indication_retrieval_finds_the_same_indication(openi_r2gen: Cohort) -> None:
    given = answers(openi_r2gen, "indication_retrieval")
    train = {bag(s.request.indication): s.reference.text() for s in openi_r2gen.train}
    seen = Counter(bag(s.request.indication) for s in openi_r2gen.train)
    checked = 0
    for prediction, study in zip(given, openi_r2gen.test, strict=True):
        words = bag(study.request.indication)
        if len(words) >= 5 and seen[words] == 1:
            assert prediction.report.text() == train[words]
            checked += 1
        assert prediction.used == (("indication",) if study.request.indication else ())
    assert checked >= 3


REPLAY = [
    ("p.jsonl", '{"study_id": "CXR%d", "candidate": "Text %d."}\n'),
    ("p.jsonl", '{"study_id": "CXR%d", "findings": "Text %d."}\n'),
]


@pytest.mark.parametrize(("name", "line"), REPLAY)
def test_replay_answers_what_the_file_says(
    tmp_path: Path, mini_cohort: Cohort, name: str, line: str
) -> None:
    path = tmp_path / name
    path.write_text("".join(line % (i, i) for i in range(9, 0, -1)))
    assert texts(answers(mini_cohort, "replay", predictions=str(path))) == [
        f"Text {i}." for i in range(1, 6)
    ]


def test_replay_reads_rexrank_json(tmp_path: Path, mini_cohort: Cohort) -> None:
    path = tmp_path / "rexrank.json"
    rows = {
        f"CXR{i}": {"model_prediction": f"Findings: Clear {i}. Impression: Normal."}
        for i in range(1, 6)
    }
    path.write_text(json.dumps(rows))
    given = answers(mini_cohort, "replay", predictions=str(path))
    assert given[0].report.findings == "Clear 1."
    assert given[0].report.impression == "Normal."


def test_replay_drops_the_thoughts_of_a_saved_answer(tmp_path: Path, mini_cohort: Cohort) -> None:
    saved = {f"CXR{i}": f"<think>An effusion?</think>Text {i}." for i in range(1, 5)}
    saved["CXR5"] = "[THINK]An effusion?"
    path = tmp_path / "p.jsonl"
    rows = [{"study_id": study, "candidate": text} for study, text in saved.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = answers(mini_cohort, "replay", predictions=str(path))
    assert texts(given) == [*(f"Text {i}." for i in range(1, 5)), ""]
    assert [prediction.status for prediction in given] == [*["ok"] * 4, "empty"]
    assert [prediction.raw for prediction in given] == list(saved.values())


def test_replay_lists_missing_ids_by_name(tmp_path: Path, mini_cohort: Cohort) -> None:
    path = tmp_path / "p.csv"
    path.write_text("study_id,candidate\nCXR1,a\nCXR3,b\nCXR77,c\n")
    with pytest.raises(ReportCardError, match=r"3 of 5 studies: CXR2, CXR4, CXR5"):
        answers(mini_cohort, "replay", predictions=str(path))


def test_replay_lists_duplicate_ids_by_name(tmp_path: Path, mini_cohort: Cohort) -> None:
    path = tmp_path / "p.csv"
    path.write_text("study_id,candidate\nCXR1,a\nCXR2,b\nCXR1,c\n")
    with pytest.raises(ReportCardError, match=r"Duplicate ids: CXR1 \(.*:2 and .*:4\)"):
        answers(mini_cohort, "replay", predictions=str(path))


def test_replay_is_keyed_by_content_and_not_by_path(tmp_path: Path, mini_cohort: Cohort) -> None:
    line = "study_id,candidate\nCXR1,a\n"
    prints = []
    for name, text in (("a.csv", line), ("b.csv", line), ("c.csv", line + "CXR2,b\n")):
        (tmp_path / name).write_text(text)
        plugin = Plugin("replay", "r", {"predictions": str(tmp_path / name)})
        prints.append(open_model(plugin, mini_cohort).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_replay_does_not_take_the_reference_for_a_prediction(
    tmp_path: Path, mini_cohort: Cohort
) -> None:
    path = tmp_path / "p.csv"
    path.write_text("study_id,report,reference\nCXR1,truth,truth\n")
    with pytest.raises(ReportCardError, match="may be the reference"):
        answers(mini_cohort, "replay", predictions=str(path))
    path.write_text("study_id,candidate\nCXR1,a\n")
    (tmp_path / "p.jsonl").write_text(
        '{"study_id": "CXR1", "model_prediction": "a"}\n{"study_id": "CXR2", "report": "b"}\n'
    )
    with pytest.raises(ReportCardError, match=r"p.jsonl:2: no column model_prediction"):
        answers(mini_cohort, "replay", predictions=str(tmp_path / "p.jsonl"))
