"""What the harness does with a judge's notes: reasons, bounds, refusal, and trying again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from reportcard.analysis.paired_comparison import compare_runs
from reportcard.api import (
    Array,
    Custody,
    DatasetCard,
    Json,
    Key,
    MetricSpec,
    Pair,
    ReportCardError,
)
from reportcard.cli.tables_compare import comparison_table
from reportcard.config.settings import Plugin, Protocol, Stats
from reportcard.core import registry
from reportcard.core.files import read_json
from reportcard.core.layout import cache_folder
from reportcard.core.progress import quiet
from reportcard.data.cohort import Cohort
from reportcard.data.grounded import phrases_of
from reportcard.predict.prediction_stage import predict
from reportcard.predict.system import open_model
from reportcard.publish.board.build import collect
from reportcard.publish.page.page import render as render_page
from reportcard.publish.page.terminal_board import render as render_terminal
from reportcard.publish.page.write import tidy
from reportcard.score.normalise import normaliser
from reportcard.score.pairs import rows_of, try_again, unscored_reasons
from reportcard.score.scorer import (
    Scorer,
    ScoringContext,
    not_run,
    score,
)
from reportcard.score.scoring_stage import Scoring
from reportcard.score.stats.pairwise import pair_tests
from reportcard.score.stats.resampling import Resampler

PROTOCOL = Protocol()
CONTEXT = ScoringContext(PROTOCOL, normaliser(PROTOCOL, None), Stats(50))


class Counts:
    """Errors per pair as its annotator says: rows [errors, 1]."""

    spec = MetricSpec(
        version="1",
        keys={"mean": Key("lower", 0, None, "errors/report")},
        signature="test",
        annotators=("fake_judge",),
    )

    def rows(self, pairs: Sequence[Pair]) -> Array:
        notes = [pair.notes["fake_judge"][0] or {"unscored": "none"} for pair in pairs]
        return np.array([[n["errors"], 1] if "errors" in n else [np.nan] * 2 for n in notes])

    def scores(self, total: Array) -> dict[str, Array]:
        with np.errstate(invalid="ignore"):
            return {"mean": total[..., 0] / total[..., 1]}

    def extremes(self, rows: Array) -> Array:
        return np.array([[0.0, 1.0], [rows[:, 0].max(initial=0.0), 1.0]])


class FakeJudge:
    """Counts the words "wrong" of a candidate; remembers what it was told and asked."""

    id, scope, weights = "fake_judge", "pair", None
    caveat: str | None = "only a test"

    def __init__(self, version: str = "a", refuse: str | None = None) -> None:
        self.version, self.refuse = version, refuse
        self.down: set[str] = set()
        self.refuse_study: str | None = None  # the reference of a study without a verdict
        self.custody: list[Custody] = []
        self.asked: list[list[Any]] = []

    def missing(self) -> str | None:
        return None

    def admit(self, custody: Custody) -> None:
        self.custody.append(custody)
        if self.refuse:
            raise ReportCardError(self.refuse)

    def annotate(self, items: Sequence[Any]) -> list[Json | None]:
        self.asked.append(list(items))
        return [self.note(*item) for item in items]

    def note(self, candidate: str, reference: str) -> Json:
        if any(word in candidate for word in self.down):
            return {"unscored": "judge unreachable", "again": True}
        if reference == self.refuse_study:
            return {"unscored": "content filter"}
        return {"errors": candidate.count("wrong")}

    def close(self) -> None:
        pass


def scorer_of(judge: FakeJudge) -> Scorer:
    return Scorer("counts", Counts(), "f" * 64, (judge,))


def noted(*notes: Json | None) -> list[Pair]:
    return [Pair(f"s{i}", "c", "r", {"fake_judge": (note, None)}) for i, note in enumerate(notes)]


def scored(judge: FakeJudge, context: ScoringContext, *draws: list[Pair]) -> Json:
    scorer = scorer_of(judge)
    rows = np.stack([rows_of(scorer, pairs) for pairs in draws])
    return score(scorer, rows, [pair.study_id for pair in draws[0]], context)


def test_unscored_pairs_have_a_reason_and_leave_bounds() -> None:
    pairs = noted({"errors": 3}, {"errors": 1}, {"unscored": "content filter"}, None)
    scorer = scorer_of(FakeJudge())
    rows = rows_of(scorer, pairs)
    entries = score(scorer, rows[None], list("abcd"), CONTEXT)
    entry = entries["counts.mean"]
    assert (entry["value"], entry["n"], entry["unscored"]) == (2.0, 2, 2)
    assert entry["bounds"] == [1.0, 2.5]  # (4 + 0) / 4 and (4 + 3 + 3) / 4
    assert entry["caveat"] == "only a test"
    assert unscored_reasons(pairs, rows) == {
        "s2": "content filter",
        "s3": "fake_judge could not read it",
    }
    assert not try_again(pairs)


@pytest.mark.parametrize(
    ("dataset", "judge", "said"),
    [
        ("stemmed text", "only a test", "stemmed text; only a test"),
        ("stemmed text", None, "stemmed text"),
        (None, "only a test", "only a test"),
        (None, None, None),
    ],
)
def test_the_datasets_caveat_and_the_judges_stand_together(
    dataset: str | None, judge: str | None, said: str | None
) -> None:
    fake = FakeJudge()
    fake.caveat = judge
    context = replace(CONTEXT, caveat=dataset)
    entries = scored(fake, context, noted({"errors": 3}))
    assert entries["counts.mean"].get("caveat") == said
    gone = not_run(scorer_of(fake), "no weights", ["a"], context)
    assert gone["counts.mean"].get("caveat") == said


def test_no_bounds_where_every_pair_is_scored() -> None:
    entries = scored(FakeJudge(), CONTEXT, noted({"errors": 3}))
    assert "bounds" not in entries["counts.mean"]


def test_the_favourable_bound_is_over_all_draws() -> None:
    draws = [noted({"errors": 2}, {"errors": 2}), noted({"errors": 2}, {"unscored": "x"})]
    entries = scored(FakeJudge(), CONTEXT, *draws)
    assert entries["counts.mean"]["bounds"] == [1.5, 2.0]  # mean of 2 and (2 + 0 … 2) / 2


def make_run(cohort: Cohort, results: Path, text: str, label: str = "m") -> Any:
    registry.models.get("fixed_normal_report")
    system = open_model(Plugin("fixed_normal_report", label, {"text": text}), cohort)
    predict(results, cohort, system, 8, quiet)
    return system


def scoring(cohort: Cohort, results: Path, judge: FakeJudge) -> Scoring:
    return Scoring(results, cohort, PROTOCOL, Stats(50), [scorer_of(judge)])


def run_scoring(cohort: Cohort, results: Path, system: Any, judge: FakeJudge) -> Json:
    one = scoring(cohort, results, judge)
    one.annotate([system])
    one.run(system)
    (path,) = results.glob(f"scores/*/{system.folder}/*/counts/scores.json")
    return read_json(path)


def test_what_was_only_down_is_tried_again_and_what_is_whole_is_not(
    mini_cohort: Cohort, tmp_path: Path
) -> None:
    system, judge = make_run(mini_cohort, tmp_path, "This is wrong."), FakeJudge()
    judge.down = {"wrong"}
    saved = run_scoring(mini_cohort, tmp_path, system, judge)
    assert saved["again"] is True
    assert set(saved["unscored"].values()) == {"judge unreachable"}
    judge.down = set()
    saved = run_scoring(mini_cohort, tmp_path, system, judge)
    assert "again" not in saved
    assert "unscored" not in saved
    assert saved["keys"]["counts.mean"]["value"] == 1.0
    asked = len(judge.asked)
    assert scoring(mini_cohort, tmp_path, judge).run(system) == 0
    assert len(judge.asked) == asked


def test_a_refusal_costs_its_metric_only_and_nothing_is_asked(
    mini_cohort: Cohort, tmp_path: Path
) -> None:
    system = make_run(mini_cohort, tmp_path, "This is wrong.")
    judge = FakeJudge(refuse="text of this agreement stays here")
    saved = run_scoring(mini_cohort, tmp_path, system, judge)
    assert saved["not_run"] == "text of this agreement stays here"
    assert judge.asked == []


def test_verdicts_of_closed_data_lie_in_a_folder_of_their_own(
    mini_cohort: Cohort, tmp_path: Path
) -> None:
    import dataclasses

    judge = FakeJudge()
    scoring(mini_cohort, tmp_path, judge)
    closed = dataclasses.replace(
        mini_cohort, card=DatasetCard("closed", "credentialed", "some-agreement")
    )
    scoring(closed, tmp_path, judge)
    scoring(dataclasses.replace(mini_cohort, card=DatasetCard("untagged")), tmp_path, judge)
    folders = [c.cache_dir.relative_to(tmp_path).as_posix() for c in judge.custody]
    assert folders == ["cache", "cache/dua/some-agreement", "cache/dua/credentialed"]
    assert [c.data.data_class for c in judge.custody] == ["open", "credentialed", "credentialed"]


@pytest.mark.parametrize("dua", ["../up", "/abs", "a/b", ".hidden", " "])
def test_an_agreement_cannot_name_a_folder_elsewhere(dua: str, tmp_path: Path) -> None:
    with pytest.raises(ReportCardError, match="an id names a folder"):
        cache_folder(tmp_path, DatasetCard("closed", "credentialed", dua))


def test_rows_of_two_judges_are_never_compared(mini_cohort: Cohort, tmp_path: Path) -> None:
    one = make_run(mini_cohort, tmp_path, "This is wrong.", "one")
    two = make_run(mini_cohort, tmp_path, "Right.", "two")
    run_scoring(mini_cohort, tmp_path, one, FakeJudge("judge-x"))
    run_scoring(mini_cohort, tmp_path, two, FakeJudge("judge-y"))
    folders = tuple(
        next(tmp_path.glob(f"scores/*/{system.folder}/*/counts")).parent for system in (one, two)
    )
    with pytest.raises(ReportCardError, match=r"read by fake_judge judge-x.*fake_judge judge-y"):
        compare_runs(folders, [scorer_of(FakeJudge())], "counts", 100)  # type: ignore[arg-type]
    (board,) = collect(tmp_path, everything=True).to_json()["boards"]
    cells = [row["cells"]["counts.mean"] for row in board["rows"]]
    assert sum(bool(cell.get("other_version")) for cell in cells) == 1
    assert all(cell["caveat"] == "only a test" for cell in cells)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("text", "must be a list"),
        (None, "must be a list"),
        ([{"boxes": None}], "must be an object with a text"),
        ([{"text": " ", "boxes": None}], "empty text"),
        ([{"text": "A.", "boxes": []}], "null or a list of at least one box"),
        ([{"text": "A.", "boxes": [{"x_min": 0}]}], "x_min, y_min, x_max, y_max"),
        (
            [{"text": "A.", "boxes": [{"x_min": 5, "y_min": 0, "x_max": 9, "y_max": 1}]}],
            "fractions of the image",
        ),
        (
            [{"text": "A.", "boxes": [{"x_min": True, "y_min": 0, "x_max": 1, "y_max": 1}]}],
            "must have the numbers",
        ),
    ],
)
def test_a_grounded_report_that_is_none_is_named(value: Any, sentence: str) -> None:
    with pytest.raises(ReportCardError, match=rf"^f\.json: target.*{sentence}"):
        phrases_of(value, "f.json: target")


def test_boxes_survive_the_predictions_file(tmp_path: Path) -> None:
    from reportcard.api import Box, Phrase, Prediction, Report
    from reportcard.predict.predictions_file import read_reports, to_json

    phrase = Phrase("Left effusion.", (Box(0.5, 0.25, 0.75, 1.0),))
    line = to_json(Prediction("s", Report("Left effusion.", None, (phrase, Phrase("Clear.")))))
    (tmp_path / "predictions.jsonl").write_text(json.dumps(line) + "\n")
    assert read_reports(tmp_path)[0]["s"][0].phrases == (phrase, Phrase("Clear."))


def board_with_gaps(cohort: Cohort, results: Path) -> None:
    """Two rows of the fake judge; in each the same study has no verdict."""
    for label, text in (("one", "This is wrong."), ("two", "Wrong is wrong and wrong.")):
        system, judge = make_run(cohort, results, text, label), FakeJudge()
        judge.refuse_study = cohort.test[0].reference.text()
        run_scoring(cohort, results, system, judge)


def test_reasons_bounds_and_caveats_are_on_every_table(
    mini_cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board_with_gaps(mini_cohort, tmp_path)
    model = collect(tmp_path, everything=True)
    console = Console(width=200, force_terminal=False)
    render_terminal(model, console)
    printed = capsys.readouterr().out
    assert "caution: only a test" in printed
    assert "1 unscored by counts" in printed
    assert "1 unscored: 0." in printed  # beside the mean, what it could be
    page = render_page(model)
    assert "Caution: <bdi>only a test</bdi>" in page
    assert page.count(">caution</span>") == 2
    assert "1 unscored: 0." in page
    row = next(csv.DictReader(io.StringIO(tidy(model))))
    assert float(row["bounds_low"]) < float(row["value"]) <= float(row["bounds_high"])
    assert row["caveat"] == "only a test"


def test_compare_shows_scores_of_the_studies_that_both_have(
    mini_cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board_with_gaps(mini_cohort, tmp_path)
    folders = [
        next(tmp_path.glob(f"scores/*/{label}@*/*/counts")).parent for label in ("one", "two")
    ]
    found = compare_runs((folders[0], folders[1]), [scorer_of(FakeJudge())], None, 100)
    (row,) = found.keys
    assert row.difference.a - row.difference.b == pytest.approx(row.difference.value)
    assert row.difference.n == len(mini_cohort.test) - 1
    assert row.unscored == 1
    comparison_table("toy", ("one", "two"), found)
    printed = capsys.readouterr().out
    assert "left out: 1 study of counts that is unscored for one or both" in printed
    assert "caution: only a test" in printed


def test_what_cannot_be_compared_says_why(mini_cohort: Cohort, tmp_path: Path) -> None:
    one, two = (make_run(mini_cohort, tmp_path, "This is wrong.", x) for x in ("one", "two"))
    run_scoring(mini_cohort, tmp_path, one, FakeJudge())
    judge = FakeJudge()
    judge.down = {"wrong"}
    run_scoring(mini_cohort, tmp_path, two, judge)
    folders = tuple(
        next(tmp_path.glob(f"scores/*/{system.folder}/*/counts")).parent for system in (one, two)
    )
    with pytest.raises(ReportCardError, match="no study is scored for both"):
        compare_runs(folders, [scorer_of(FakeJudge())], "counts", 100)  # type: ignore[arg-type]


def test_a_resample_without_a_score_does_not_tell_rows_apart(tmp_path: Path) -> None:
    """One scored study of three: a third of the resamples have no score of either row."""

    def mean(total: Array) -> dict[str, Array]:
        with np.errstate(invalid="ignore"):
            return {"mean": total[..., 0] / total[..., 1]}

    nan = [np.nan, np.nan]
    rows = {
        "a": np.array([[[1.0, 1.0], nan, nan]]),
        "b": np.array([[[1.0, 1.0], [5.0, 1.0], nan]]),
    }
    (test,) = pair_tests(rows, mean, ["mean"], Resampler(3, 100))["mean"]
    assert (test.low, test.high, test.p) == (0.0, 0.0, 1.0)  # over the study that both have


def test_a_judge_that_is_down_is_waited_for_once_whatever_the_models(
    mini_cohort: Cohort, tmp_path: Path
) -> None:
    systems = [make_run(mini_cohort, tmp_path, f"This is wrong {i}.", f"m{i}") for i in range(3)]
    judge = FakeJudge()
    judge.down = {"wrong"}
    one = scoring(mini_cohort, tmp_path, judge)
    one.annotate(systems)
    for system in systems:
        one.run(system)
    assert len(judge.asked) == 1


def test_scores_stay_when_only_the_judge_is_missing(
    mini_cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, judge = make_run(mini_cohort, tmp_path, "This is wrong."), FakeJudge()
    before = run_scoring(mini_cohort, tmp_path, system, judge)
    monkeypatch.setattr(FakeJudge, "missing", lambda self: "no key in JUDGE_KEY")
    said: list[str] = []
    one = scoring(mini_cohort, tmp_path, FakeJudge())
    one.say = said.append
    assert one.run(system) == 0
    (path,) = tmp_path.glob(f"scores/*/{system.folder}/*/counts/scores.json")
    assert read_json(path) == before
    assert said == ["  kept counts of m as scored before; now: no key in JUDGE_KEY"]


def test_recording_reads_verdicts_again_though_scores_are_up_to_date(
    mini_cohort: Cohort, tmp_path: Path
) -> None:
    system, judge = make_run(mini_cohort, tmp_path, "This is wrong."), FakeJudge()
    run_scoring(mini_cohort, tmp_path, system, judge)
    one = scoring(mini_cohort, tmp_path, judge)
    one.rescore_judged = True
    one.annotate([system])
    assert one.run(system) == 1
    assert len(judge.asked) == 2
