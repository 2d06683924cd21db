"""Details of a row: subgroups, findings, errors, texts and cost; and when they are made again."""

from __future__ import annotations

import json
import shutil
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportcard.api import (
    Array,
    DatasetCard,
    Image,
    Pair,
    Prior,
    Report,
    ReportCardError,
    Request,
    Study,
)
from reportcard.config import compose as config
from reportcard.data.cohort import Cohort
from reportcard.data.subgroups import groups_of
from reportcard.predict.predictions_file import CardFile
from reportcard.publish.board.build import collect
from reportcard.score.details import breakdown
from reportcard.score.details import report_texts as reports
from reportcard.score.details import update as details
from reportcard.score.rows_file import load_rows
from reportcard.score.scorer import open_metrics
from reportcard.score.scoring_stage import Scoring
from reportcard.score.stats.resampling import Resampler, bca_levels
from tests.publish.test_leaderboard import Bench, edit

SAID = (
    "Small left pleural effusion.",
    "Right apical pneumothorax.",
    "The lungs are clear.",
    "The heart is enlarged. No effusion.",
)


def study(i: int, **request: Any) -> Study:
    return Study(
        Request(f"s{i}", (Image(f"i{i}", "PA"),), **request),
        Report(findings=SAID[i % 4]),
        f"p{i // 2}",
        {"ward": "A" if i < 50 else "B"},
    )


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Two scored models; tests get copies, since reading labels takes seconds."""
    made = Bench(tmp_path_factory.mktemp("scored"), n=4)
    prior = Prior((Image("old", "PA"),))
    test = tuple(study(i, sex="F" if i % 3 else "M", prior=prior if i < 30 else None)
                 for i in range(64))  # fmt: skip
    made.cohort = Cohort("toy", DatasetCard("Toy", "open"), test, test[:2], ())
    made.cohort.save(made.results_dir)
    labels = config.load_metrics(["f1_chexpert_rules", "bleu"], made.protocol)
    made.scorers = open_metrics(labels)
    made.add("m", 0.3)
    made.add("sampled", 0.4, draws=2)
    return made


@pytest.fixture
def bench(scored: Bench, tmp_path: Path) -> Bench:
    made = copy(scored)
    made.results_dir = shutil.copytree(scored.results_dir, tmp_path / "results")
    return made


def scores_of(bench: Bench, label: str = "m") -> Path:
    """scores/<cohort>/<label>/<protocol>"""
    folder = bench.results_dir / "scores" / bench.cohort.folder
    return next(folder.glob(f"{label}@*")) / "reportcard"


def opened(bench: Bench, label: str = "m") -> dict[str, Any]:
    rows = collect(bench.results_dir).to_json()["boards"][0]["rows"]
    found: dict[str, Any] = next(row for row in rows if row["label"] == label)
    return found


def test_groups_come_from_the_dataset_first_and_leave_out_what_divides_nothing() -> None:
    studies = [
        Study(Request("a", (Image("1", "PA"), Image("2", "Lateral")), age=30), Report("One two."),
              "p", {"view": "told", "id": "x"}),
        Study(Request("b", (Image("3", "PA"),), age=45), Report("One two three four."), "p",
              {"id": "x"}),
        Study(Request("c", age=80.5), Report("", "One."), "p", {"id": "x"}),
    ]  # fmt: skip
    assert groups_of(studies) == {
        "age": ["under 45", "45 to 64", "65 up"],
        "length": ["medium (to 2 words)", "long (over 2 words)", "short (to 1 words)"],
        "view": ["told", "frontal", "no image"],
    }
    many = [replace(study(i), groups={"site": str(i)}) for i in range(13)]
    assert "site" not in groups_of(many)


def test_the_cohort_file_has_groups_and_the_same_fingerprint(bench: Bench) -> None:
    path = bench.cohort.save(bench.results_dir)
    saved = json.loads(path.read_text())
    assert saved["groups"]["ward"] == ["A"] * 50 + ["B"] * 14
    renamed = tuple(replace(s, groups={}) for s in bench.cohort.test)
    assert replace(bench.cohort, test=renamed).fingerprint == bench.cohort.fingerprint


def test_a_subgroup_is_the_cohorts_resamples_of_its_own_studies(bench: Bench) -> None:
    found = opened(bench)["details"]["subgroups"]
    assert list(found) == ["length", "prior", "sex", "ward"]
    ward_a, ward_b = found["ward"]
    assert (ward_a["value"], ward_a["n"], ward_b["n"]) == ("A", 50, 14)
    assert ward_b["too_few"]
    assert ward_b["cells"]["bleu.bleu_4"]["value"] is not None
    assert ward_b["cells"]["bleu.bleu_4"]["ci_low"] is None

    name = "f1_chexpert_rules"
    _, rows, clusters = load_rows(scores_of(bench) / name)
    scorer = next(s for s in bench.scorers if s.label == name)
    weights = Resampler(64, 200, 0, clusters).weights
    weights[:, 50:] = 0
    by_hand = scorer.metric.scores(weights @ rows[0])["micro_f1_14"]
    cell = ward_a["cells"]["f1_chexpert_rules.micro_f1_14"]
    alone = scorer.metric.scores(rows[0, :50].sum(axis=0))["micro_f1_14"]
    patients = clusters[:50]
    without = [rows[0, :50][patients != patient].sum(axis=0) for patient in np.unique(patients)]
    jackknife = np.array([scorer.metric.scores(total)["micro_f1_14"] for total in without])
    off = jackknife.mean() - jackknife
    levels = bca_levels(
        by_hand, float(alone), (off**3).sum() / (6 * (off**2).sum() ** 1.5), [0.025, 0.975]
    )
    assert levels != [0.025, 0.975]
    assert [cell["ci_low"], cell["ci_high"]] == pytest.approx(
        np.quantile(by_hand, levels), abs=1e-6
    )
    assert cell["value"] == pytest.approx(float(alone), abs=1e-6)


def test_findings_and_errors_are_the_counts_of_the_rows(bench: Bench) -> None:
    row = opened(bench, "sampled")
    rows = load_rows(scores_of(bench, "sampled") / "f1_chexpert_rules")[1]
    tp, fp, fn = (rows[..., i * 14 : (i + 1) * 14].sum(axis=1).mean(axis=0) for i in range(3))
    assert row["details"]["findings_from"] == "f1_chexpert_rules"
    effusion = next(f for f in row["details"]["findings"] if f["name"] == "Pleural effusion")
    assert effusion["support"] == tp[9] + fn[9] == 16
    assert effusion["predicted"] == pytest.approx(tp[9] + fp[9])
    assert effusion["f1_low"] <= effusion["f1"] <= effusion["f1_high"]
    assert 0 < effusion["recall"] < 1
    errors = row["details"]["errors"]
    assert errors["findings"] == 13
    assert errors["omissions"] == pytest.approx(fn[:13].sum() / 64, abs=1e-6)
    assert errors["hallucinations"] == pytest.approx(fp[:13].sum() / 64, abs=1e-6)
    low, high = errors["omissions_interval"]
    assert low < errors["omissions"] < high
    pneumothorax = errors["critical"][0]
    assert pneumothorax == {
        **{"name": "Pneumothorax", "missed": pytest.approx(fn[8]), "invented": fp[8]},
        "support": 16,
    }


def test_a_metric_of_other_keys_breaks_no_findings_down(bench: Bench) -> None:
    for path in scores_of(bench).parents[1].glob("*/*/f1_chexpert_rules"):
        shutil.rmtree(path)
    found = opened(bench)["details"]
    assert found["findings_from"] is None
    assert found["findings"] == []
    assert found["errors"]["omissions"] is None


def test_unscored_studies_are_in_no_rate() -> None:
    keys = [f"edema.{part}" for part in breakdown.PARTS]

    def scores(total: Array) -> dict[str, Array]:
        support, hits, absent, right = (total[..., i] for i in range(4))
        return dict(zip(keys, (hits, hits, hits / support, right / absent, support), strict=True))

    row = [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0], [np.nan] * 4
    found = breakdown.errors(
        np.array([row * 10]), scores, breakdown.findings_in(keys), Resampler(40, 50), 0.95
    )
    assert found["n"] == 30
    assert found["omissions"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["hallucinations"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["critical"] == [{"name": "Edema", "missed": 10, "invented": 10, "support": 20}]


def test_texts_tell_length_variety_and_collapse() -> None:
    def pairs(same: int, reference_same: int) -> list[Pair]:
        return [
            Pair(str(i), "a a" if i < same else f"a {i} b", "r" if i < reference_same else f"{i} r")
            for i in range(20)
        ]

    assert reports.variety(pairs(4, 1))["mode_collapse"]
    assert not reports.variety(pairs(3, 1))["mode_collapse"]  # less than a fifth
    assert not reports.variety(pairs(4, 2))["mode_collapse"]  # radiologists repeat themselves too
    assert reports.variety(pairs(20, 2)) == {
        **{"top_share": 1.0, "reference_top_share": 0.1, "mode_collapse": True}
    }
    assert reports.lengths(["", "a", "a b", "a b c", "a b c d"]) == {
        **{"p5": 0.2, "p25": 1.0, "p50": 2.0, "p75": 3.0, "p95": 3.8}
    }


def card_of(plugin: str, *inputs: str) -> CardFile:
    return CardFile(
        model=plugin,
        model_fingerprint="f",
        plugin=plugin,
        options={},
        card={"inputs": inputs},
        cohort="c",
        cohort_fingerprint="f",
        train_fingerprint="",
        environment={},
    )


def test_comparisons_count_only_where_no_prior_was_seen() -> None:
    texts = ("Unchanged.", "Stable effusion.", "Clear lungs.", "", "New opacity.")
    draws = [[Pair(str(i), text, "The heart is unchanged.") for i, text in enumerate(texts)]]
    given = {str(i): i in (1, 4) for i in range(5)}
    lines: list[dict[str, Any]] = [{"study_id": str(i), "draw": 0} for i in range(5)]

    def found(lines: list[dict[str, Any]], inputs_reported: bool) -> dict[str, Any] | None:
        return reports.prior_comparisons(
            draws, lines, given, inputs_reported, Resampler(5, 50), 0.95
        )

    silent = found(lines, inputs_reported=False)  # 1 and 4 were given a prior; 3 is empty
    assert silent is not None
    assert (silent["share"], silent["n"], silent["reference_share"]) == (0.5, 2, 1.0)
    lines[4] |= {"used": ["frontal", "prior_report"]}
    told = found(lines, inputs_reported=True)  # 1 was given one and did not use it
    assert told is not None
    assert (told["share"], told["n"]) == (pytest.approx(2 / 3, abs=1e-6), 3)
    draws[0] = [replace(pair, candidate=" ") for pair in draws[0]]
    assert found(lines, inputs_reported=True) is None

    card = card_of("replay")
    bare = [{"study_id": "a", "draw": 0}]
    assert not reports.reports_its_inputs(card, bare)
    assert reports.reports_its_inputs(card_of("toy"), bare)
    assert not reports.reports_its_inputs(card_of("toy", "prior"), bare)


def test_a_row_discloses_tier_inputs_speed_and_cost(bench: Bench) -> None:
    model = scores_of(bench).parent.name
    folder = bench.results_dir / "predictions" / bench.cohort.folder / model
    row = opened(bench)
    assert row["tier"] == "generated here"
    assert (row["used"], row["cost"]) == ({}, None)
    assert row["speed"]["studies"] == 64
    edit(folder / "DONE", lambda done: done.update(draws=2))
    (folder / "timing.jsonl").write_text('{"studies":64,"seconds":32}\n{"studies":32,"seconds":16}')
    path = scores_of(bench) / "details.json"
    edit(path, lambda d: d["reports"].update(tokens={"in": 64000, "out": 6400, "studies": 64}))
    prices = {"input": 2.5, "output": 10}
    edit(folder / "card.json", lambda card: card.update(options={"prices": prices}))
    edit(folder / "card.json", lambda card: card.update(plugin="replay"))
    row = opened(bench)
    assert row["tier"] == "re-scored from predictions"
    assert row["speed"] == {"seconds_per_1000": 1000.0, "studies": 48}
    assert row["cost"] == {"usd_per_1000": 3.5, "studies": 64}
    (folder / "card.json").unlink()
    assert opened(bench)["tier"].startswith("not recorded")


def test_details_are_made_anew_only_when_what_they_are_made_from_changed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = bench.add("m", 0.3)  # finished already
    path = scores_of(bench) / "details.json"
    first = path.read_bytes()

    def rescore(resamples: int = 200) -> None:
        stats = config.Stats(resamples=resamples)
        Scoring(bench.results_dir, bench.cohort, bench.protocol, stats, bench.scorers).run(system)

    def fail(*_: object) -> None:
        raise AssertionError("made again")

    with monkeypatch.context() as patch:
        patch.setattr(breakdown, "subgroups", fail)
        patch.setattr(reports, "prior_comparisons", fail)
        rescore()
        with pytest.raises(AssertionError, match="made again"):
            rescore(resamples=100)
    for damage in (b"{", b'{"version": 0}', b'{"version": 1, "reports": 3}'):
        path.write_bytes(damage)
        rescore()
        assert path.read_bytes() == first
    path.write_text('{"reports": 3}')
    with pytest.raises(ReportCardError, match=r"details\.json is damaged"):
        collect(bench.results_dir)


def test_scores_older_than_details_say_so(bench: Bench) -> None:
    (scores_of(bench) / "details.json").unlink()
    row = opened(bench)
    assert row["details"]["not_recorded"] == details.AGAIN
    assert row["details"]["subgroups"] == {}
    assert row["details"]["findings"]  # these are in the scores themselves
    assert row["lengths"] is None


def test_details_of_other_rows_are_not_shown(bench: Bench) -> None:
    path = scores_of(bench) / "details.json"
    edit(path, lambda saved: saved["metrics"]["bleu"].update(rows_sha256="0" * 64))
    cells = opened(bench)["details"]["subgroups"]["ward"][0]["cells"]
    assert "f1_chexpert_rules.macro_f1_supported_14" in cells
    assert "bleu.bleu_4" not in cells


def test_no_text_of_a_report_is_in_the_details(bench: Bench) -> None:
    text = (scores_of(bench) / "details.json").read_text()
    words = set("".join(c if c.isalpha() else " " for c in " ".join(SAID).lower()).split())
    said = {word for word in words if f" {word} " in text or f'"{word}' in text}
    assert not said - {"no", "the"}
