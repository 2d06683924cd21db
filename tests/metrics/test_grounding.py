"""Boxes against boxes: numbers by hand, who is scored, and what the tables say of the others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reportcard.annotate import item_of
from reportcard.api import Box, Pair, Phrase, Prediction, Report, Study
from reportcard.cli.main import main
from reportcard.config.compose import load_protocol
from reportcard.config.settings import Plugin
from reportcard.core.files import jsonl
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.metrics.grounding import Grounding, iou, partners
from reportcard.predict.predictions_file import to_json
from reportcard.score.pairs import References, RunPairs
from reportcard.score.scorer import open_metrics

LEFT, RIGHT = Box(0.0, 0.0, 0.5, 1.0), Box(0.5, 0.0, 1.0, 1.0)
TOP_LEFT = Box(0.0, 0.0, 0.5, 0.5)


def pair(candidate: list[Box] | None, reference: list[Box] | None) -> Pair:
    sides = [
        None if boxes is None else tuple(Phrase(f"finding {i}", (b,)) for i, b in enumerate(boxes))
        for boxes in (candidate, reference)
    ]
    return Pair("s", "x", "x", {}, *sides)


def scores(*pairs: Pair) -> dict[str, float]:
    metric = Grounding()
    return {k: float(v) for k, v in metric.scores(metric.rows(pairs).sum(axis=0)).items()}


def test_numbers_by_hand() -> None:
    found = scores(pair([LEFT], [TOP_LEFT]), pair([], [RIGHT]), pair([], []))
    assert found["miou"] == (0.5 + 0) / 2  # the third study has no place at all
    assert found["pixel_precision"] == 0.5
    assert found["pixel_recall"] == pytest.approx(0.25 / 0.75)
    assert found["pixel_f1"] == pytest.approx(2 * 0.25 / (0.5 + 0.75))
    assert found["box_precision_50"] == 1.0
    assert found["box_recall_50"] == 0.5


def test_matching_is_one_to_one_and_the_best_pair_goes_first() -> None:
    near, nearer = Box(0.0, 0.0, 0.5, 0.6), Box(0.0, 0.0, 0.5, 0.5)
    assert iou(nearer, TOP_LEFT) == 1.0
    assert partners([near, nearer], [TOP_LEFT]) == 1
    # Taken in order, `near` would have taken TOP_LEFT and left nothing for `nearer`.
    assert partners([near, nearer], [TOP_LEFT, Box(0.0, 0.1, 0.5, 0.7)]) == 2
    assert partners([LEFT], [RIGHT]) == 0


def test_small_boxes_are_places_for_every_key() -> None:
    """Both lie in one cell of RadFact's grid; they do not overlap."""
    cell = 1 / 224
    one, other = Box(0, 0, cell * 0.4, cell * 0.4), Box(cell * 0.5, 0, cell * 0.9, cell * 0.4)
    assert set(scores(pair([one], [other])).values()) == {0.0}
    assert set(scores(pair([one], [one])).values()) == {1.0}


def test_a_box_at_two_phrases_counts_once() -> None:
    assert scores(pair([LEFT, LEFT], [LEFT]))["box_precision_50"] == 1.0


def test_narrative_pairs_are_unscored() -> None:
    rows = Grounding().rows([pair(None, [LEFT]), pair([LEFT], None), pair([LEFT], [LEFT])])
    assert np.isnan(rows[:2]).all()
    assert not np.isnan(rows[2]).any()


def phantom() -> Cohort:
    return load_cohort(Plugin("phantom", "phantom", {"test": 4, "train": 6, "size": 64}))


def of_a_run(folder: Path, references: References, reports: list[Report]) -> list[Pair]:
    answers = zip(references.ids, reports, strict=True)
    lines = jsonl(to_json(Prediction(study_id, report)) for study_id, report in answers)
    (folder / "predictions.jsonl").write_bytes(lines)
    return list(RunPairs(folder, references, size=3))


def test_a_run_without_any_phrase_is_read_as_text(tmp_path: Path) -> None:
    references = References.of(phantom(), load_protocol("reportcard"))
    text = [Report(findings="The lungs are clear.")] * len(references.ids)
    pairs = of_a_run(tmp_path, references, text)
    assert {p.candidate_phrases for p in pairs} == {None}
    assert references.grounded
    # What RadFact gets: a text to split beside phrases that are there.
    radfact = open_metrics([Plugin("radfact", "radfact", {})])[0].annotators[0]
    candidate, reference = item_of(radfact, pairs[0])
    assert candidate == "The lungs are clear."
    assert isinstance(reference, tuple)


def test_an_empty_answer_of_a_run_that_grounds_is_a_miss(tmp_path: Path) -> None:
    references = References.of(phantom(), load_protocol("reportcard"))
    said = Report("Cardiomegaly.", phrases=(Phrase("Cardiomegaly.", (LEFT,)),))
    reports = [said if n else Report("") for n in range(len(references.ids))]
    pairs = of_a_run(tmp_path, references, reports)
    assert pairs[0].candidate_phrases == ()
    assert not np.isnan(Grounding().rows(pairs)).any()


def test_the_table_shows_floors_ceiling_and_who_writes_no_boxes(
    tmp_path: Path, mini_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = (f"data_dir={mini_data}", f"results_dir={tmp_path / 'r'}", "tracking=none")
    small = ("dataset.test=6", "dataset.train=6", "dataset.size=64", "stats.resamples=20")
    models = "model=reference_oracle,shuffled_reference,fixed_normal_report"
    datasets = "dataset=phantom,openi_findings"
    assert main(["run", datasets, models, "metrics=rouge,grounding", *small, *where]) == 0
    out = capsys.readouterr().out
    assert "not applicable: grounding (no boxes in the references)" in out
    board = json.loads((tmp_path / "r" / "leaderboard" / "leaderboard.json").read_text())
    by_name = {b["cohort"]["name"]: b for b in board["boards"]}
    plain = {c["metric"] for c in by_name["openi_findings"]["columns"]}
    assert plain == {"rouge"}
    phantom_board = by_name["phantom"]
    assert [c["metric"] for c in phantom_board["columns"]][-1] == "grounding"  # after the text
    rows = {row["label"]: row for row in phantom_board["rows"]}
    assert rows["reference_oracle"]["cells"]["grounding.miou"]["value"] == 1.0
    assert rows["shuffled_reference"]["cells"]["grounding.miou"]["value"] < 1.0
    silent = rows["fixed_normal_report"]
    assert silent["cells"]["grounding.miou"]["value"] is None
    assert silent["cells"]["grounding.miou"]["not_run"] == "it answers in text, without boxes"
    assert silent["status"] == "complete"
    page = (tmp_path / "r" / "leaderboard" / "index.html").read_text()
    assert "<summary>–</summary><bdi>it answers in text, without boxes</bdi>" in page
    # Nothing is stale, and a board without boxes refuses the metric alone.
    assert main(["score", datasets, models, "metrics=rouge,grounding", *small, *where]) == 0
    assert "scored" not in capsys.readouterr().out
    alone = ["score", "dataset=openi_findings", models, "metrics=grounding", *where]
    assert main(alone) == 2
    assert "has no boxes in its references" in capsys.readouterr().err


def test_a_reference_without_phrases_of_its_own_is_a_report_without_boxes() -> None:
    cohort = phantom()
    normal = next(s for s in cohort.test if not any(p.boxes for p in s.reference.phrases))
    assert isinstance(normal, Study)
    rows = Grounding().rows([pair([], [b for p in normal.reference.phrases for b in p.boxes])])
    assert rows[0].sum() == 1.0  # counted, and nothing else
