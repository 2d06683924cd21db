"""The leaderboard on small score folders, written by the real predict and score stages."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from reportcard.api import (
    DatasetCard,
    Image,
    ModelCard,
    Prediction,
    Report,
    ReportCardError,
    Request,
    Step,
    Study,
)
from reportcard.config import compose as config
from reportcard.core.files import digest, file_digest
from reportcard.data.cohort import Cohort
from reportcard.predict.prediction_stage import predict
from reportcard.predict.system import System
from reportcard.publish.board import verdicts
from reportcard.publish.board.boards import Leaderboard
from reportcard.publish.board.build import collect
from reportcard.publish.board.metric_group import groups_of
from reportcard.publish.page.score_columns import score_columns
from reportcard.publish.page.terminal_board import render
from reportcard.publish.page.write import write
from reportcard.score.rows_file import load_rows
from reportcard.score.scorer import open_metrics
from reportcard.score.scoring_stage import Scoring
from reportcard.score.stats.family import family_tests
from reportcard.score.stats.paired_difference import compare
from reportcard.score.stats.resampling import Resampler

WORDS = "heart lungs clear effusion none small left right normal size pleural no acute"
HOSTILE = (
    "<script>alert('x')</script>",
    '</textarea><img src=x onerror="alert(1)">',
    "\"quoted\" & 'single' {{ 7 * 7 }}",
    "\N{RIGHT-TO-LEFT OVERRIDE}\N{HEBREW LETTER ALEF}\N{HEBREW LETTER BET} report",
)


def studies(n: int) -> tuple[Study, ...]:
    rng = random.Random(0)
    return tuple(
        Study(
            Request(f"s{i}", (Image(f"i{i}", "PA"),)),
            Report(findings=" ".join(rng.choices(WORDS.split(), k=9)) + "."),
            f"p{i}",
        )
        for i in range(n)
    )


class Toy:
    """Repeats the reference with each word replaced at a rate, differently per seed."""

    def __init__(self, answers: dict[str, str], rate: float, seed: int, card: ModelCard) -> None:
        self.answers, self.rate, self.seed, self.card = answers, rate, seed, card

    def see_references(self, test: Sequence[Study]) -> None:
        """It has them already; a card may say so."""

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        found = []
        for request in requests:
            rng = random.Random(f"{self.seed} {request.study_id} {request.draw}")
            words = self.answers[request.study_id].split()
            text = " ".join(
                rng.choice(WORDS.split()) if rng.random() < self.rate else w for w in words
            )
            report = Report(findings=text)
            found.append(Prediction(request.study_id, report, raw=text, draw=request.draw))
        return found


class Bench:
    """A results folder that is filled through the real stages."""

    def __init__(self, results_dir: Path, notes: tuple[str, ...] = (), n: int = 60) -> None:
        self.results_dir = results_dir
        test = studies(n)
        self.cohort = Cohort(
            "toy",
            DatasetCard("Toy studies", "open", licence="CC0"),
            test,
            test[:5],
            (Step("all", n + 2, n + 2), Step("with findings", n + 2, n)),
            notes,
        )
        self.cohort.save(results_dir)
        self.protocol = config.load_protocol("reportcard")
        self.scorers = open_metrics(config.load_metrics(["bleu", "rouge"], self.protocol))

    def add(self, label: str, rate: float, seed: int = 0, **card: Any) -> System:
        answers = {s.study_id: s.reference.text() for s in self.cohort.test}
        toy = Toy(answers, rate, seed, ModelCard(card.pop("description", "a toy"), **card))
        system = System(label, config.Plugin("toy", label), toy, digest([label, rate, seed]))
        predict(self.results_dir, self.cohort, system, 16, lambda batches, n, label: batches)
        Scoring(
            self.results_dir,
            self.cohort,
            self.protocol,
            config.Stats(resamples=200),
            self.scorers,
        ).run(system)
        return system

    def current(self, *systems: System) -> None:
        runs = [
            {"cohort": self.cohort.folder, "model": s.folder, "protocol": "reportcard"}
            for s in systems
        ]
        (self.results_dir / "current.json").write_text(json.dumps({"runs": runs}))

    def scores(self, system: System, metric: str = "bleu") -> Path:
        folder = self.results_dir / "scores" / self.cohort.folder / system.folder
        return folder / "reportcard" / metric / "scores.json"

    def page(self) -> str:
        return write(self.results_dir)[0].read_text(encoding="utf-8")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    saved = json.loads(path.read_text())
    change(saved)
    path.write_text(json.dumps(saved))


def not_run(saved: dict[str, Any]) -> None:
    """What the score stage writes for a metric that could not run."""
    for name in ("counts", "rows_sha256", "stats", "metric_fingerprint"):
        del saved[name]
    saved["not_run"] = "weights missing, run: reportcard fetch <bleu>"
    for entry in saved["keys"].values():
        entry |= {"value": None, "ci_low": None, "ci_high": None}


class Tags(HTMLParser):
    """What a browser would see: elements, their attributes, and text outside script and style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._raw = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.text += data


def test_the_page_says_what_is_counted_when_it_is_not_studies(bench: Bench) -> None:
    bench.cohort = replace(bench.cohort, unit="image-report pair")
    bench.cohort.save(bench.results_dir)
    bench.current(bench.add("one", 0.2))
    text = " ".join(Tags(bench.page()).text.split())
    assert "Image-report pairs60" in text
    assert "Unitimage-report pair" in text


def test_order_is_ceiling_then_best_first(bench: Bench) -> None:
    bench.add("middling", 0.4)
    bench.add("good", 0.1)
    bench.add("silent", 1.0, kind="floor")
    bench.add("oracle", 0.0, kind="ceiling")
    board = collect(bench.results_dir).to_json()["boards"][0]
    assert [row["label"] for row in board["rows"]] == ["oracle", "good", "middling", "silent"]
    assert board["primary"] == "bleu.bleu_4"
    assert [c["key"] for c in board["columns"]][-1] == "rouge.rouge_l"
    assert board["rows"][1]["counts"]["evaluated"] == 60
    assert board["rows"][1]["status"] == "complete"
    assert board["cohort"]["overlap"]["test_reports_verbatim_in_train"] == 5


def test_leaderboard_json_is_read_back_as_the_same_leaderboard(bench: Bench) -> None:
    bench.add("one", 0.3, draws=2)
    edit(bench.scores(bench.add("blocked", 0.5)), not_run)
    bench.add("oracle", 0.0, kind="ceiling")
    found = collect(bench.results_dir)
    path = write(bench.results_dir)[1]
    assert Leaderboard.read(path) == found
    assert Leaderboard.from_json(found.to_json()).to_json() == json.loads(path.read_text())


def test_the_page_groups_a_metric_as_its_spec_says(bench: Bench) -> None:
    bench.add("one", 0.3)
    groups = groups_of(["bleu", "f1_chexpert_rules", "radfact", "grounding", "gone"], "reportcard")
    assert list(groups.values()) == ["lexical", "clinical", "judged", "grounding", "other"]
    (board,) = collect(bench.results_dir).boards
    shown = {column.id: column.group for column, _ in score_columns(board)}
    assert shown["rouge.rouge_l"] == "lexical"
    assert shown["bleu.bleu_4"] == "ranked by"


def test_lower_is_better_turns_order_best_and_arrow(bench: Bench) -> None:
    systems = [bench.add("low", 0.8), bench.add("high", 0.1)]
    for system in systems:
        edit(
            bench.scores(system),
            lambda saved: [e.update(direction="lower") for e in saved["keys"].values()],
        )
    board = collect(bench.results_dir).to_json()["boards"][0]
    assert [row["label"] for row in board["rows"]] == ["low", "high"]
    assert board["rows"][0]["cells"]["bleu.bleu_1"]["best"]
    assert board["rows"][1]["cells"]["rouge.rouge_l"]["best"]
    page = bench.page()
    assert page.count("↓</span>") == 4
    assert page.count("↑</span>") == 3


def test_ties_are_those_of_the_family_and_intervals_of_the_paired_bootstrap(bench: Bench) -> None:
    systems = {
        "best": bench.add("best", 0.2, seed=1),
        "twin": bench.add("twin", 0.21, seed=2),
        "worse": bench.add("worse", 0.7),
        "sampled": bench.add("sampled", 0.25, seed=3, draws=3),
    }
    bench.add("oracle", 0.0, kind="ceiling")
    board = collect(bench.results_dir).to_json()["boards"][0]
    rows = {row["label"]: row["cells"] for row in board["rows"]}
    assert not rows["oracle"]["bleu.bleu_1"]["tied_with_best"]
    assert not rows["worse"]["bleu.bleu_1"]["tied_with_best"]
    resampler = Resampler(60, 200, 0)
    for scorer in bench.scorers:
        matrices = {
            x: load_rows(bench.scores(s, scorer.label).parent)[1] for x, s in systems.items()
        }
        keys = list(scorer.metric.spec.keys)
        tests = family_tests(matrices, (), scorer.metric.scores, keys, resampler)
        for key in keys:
            name = f"{scorer.label}.{key}"
            apart = [{t.a, t.b} for t in tests[key] if t.p_holm < 0.05]
            top = next(label for label in systems if rows[label][name]["best"])
            assert rows[top][name]["tied_with_best"]
            for label in set(systems) - {top}:
                both = (matrices[label], matrices[top])
                expected = compare(*both, scorer.metric.scores, resampler, trials=1)[key]
                cell = rows[label][name]
                assert cell["difference"] == pytest.approx([expected.low, expected.high])
                assert cell["tied_with_best"] == ({label, top} not in apart)
    assert rows["twin"]["bleu.bleu_1"]["tied_with_best"]


def test_an_unchanged_second_build_resamples_nothing_and_gives_the_same_bytes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add("a", 0.2)
    changed = bench.add("b", 0.3)
    first = [path.read_bytes() for path in write(bench.results_dir)]

    def fail(*_: object) -> None:
        raise AssertionError("resampled")

    with monkeypatch.context() as patch:
        patch.setattr(verdicts, "family_tests", fail)
        assert [path.read_bytes() for path in write(bench.results_dir)] == first
        edit(bench.scores(changed), lambda saved: saved["stats"].update(resamples=300))
        with pytest.raises(AssertionError, match="resampled"):
            write(bench.results_dir)
    (bench.results_dir / "leaderboard" / "leaderboard.json").write_text('{"boards": [{}]}')
    write(bench.results_dir)  # a damaged cache is built again


def test_what_users_and_models_wrote_stays_text(tmp_path: Path) -> None:
    bench = Bench(tmp_path, notes=HOSTILE)
    labels = [f"m{i} {text.replace('/', '')}" for i, text in enumerate(HOSTILE)]
    for i, (label, text) in enumerate(zip(labels, HOSTILE, strict=True)):
        bench.add(label, 0.1 * i, description=text, inputs=(text,), trained_on=(text,))
    blocked = bench.add("blocked", 0.5)
    edit(bench.scores(blocked), not_run)
    edit(bench.scores(blocked), lambda saved: saved.update(not_run="; ".join(HOSTILE)))
    page = bench.page()
    tags = Tags(page)
    assert tags.names.count("script") == 3  # ours, twice, and the data: a script no browser runs
    assert ("type", "application/json") in tags.attributes
    assert not {"img", "textarea", "b"} & set(tags.names)
    assert not any(name.startswith("on") for name, _ in tags.attributes)
    for text in (*HOSTILE, *labels, "; ".join(HOSTILE)):
        assert text in tags.text
    # Direction overrides stay inside their own element: a label cannot turn its neighbours round.
    assert not re.search(r"<(p|li|th|td)>[^<]*\u202e", page)


def test_page_asks_for_nothing_from_outside(bench: Bench) -> None:
    bench.add("a", 0.2)
    tags = Tags(bench.page())
    loads = [v for name, v in tags.attributes if name in ("src", "href") and v]
    assert all(v.startswith(("#", "leaderboard.")) for v in loads)
    assert (
        "5 of 60 test reports also appear verbatim in the training split (5 studies)" in tags.text
    )


def test_a_metric_that_did_not_run_says_so(bench: Bench) -> None:
    blocked, absent = bench.add("blocked", 0.2), bench.add("absent", 0.3)
    bench.add("whole", 0.4)
    edit(bench.scores(blocked), not_run)
    bench.scores(absent).unlink()
    board = collect(bench.results_dir).to_json()["boards"][0]
    rows = {row["label"]: row for row in board["rows"]}
    assert board["rows"][0]["label"] == "whole"  # the others have no primary value
    assert rows["blocked"]["status"] == "incomplete"
    cell = rows["blocked"]["cells"]["bleu.bleu_4"]
    assert cell["value"] is None
    assert cell["not_run"] == "weights missing, run: reportcard fetch <bleu>"
    assert "metrics=bleu" in rows["absent"]["cells"]["bleu.bleu_4"]["not_run"]
    tags = Tags(bench.page())
    assert tags.text.count("weights missing, run: reportcard fetch <bleu>") == 4
    every = csv.DictReader(io.StringIO(_csv(bench)))
    lines = [line for line in every if line["kind"] != "as published"]
    assert len(lines) == 3 * 7
    silent = [line for line in lines if line["model"] == "blocked" and not line["value"]]
    assert len(silent) == 4
    assert all(line["not_run"] for line in silent)


def _csv(bench: Bench) -> str:
    return (bench.results_dir / "leaderboard" / "leaderboard.csv").read_text(encoding="utf-8")


def test_current_runs_or_everything(bench: Bench) -> None:
    old, new = bench.add("m", 0.5, seed=1), bench.add("m", 0.4, seed=2)
    bench.current(new)
    shown = collect(bench.results_dir).to_json()["boards"][0]["rows"]
    assert [row["label"] for row in shown] == ["m"]
    assert shown[0]["model"] == new.folder
    every = collect(bench.results_dir, everything=True).to_json()["boards"][0]["rows"]
    assert {row["label"] for row in every} == {old.folder, new.folder}
    (bench.results_dir / "current.json").unlink()
    assert len(collect(bench.results_dir).to_json()["boards"][0]["rows"]) == 2


def test_studies_of_one_patient_are_drawn_together_or_no_ties_are_shown(bench: Bench) -> None:
    test = tuple(replace(s, patient_id=f"p{i // 3}") for i, s in enumerate(bench.cohort.test))
    bench.cohort = replace(bench.cohort, test=test)
    systems = [bench.add("a", 0.3, seed=1), bench.add("b", 0.31, seed=2)]
    clusters = np.arange(60) // 3
    board = collect(bench.results_dir).to_json()["boards"][0]
    rows = {row["label"]: row["cells"] for row in board["rows"]}
    matrices = [load_rows(bench.scores(system).parent)[1] for system in systems]
    if rows["a"]["bleu.bleu_1"]["best"]:
        matrices.reverse()
    resampler = Resampler(60, 200, 0, clusters)
    expected = compare(*matrices, bench.scorers[0].metric.scores, resampler, trials=1)["bleu_1"]
    found = next(c["bleu.bleu_1"] for c in rows.values() if "difference" in c["bleu.bleu_1"])
    assert found["difference"] == pytest.approx([expected.low, expected.high])

    for system in systems:  # rows of before patients were saved with them
        for metric in ("bleu", "rouge"):
            path = bench.scores(system, metric)
            ids, values, _ = load_rows(path.parent)
            np.savez(path.parent / "rows.npz", ids=np.array(ids), rows=values)
            sha256 = file_digest(path.parent / "rows.npz")
            edit(path, lambda saved, sha256=sha256: saved.update(rows_sha256=sha256))
    columns = collect(bench.results_dir).to_json()["boards"][0]["columns"]
    assert all("grouped by patient" in column["ties_unknown"] for column in columns)


def test_rows_of_another_metric_version_are_marked_and_never_tied(bench: Bench) -> None:
    bench.add("a", 0.3, seed=1)
    bench.add("b", 0.3, seed=2)
    odd = bench.add("odd", 0.05)
    edit(bench.scores(odd), lambda saved: saved.update(metric_fingerprint="0" * 64))
    board = collect(bench.results_dir).to_json()["boards"][0]
    rows = {row["label"]: row["cells"] for row in board["rows"]}
    assert rows["odd"]["bleu.bleu_1"]["other_version"]
    assert not rows["odd"]["bleu.bleu_1"]["best"]
    assert rows["a"]["bleu.bleu_1"]["tied_with_best"]
    assert "another version of the metric" in bench.page()


def test_a_metric_that_is_gone_leaves_its_scores_and_says_why_no_ties(bench: Bench) -> None:
    for system in (bench.add("a", 0.3, seed=1), bench.add("b", 0.3, seed=2)):
        edit(bench.scores(system), lambda saved: saved.update(metric_fingerprint="0" * 64))
    board = collect(bench.results_dir).to_json()["boards"][0]
    assert "changed" in board["columns"][0]["ties_unknown"]
    assert board["rows"][0]["cells"]["bleu.bleu_1"]["value"] > 0
    assert "No ties are shown for" in bench.page()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text('{"metric": "bl'),
        lambda path: path.write_text("[]"),
        lambda path: edit(path, lambda saved: saved.pop("keys")),
        lambda path: edit(path, lambda saved: saved.update(keys=None)),
        lambda path: edit(path, lambda saved: saved.update(model="someone_else")),
        lambda path: edit(path, lambda saved: saved["keys"]["bleu.bleu_1"].update(value="12")),
        lambda path: path.write_text(
            re.sub(r'"value": [0-9.]+', '"value": NaN', path.read_text(), count=1)
        ),
    ],
)
def test_a_damaged_score_file_is_named(bench: Bench, damage: Callable[[Path], None]) -> None:
    system = bench.add("a", 0.2)
    damage(bench.scores(system))
    with pytest.raises(ReportCardError, match=re.escape(str(bench.scores(system)))):
        write(bench.results_dir)
    assert not (bench.results_dir / "leaderboard").exists()


def test_rows_that_are_not_those_scored_are_named(bench: Bench) -> None:
    bench.add("a", 0.2)
    rows = bench.scores(bench.add("b", 0.3)).parent / "rows.npz"
    np.savez(rows, ids=np.array(["s0"]), rows=np.zeros((1, 1, 10)))
    with pytest.raises(ReportCardError, match=re.escape(str(rows))):
        collect(bench.results_dir)


@pytest.mark.parametrize("name", ["../../etc", "..", "", "a\\b", None, 3])
def test_a_run_that_leads_out_of_the_folder_is_refused(bench: Bench, name: object) -> None:
    system = bench.add("a", 0.2)
    bench.current(system)
    edit(bench.results_dir / "current.json", lambda saved: saved["runs"][0].update(model=name))
    with pytest.raises(ReportCardError, match=r"current\.json: not a run"):
        collect(bench.results_dir)


def test_no_scores_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ReportCardError, match=r"No scores in .* Run: reportcard run"):
        write(tmp_path)


def test_scores_without_cards_and_cohort_file_still_make_a_page(bench: Bench) -> None:
    system = bench.add("a", 0.2)
    (bench.results_dir / "cohorts" / f"{bench.cohort.folder}.json").unlink()
    folder = bench.results_dir / "predictions" / bench.cohort.folder / system.folder
    (folder / "card.json").unlink()
    assert "not recorded" in bench.page()


@pytest.mark.parametrize("width", [80, 200])
def test_terminal_shows_values_ties_marks_and_reasons(bench: Bench, width: int) -> None:
    bench.add("[red]one\x1b[31m", 0.2, seed=1)
    bench.add("two", 0.2, seed=2)
    bench.add("oracle", 0.0, kind="ceiling")
    edit(bench.scores(bench.add("blocked", 0.5)), not_run)
    out = io.StringIO()
    render(collect(bench.results_dir), Console(file=out, width=width))
    text = out.getvalue()
    assert "▲ oracle" in text
    assert "[red]one" in text
    assert "\x1b" not in text
    assert "≈" in text
    assert "bleu.bleu_4 ↑" in text
    assert "no score (blocked): weights missing" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= width
