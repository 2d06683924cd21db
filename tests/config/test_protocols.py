"""Protocols: a paper's columns under its names, its centre and seed, and no guessed cell."""

from __future__ import annotations

import numpy as np
import pytest

from reportcard import evaluate
from reportcard.api import Pair, Report
from reportcard.config import compose as config
from reportcard.config import paths
from reportcard.config.settings import Plugin
from reportcard.metrics.bleu import Bleu
from reportcard.metrics.rouge import Rouge
from reportcard.score.evaluation import inverse
from reportcard.score.normalise import report_text

PROTOCOLS = paths.names("protocol")


@pytest.fixture(scope="module")
def rows(real_texts: list[str]) -> list[dict[str, str]]:
    return [
        {"study_id": str(i), "candidate": a, "reference": b}
        for i, (a, b) in enumerate(zip(real_texts[:120], real_texts[9:129], strict=True))
    ]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_column_is_a_key_of_a_metric_that_exists(name: str) -> None:
    from reportcard.score.scorer import open_metrics

    protocol = config.load_protocol(name)
    scorers = open_metrics(config.load_metrics(protocol.metrics_of_columns(), protocol))
    keys = {f"{s.label}.{key}" for s in scorers for key in s.metric.spec.keys}
    assert {key.removeprefix("1/") for key in protocol.columns.values()} <= keys
    assert not set(protocol.columns) & set(protocol.left_out)


def test_a_left_out_column_has_no_number(rows: list[dict[str, str]]) -> None:
    result = evaluate(rows, protocol="maira2")
    assert "BLEU-1, BLEU-4" in result["left_out"]
    assert "BLEU-4" not in result["columns"]
    for name, entry in result["columns"].items():  # no weights and no judge here
        assert entry["value"] is None
        judged = name.startswith(("RadFact", "CheXprompt"))
        assert ("no judge chosen" if judged else "missing") in entry["not_run"]


def test_llava_rad_prints_medians_with_its_seed_and_sacrebleus_interval(
    rows: list[dict[str, str]],
) -> None:
    from sacrebleu.metrics import BLEU

    columns = evaluate(rows, protocol="llava_rad")["columns"]
    pairs = [Pair("", row["candidate"], row["reference"]) for row in rows]
    values = Rouge().rows(pairs)[:, 2]
    index = np.random.RandomState(3).randint(0, len(values), (500, len(values)))
    assert columns["ROUGE-L"]["value"] == pytest.approx(np.median(values[index].mean(axis=1)))
    assert "centre=median" in columns["ROUGE-L"]["signature"]
    theirs = BLEU().corpus_score(
        [p.candidate for p in pairs], [[p.reference for p in pairs]], n_bootstrap=500
    )
    bleu = columns["BLEU-4"]
    assert bleu["value"] == pytest.approx(theirs.score, abs=1e-9)
    middle, half = (bleu["ci_high"] + bleu["ci_low"]) / 2, (bleu["ci_high"] - bleu["ci_low"]) / 2
    # sacreBLEU sums in float32 (significance.py, _bootstrap_resample)
    assert (middle, half) == pytest.approx((theirs._mean, theirs._ci), rel=1e-5)
    assert "sacrebleu95%,B=500,seed=12345" in bleu["signature"]


def test_a_seed_of_the_users_own_wins(rows: list[dict[str, str]]) -> None:
    entry = evaluate(rows, ["rouge"], "llava_rad", seed=11)["metrics"]["rouge.rouge_l"]
    assert "seed=11" in entry["signature"]


def test_rexrank_scores_per_sample_bleu_2(rows: list[dict[str, str]]) -> None:
    columns = evaluate(rows, ["bleu_radcliq"], "rexrank")["columns"]
    pairs = [Pair("", row["candidate"], row["reference"]) for row in rows]
    expected = Bleu("radcliq").rows(pairs)[:, 0].mean()
    assert columns["BLEU"]["value"] == pytest.approx(expected)
    assert set(columns) == {"BLEU"}  # only what was asked for


def test_rexrank_joins_sections_and_says_none_in_references_only() -> None:
    rexrank = config.load_protocol("rexrank")
    both = Report("Clear lungs.", "Normal.")
    assert report_text(rexrank, both) == "Findings: Clear lungs. Impression: Normal."
    half = Report(None, "Normal.")
    assert report_text(rexrank, half, missing="None") == "Findings: None Impression: Normal."
    assert report_text(rexrank, half) == "Impression: Normal."
    assert report_text(rexrank, Report("", None), missing="None") == ""
    assert report_text(config.load_protocol("reportcard"), both) == "Clear lungs."


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (0.8, 0.5, 1.0, (1.25, 1.0, 2.0)),
        (0.1, -0.1, 0.3, None),
        (0.1, 0.0, 0.3, None),
        (-1.4, -1.5, -1.3, None),
        (0.8, None, None, None),
    ],
)
def test_the_inverse_is_shown_only_where_its_interval_allows(
    value: float, low: float | None, high: float | None, shown: tuple[float, ...] | None
) -> None:
    entry = {"value": value, "ci_low": low, "ci_high": high, "direction": "lower"}
    found = inverse(entry)
    assert found["direction"] == "higher"
    if shown is None:
        assert found["value"] is None
        assert "pole" in found["not_run"]
    else:
        assert (found["value"], found["ci_low"], found["ci_high"]) == shown


@pytest.mark.parametrize("options", [{}, {"variant": "sacre"}])
@pytest.mark.parametrize("label", ["bleu", "anything"])
def test_equal_metrics_have_one_recipe_under_any_label(options: dict[str, str], label: str) -> None:
    protocol = config.load_protocol("llava_rad")
    found = protocol.interval_of(Plugin("bleu", label, options))
    assert (found.recipe, found.centre, found.seed) == ("sacrebleu", "point", 12345)


def test_a_metric_with_other_options_has_the_default_recipe() -> None:
    protocol = config.load_protocol("llava_rad")
    other = (Plugin("bleu", "bleu_sacre", {"variant": "coco"}), Plugin("rouge", "rouge"))
    assert [protocol.interval_of(metric).seed for metric in other] == [3, 3]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_metrics_of_one_fingerprint_have_one_interval_under_every_protocol(
    name: str, rows: list[dict[str, str]]
) -> None:
    """Every pair of presets that is one metric under two names gives one number."""
    from reportcard.score.scorer import open_metrics

    protocol = config.load_protocol(name)
    presets = [m for m in paths.names("metrics") if m.split("_")[0] in ("bleu", "rouge", "cider")]
    scorers = open_metrics(config.load_metrics(presets, protocol))
    train = [row["reference"] for row in rows] if protocol.normalise == "r2gen" else None
    found = evaluate(rows[:30], presets, name, resamples=20, train=train)["metrics"]
    first: dict[str, str] = {}
    for scorer in scorers:
        twin = first.setdefault(scorer.fingerprint, scorer.label)
        for key in scorer.metric.spec.keys:
            ours, theirs = (found[f"{label}.{key}"] for label in (scorer.label, twin))
            for part in ("value", "ci_low", "ci_high"):
                assert ours[part] == theirs[part]
    assert len(first) < len(scorers)


def test_evaluate_claims_no_sections_that_it_did_not_take(rows: list[dict[str, str]]) -> None:
    for name in ("reportcard", "rexrank"):
        entry = evaluate(rows[:5], ["rouge"], name, resamples=5)["metrics"]["rouge.rouge_l"]
        assert "|sections:as-given|" in entry["signature"]
