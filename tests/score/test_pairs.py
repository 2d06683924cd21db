"""Scoring in slices: one slice or sixteen give the same bytes, and no run is held in memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reportcard.api import (
    Box,
    Json,
    ModelCard,
    Phrase,
    Prediction,
    Report,
    ReportCardError,
    Request,
    Study,
)
from reportcard.config.compose import load_metrics, load_protocol
from reportcard.config.settings import Plugin, Stats
from reportcard.core.layout import Results
from reportcard.core.progress import quiet
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.metrics.bleu import Bleu
from reportcard.predict.prediction_stage import predict
from reportcard.predict.system import System
from reportcard.score.pairs import References, RunPairs
from reportcard.score.scorer import Scorer, open_metrics
from reportcard.score.scoring_stage import Scoring

N = 48
WEIGHT_FREE = [
    *("bleu", "bleu_coco", "bleu_hf", "bleu_radcliq", "bleu_sacre", "cider", "rouge"),
    *("rouge_coco", "f1_chexpert_rules", "f1_chexpert_rules_pos", "grounding"),
]
SENTENCES = [
    *("No pleural effusion.", "Heart size is enlarged.", "Lungs are clear.", "Small effusion."),
    *("There is a left pneumothorax.", "Mild edema.", "No pneumothorax or consolidation."),
]


class Grounds:
    """Two draws; texts and boxes follow from the study, and every seventh study fails."""

    card = ModelCard("grounds", draws=2)

    def __init__(self, boxes: bool = True) -> None:
        self.boxes = boxes

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        answers = []
        for request in requests:
            number = sum(map(ord, request.study_id)) + request.draw
            if number % 7 == 0:
                raise RuntimeError("not this one")
            said = [SENTENCES[(number + k) % len(SENTENCES)] for k in range(number % 4)]
            low = (number % 5) / 10
            phrases = tuple(Phrase(text, (Box(low, 0.1, low + 0.4, 0.6),)) for text in said)
            report = Report(" ".join(said), None, phrases if self.boxes else ())
            answers.append(Prediction(request.study_id, report, draw=request.draw))
        return answers


class Reader:
    """Notes the length of a text; one with an effusion cannot be read."""

    id, version, scope, weights = "reader", "1", "text", None

    def __init__(self) -> None:
        self.asked: list[str] = []

    def missing(self) -> str | None:
        return None

    def annotate(self, items: Sequence[Any]) -> list[Json | None]:
        self.asked += items
        return [{"unscored": "effusion"} if "Small" in i else {"length": len(i)} for i in items]

    def close(self) -> None:
        return None


class Lengths(Bleu):
    """Rows of notes: what no note was made for is unscored."""

    def rows(self, pairs: Sequence[Any]) -> Any:
        rows = super().rows(pairs)
        for row, pair in zip(rows, pairs, strict=True):
            (candidate, _) = pair.notes["reader"]
            row[:] = row * candidate["length"] if "length" in candidate else float("nan")
        return rows


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """Several studies of some patients, phrases with boxes in the references."""
    return load_cohort(Plugin("phantom", "phantom", {"test": N, "train": 20, "size": 64}))


def run_of(results: Path, cohort: Cohort, boxes: bool = True) -> System:
    system = System("grounds", Plugin("grounds", "grounds", {}), Grounds(boxes), "a" * 64)
    predict(results, cohort, system, 8, quiet)
    return system


def files(
    results: Path, cohort: Cohort, system: System, scorers: list[Scorer], slice_size: int
) -> dict[str, bytes]:
    """Score files written from nothing."""
    for path in results.glob("scores/**/*.*"):
        path.unlink()
    protocol = load_protocol("reportcard")
    scoring = Scoring(results, cohort, protocol, Stats(50), scorers, slice_size=slice_size)
    assert scoring.run(system) == len(scorers)
    found = sorted(results.glob("scores/**/*.*"))
    return {str(path.relative_to(results)): path.read_bytes() for path in found}


@pytest.mark.parametrize("boxes", [True, False])
def test_one_shard_and_sixteen_give_equal_bytes(
    tmp_path: Path, cohort: Cohort, boxes: bool
) -> None:
    system = run_of(tmp_path, cohort, boxes)
    scorers = open_metrics(load_metrics(WEIGHT_FREE, load_protocol("reportcard")))
    assert not [s.label for s in scorers if s.not_run]
    one = files(tmp_path, cohort, system, scorers, N)
    # rows and scores of each, and details; grounding has nothing to read in text
    assert len(one) == 2 * len(scorers) + 1 - (not boxes)
    assert files(tmp_path, cohort, system, scorers, N // 16) == one
    assert files(tmp_path, cohort, system, scorers, 7) == one  # the last slice is smaller


class Answers:
    """One answer for every study: the reference's own phrases, its text alone, or none at all."""

    card = ModelCard("answers", sees_references=True)

    def __init__(self, what: str) -> None:
        self.what = what

    def see_references(self, test: Sequence[Study]) -> None:
        self.known = {study.study_id: study.reference for study in test}

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        if self.what == "failed":
            raise RuntimeError("none")
        reports = {
            "perfect": lambda r: Report(phrases=r.phrases),
            "text": lambda r: Report("Clear lungs."),
            "text once": lambda r: Report("Clear." if r is next(iter(self.known.values())) else ""),
            "empty": lambda r: Report(""),
        }
        answer = reports[self.what]
        return [Prediction(r.study_id, answer(self.known[r.study_id])) for r in requests]


@pytest.mark.parametrize("task", ["grounded_findings", "phrase_grounding"])
@pytest.mark.parametrize(
    ("what", "score"),
    [("perfect", 1), ("empty", 0), ("failed", 0), ("text", None), ("text once", None)],
)
def test_boxes_are_scored_unless_a_run_has_text_and_no_phrase(
    tmp_path: Path, cohort: Cohort, task: Any, what: str, score: int | None
) -> None:
    """MS-CXR's task has boxes in its references as much as grounded findings have."""
    boxed = [s for s in cohort.test if any(p.boxes for p in s.reference.phrases)][:4]
    phrase = "effusion" if task == "phrase_grounding" else None
    asked = [replace(s, request=replace(s.request, task=task, phrase=phrase)) for s in boxed]
    small = replace(cohort, test=tuple(asked))
    system = System("answers", Plugin("answers", "answers", {}), Answers(what), "b" * 64)
    predict(tmp_path, small, system, 8, quiet)
    scorers = open_metrics(load_metrics(["grounding"], load_protocol("reportcard")))
    Scoring(tmp_path, small, load_protocol("reportcard"), Stats(50), scorers).run(system)
    found = [json.loads(path.read_text()) for path in tmp_path.glob("scores/**/scores.json")]
    keys = ("miou", "pixel_recall", "box_recall_50")
    values = [file["keys"][f"grounding.{key}"]["value"] for file in found for key in keys]
    assert values == [score] * 3


def test_notes_are_attached_slice_by_slice(tmp_path: Path, cohort: Cohort) -> None:
    system, readers = run_of(tmp_path, cohort), [Reader(), Reader()]
    whole, sliced = (
        [Scorer("lengths", Lengths("sacre"), "f" * 64, (reader,))] for reader in readers
    )
    one = files(tmp_path, cohort, system, whole, N)
    for path in tmp_path.glob("cache/*"):
        path.unlink()
    assert files(tmp_path, cohort, system, sliced, 3) == one
    (scores,) = (text.decode() for name, text in one.items() if name.endswith("scores.json"))
    assert '"unscored": {' in scores
    readable = [text for text in readers[1].asked if "Small" not in text]
    assert len(readable) == len(set(readable))  # read once, though many slices hold it


def test_a_run_out_of_order_is_refused(tmp_path: Path, cohort: Cohort) -> None:
    system = run_of(tmp_path, cohort)
    folder = Results(tmp_path).predictions(cohort.folder, system.folder).path
    path = folder / "predictions.jsonl"
    references = References.of(cohort, load_protocol("reportcard"))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(ReportCardError, match="is missing in draw 1"):
        list(RunPairs(folder, references, 5))


def test_a_long_run_is_not_held_in_memory(tmp_path: Path, cohort: Cohort) -> None:
    """Ten times the draws take no more memory."""
    system = run_of(tmp_path, cohort)
    folder = Results(tmp_path).predictions(cohort.folder, system.folder).path
    references = References.of(cohort, load_protocol("reportcard"))
    path = folder / "predictions.jsonl"
    first = [line for line in path.read_text().splitlines() if '"draw":0' in line]
    peaks = []
    for draws in (20, 200):
        lines = (row.replace('"draw":0', f'"draw":{d}') for d in range(draws) for row in first)
        path.write_text("".join(line + "\n" for line in lines))
        tracemalloc.start()
        assert (
            sum(len(pairs) for _, _, pairs in RunPairs(folder, references, 8).slices()) == draws * N
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2**18  # 1,728 pairs more would be a megabyte
