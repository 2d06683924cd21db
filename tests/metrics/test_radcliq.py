"""RadCliQ: the published arithmetic, published rows, and what an unreadable or empty text does."""

from __future__ import annotations

import numpy as np
import pytest

from reportcard.api import Pair, pack_floats
from reportcard.metrics.bertscore import BASELINES, BertScore, rescale
from reportcard.metrics.radcliq import RadCliQ, constants, radcliq

# Model, then the means that ReXrank prints: BLEU, BertScore, SembScore, RadGraph, RadCliQ-v0, -v1.
# Source: rajpurkarlab/ReXrank 8152f99 results/result_<file>.csv (numbers to three decimals).
REXRANK = [
    ("iu_xray CheXagent", 0.102, 0.38, 0.494, 0.157, 3.272, 1.137),
    ("iu_xray MedVersa", 0.195, 0.518, 0.601, 0.244, 2.581, 0.692),
    ("iu_xray RGRG", 0.24, 0.447, 0.603, 0.248, 2.818, 0.803),
    ("iu_xray LLM-CXR", 0.035, 0.175, 0.061, 0.023, 4.863, 2.072),
    ("iu_xray GPT4V", 0.079, 0.235, 0.403, 0.16, 3.856, 1.462),
    ("mimic-cxr MedVersa", 0.193, 0.43, 0.315, 0.273, 3.337, 1.088),
    ("mimic-cxr GPT4V", 0.065, 0.204, 0.19, 0.085, 4.457, 1.819),
    ("chexpert_plus-valid MedVersa", 0.09, 0.013, 0.337, 0.05, 4.831, 2.031),
    ("chexpert_plus-valid VLCI", 0.084, -0.092, 0.248, 0.032, 5.34, 2.317),
]


def make_pair(
    candidate="Lungs are clear.", reference="Lungs are clear.", f=1.0, cosine=1.0
) -> Pair:
    cls = [1.0, 0.0], [cosine, (1 - cosine**2) ** 0.5]
    notes = {
        "radgraph": ({"entities": {}}, {"entities": {}}),
        "bertscore_distilroberta": ({"p": f, "r": f, "f": f}, None),
        "chexbert": ({"cls": pack_floats(cls[0])}, {"cls": pack_floats(cls[1])}),
    }
    return Pair("s", candidate, reference, notes)


def make_metric(rg: float = 1.0) -> RadCliQ:
    return RadCliQ(lambda candidate, reference: rg)


@pytest.mark.parametrize(
    ("x", "v0", "v1"), [(1.0, -0.242133, -1.440690), (0.0, 5.516161, 2.450143)]
)
def test_reference_values(x, v0, v1):
    found = radcliq(np.full(4, x))
    assert found["v0"] == pytest.approx(v0, abs=5e-7)
    assert found["v1"] == pytest.approx(v1, abs=5e-7)


@pytest.mark.parametrize("row", REXRANK, ids=lambda row: row[0])
def test_published_means_give_published_radcliq(row):
    _, bleu2, bs, semb, rg, v0, v1 = row
    found = radcliq(np.array([rg, bs, semb, bleu2]))
    # Four features rounded to ±0.0005, and the published value to ±0.0005.
    assert found["v0"] == pytest.approx(v0, abs=0.0042)
    assert found["v1"] == pytest.approx(v1, abs=0.0025)


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_linear_form_equals_the_standardised_model(version):
    model = constants()["standardised"][version]
    x = np.random.default_rng(0).uniform(-1, 1, (50, 4))
    standard = (x - model["mean"]) / model["scale"]
    expected = standard @ np.array(model["coef"]) + model["intercept"]
    assert radcliq(x)[version] == pytest.approx(expected, abs=1e-12)


def test_radeval_example_of_two_identical_short_reports():
    # RadEval issue 5 prints 1 / v1 = -1.2223714910823704 for rg = .5 and bs = semb = bleu2 = 1.
    v1 = radcliq(np.array([0.5, 1.0, 1.0, 1.0]))["v1"]
    assert v1 == pytest.approx(-0.8180821177, abs=1e-9)
    assert 1 / v1 == pytest.approx(-1.2223714910823704, abs=1e-6)  # its bs is a float32


def test_the_single_reference_idf_value_is_arithmetic_and_out_of_reach():
    # IDF over one reference makes F 0, rescaled -5.5502, and an identical pair looks terrible.
    trap = float(rescale(np.array(0.0), BASELINES["bertscore_distilroberta"]))
    assert trap == pytest.approx(-5.5502, abs=5e-5)
    assert radcliq(np.array([1, trap, 1, 1]))["v1"] == pytest.approx(9.372605, abs=1e-6)
    # RadCliQ takes neither an annotator nor an IDF, and the one it names weighs all tokens alike.
    with pytest.raises(TypeError):
        RadCliQ(idf=True)
    assert make_metric().spec.annotators == ("radgraph", "bertscore_distilroberta", "chexbert")
    assert make_metric().rows([make_pair()])[0, 1] == pytest.approx(-1.440690, abs=1e-6)


def test_rows_are_values_features_and_one():
    metric = make_metric(rg=0.4)
    pairs = [
        make_pair(f=0.9, cosine=0.6),
        make_pair("Effusion.", "No effusion is seen.", 0.85, 0.0),
    ]
    rows = metric.rows(pairs)
    assert rows.shape == (2, 7)
    assert rows[0, 2] == 0.4
    assert rows[0, 3] == pytest.approx((0.9 - 0.8473319) / (1 - 0.8473319))
    assert rows[0, 4] == pytest.approx(0.6, abs=1e-7)
    assert rows[0, 5] == 1
    assert rows[:, 6].tolist() == [1, 1]
    found = metric.scores(rows.sum(axis=0))
    assert list(found) == list(metric.spec.keys)
    assert found["v0"] == pytest.approx(rows[:, 0].mean())
    # A mean of linear forms is the form of the means.
    again = radcliq(np.array([found[k] for k in ("rg", "bs", "semb", "bleu2")]))
    assert again["v1"] == pytest.approx(float(found["v1"]))
    assert metric.rows([]).shape == (0, 7)
    assert np.isnan(metric.scores(np.zeros(7))["v0"])
    assert {metric.spec.keys[k].direction for k in ("v0", "v1")} == {"lower"}


def test_an_empty_candidate_gets_the_worst_features_and_its_real_embedding():
    rows = make_metric(rg=1.0).rows([make_pair(candidate=" ", f=0.0, cosine=0.3)])
    _, v1, rg, bs, semb, bleu2, n = rows[0]
    assert (rg, bleu2, n) == (0, 0, 1)
    assert bs == pytest.approx(-5.5502, abs=5e-5)
    assert semb == pytest.approx(0.3, abs=1e-7)
    assert v1 > radcliq(np.zeros(4))["v1"]


@pytest.mark.parametrize(
    "notes",
    [
        {"radgraph": (None, {"entities": {}})},
        {"bertscore_distilroberta": (None, None)},
        {"chexbert": ({"cls": pack_floats([1.0, 0.0])}, None)},
    ],
)
def test_a_report_that_one_annotator_could_not_read_is_unscored(notes):
    good = make_pair()
    bad = Pair("s", good.candidate, good.reference, {**good.notes, **notes})
    rows = make_metric().rows([good, bad])
    assert np.isfinite(rows[0]).all()
    assert np.isnan(rows[1]).all()


def test_the_radgraph_feature_is_the_family_2_f1_of_f1_radgraph():
    module = pytest.importorskip("metrics.f1_radgraph", reason="F1-RadGraph is not merged yet")
    graph = {
        "entities": [
            ["effusion", "OBS-DA", 1, 1, [["located_at", 1]]],
            ["left", "ANAT-DP", 3, 3, []],
        ]
    }
    alone = {"entities": [["effusion", "OBS-DA", 1, 1, []]]}
    pair = make_pair()
    for reference, expected in ((graph, 1.0), (alone, 1 / 3)):
        notes = {**pair.notes, "radgraph": (graph, reference)}
        rows = RadCliQ().rows([Pair("s", pair.candidate, pair.reference, notes)])
        assert rows[0, 2] == pytest.approx(expected)
    assert module.F1RadGraph().spec.annotators == ("radgraph",)


def test_a_zero_embedding_has_cosine_zero():
    pair = make_pair()
    zero = {"cls": pack_floats([0.0, 0.0])}
    notes = {**pair.notes, "chexbert": (zero, pair.notes["chexbert"][1])}
    rows = make_metric().rows([Pair("s", pair.candidate, pair.reference, notes)])
    assert rows[0, 4] == 0


def test_bertscore_keys_and_baselines():
    pair = make_pair(f=0.9)
    unread = Pair("t", "a", "b", {"bertscore_distilroberta": (None, None)})
    metric = BertScore()
    rows = metric.rows([pair, unread])
    assert np.isnan(rows[1]).all()
    found = metric.scores(rows[0])
    assert found["f1_raw"] == pytest.approx(0.9)
    assert found["f1"] == pytest.approx((0.9 - 0.8473319) / (1 - 0.8473319))
    assert metric.rows([]).shape == (0, 3)
    other = BertScore("bertscore_distilbert")
    assert other.baseline == 0.66620487
    assert other.spec.annotators == ("bertscore_distilbert",)
    assert metric.spec.keys["f1"].low is None


def test_bertscore_of_an_unknown_variant_needs_its_own_baseline():
    from reportcard.api import ReportCardError

    idf = "bertscore_distilroberta_idf_mimic_train"
    with pytest.raises(ReportCardError, match="baseline"):
        BertScore(idf)
    with pytest.raises(ReportCardError, match="baseline"):
        BertScore(baseline=1.0)
    assert "idf:mimic_train" in BertScore(idf, baseline=0.8).spec.signature


def test_baselines_are_those_of_the_installed_package():
    package = pytest.importorskip("bert_score", reason="needs the clinical extra: bert-score")
    from pathlib import Path

    folder = Path(package.__file__).parent / "rescale_baseline" / "en"
    for annotator, model in (
        ("bertscore_distilroberta", "distilroberta-base"),
        ("bertscore_distilbert", "distilbert-base-uncased"),
    ):
        row = (folder / f"{model}.tsv").read_text().splitlines()[1 + 5].split(",")
        assert row[0] == "5"
        assert float(row[3]) == BASELINES[annotator]


def test_the_plugins_and_their_options_are_found_by_name():
    from reportcard.config import compose as config
    from reportcard.config import paths
    from reportcard.core import registry
    from reportcard.score.scorer import open_metrics

    names = ["bertscore", "bertscore_distilbert", "radcliq", "cider", "meteor_nltk"]
    scorers = open_metrics(config.load_metrics(names, config.load_protocol("reportcard")))
    assert [s.label for s in scorers] == names
    assert len({s.fingerprint for s in scorers}) == len(names)
    assert scorers[1].metric.spec.annotators == ("bertscore_distilbert",)
    for name in ("bertscore", "meteor_nltk"):
        assert callable(registry.annotators.get(name).annotate)
    # The name of an annotator's file in conf/annotator is the id under which its notes stand.
    for path in sorted((paths.conf_dir() / "annotator").glob("bertscore_*.yaml")):
        options = dict(
            line.split(": ") for line in path.read_text().splitlines() if not line.startswith("#")
        )
        assert options["plugin"] == "bertscore"
        assert registry.annotators.get("bertscore")(model=options["model"]).id == path.stem
