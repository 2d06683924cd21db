"""The pipeline: five stages in order, each continued where it stopped, publishing last."""

from __future__ import annotations

from pathlib import Path

import pytest

from reportcard.api import ReportCardError
from reportcard.config import compose as config
from reportcard.config.settings import RunConfig
from reportcard.core.files import read_json
from reportcard.core.layout import Results, RunId
from reportcard.pipeline import Invocation, mark_current, run

ALL = frozenset({"predict", "score", "publish"})


def chosen(tmp_path: Path, mini_data: Path, *more: str) -> RunConfig:
    return config.load(
        [
            *("dataset=openi_findings", "model=empty_report,most_frequent_report", "metrics=bleu"),
            *(f"data_dir={mini_data}", f"results_dir={tmp_path / 'results'}", "tracking=none"),
            *("stats.resamples=20", *more),
        ]
    )


def test_the_stages_can_be_called_one_by_one(tmp_path: Path, mini_data: Path) -> None:
    settings = chosen(tmp_path, mini_data)
    results = Results(settings.results_dir)
    with Invocation(settings, lambda text: None) as invocation:
        for cohort in invocation.cohorts(fetch=False):
            systems = invocation.predict(cohort)
            assert [s.label for s in systems] == ["empty_report", "most_frequent_report"]
            assert results.predictions(cohort.folder, systems[0].folder).done.is_file()
            assert not results.all_scores.exists()
            invocation.annotate(cohort, systems)
            invocation.score(cohort, systems)
            shown = [RunId.of_json(entry) for entry in read_json(results.current)["runs"]]
            assert [run.system for run in shown] == [s.folder for s in systems]
            assert not results.board.page.exists()
        invocation.publish()
    assert results.board.page.is_file()
    assert (invocation.outcome.generated, invocation.outcome.scores_written) == (2, 2)


def test_a_second_run_does_nothing_again(tmp_path: Path, mini_data: Path) -> None:
    settings = chosen(tmp_path, mini_data)
    run(settings, ALL, False, lambda text: None)
    again = run(settings, ALL, False, lambda text: None)
    assert (again.generated, again.scores_written, again.failures) == (0, 0, [])


def test_predicting_alone_changes_no_table(tmp_path: Path, mini_data: Path) -> None:
    settings = chosen(tmp_path, mini_data)
    outcome = run(settings, frozenset({"predict"}), False, lambda text: None)
    assert outcome.scored == []
    assert not Results(settings.results_dir).current.exists()


def test_scoring_without_predictions_is_a_failure_per_model(
    tmp_path: Path, mini_data: Path
) -> None:
    outcome = run(chosen(tmp_path, mini_data), frozenset({"score"}), False, lambda text: None)
    assert [systems for _, systems in outcome.scored] == [[]]
    assert len(outcome.failures) == 2
    assert all("has no finished predictions" in failure for failure in outcome.failures)


def test_a_run_in_which_nothing_can_run_gives_every_reason(tmp_path: Path, mini_data: Path) -> None:
    settings = chosen(tmp_path, mini_data, "model=replay", f"model.predictions={tmp_path}/no.csv")
    with (
        Invocation(settings, lambda text: None) as invocation,
        pytest.raises(ReportCardError, match="Nothing can run:\n  openi_findings"),
    ):
        next(invocation.cohorts(fetch=False))


def test_a_newer_fingerprint_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    runs = [RunId("c@1", "a@1", "p"), RunId("c@1", "b@1", "p"), RunId("c@1", "a@1", "other")]
    mark_current(tmp_path, runs)
    mark_current(tmp_path, [RunId("c@2", "a@2", "p")])
    saved = [RunId.of_json(entry) for entry in read_json(Results(tmp_path).current)["runs"]]
    assert saved == [RunId("c@1", "a@1", "other"), RunId("c@2", "a@2", "p"), runs[1]]
