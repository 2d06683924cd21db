"""F1-CheXbert from hand-made label tables, and what the table shows without weights."""

from __future__ import annotations

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from reportcard.api import Pair, ReportCardError
from reportcard.config.compose import conf_dir
from reportcard.core.registry import annotators, metrics
from reportcard.metrics.f1_chexbert import F1CheXbert


def note(**codes: int) -> dict[str, list[int]]:
    """14 codes by position: note(_1=3) is an uncertain cardiomegaly."""
    labels = [0] * 14
    for place, code in codes.items():
        labels[int(place[1:])] = code
    return {"labels": labels, "cls": ""}


def score(metric: F1CheXbert, *sides: tuple[dict | None, dict | None]) -> dict[str, float]:
    pairs = [Pair(str(i), "", "", {"chexbert": side}) for i, side in enumerate(sides)]
    rows = metric.rows(pairs)
    total = rows[~np.isnan(rows).any(axis=1)].sum(axis=0)
    return {key: float(value) for key, value in metric.scores(total).items()}


def test_uncertain_is_absent_under_neg_and_present_under_pos() -> None:
    # The candidate says cardiomegaly, the reference says it may be there. LLaVA-Rad counts that
    # as absent (factuality_utils.map_to_binary), f1chexbert as present.
    side = (note(_1=1), note(_1=3))
    assert score(F1CheXbert("neg"), side)["cardiomegaly.f1"] == 0
    assert score(F1CheXbert("neg"), side)["cardiomegaly.support"] == 0
    assert score(F1CheXbert("pos"), side)["cardiomegaly.f1"] == 1


def test_micro_and_macro_by_hand() -> None:
    # Edema: one hit, one miss. Fracture: one false alarm. No Finding: one hit.
    scores = score(
        F1CheXbert(),
        (note(_4=1, _11=1), note(_4=1)),
        (note(), note(_4=1)),
        (note(_13=1), note(_13=1)),
    )
    assert scores["micro_f1_14"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert scores["macro_f1_14"] == pytest.approx((2 / 3 + 1) / 14)
    assert scores["micro_f1_5"] == pytest.approx(2 / 3)
    assert scores["macro_f1_5"] == pytest.approx((2 / 3) / 5)
    assert scores["weighted_f1_14"] == pytest.approx((2 * 2 / 3 + 1) / 3)
    assert scores["samples_f1_14"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert scores["exact_match_5"] == pytest.approx(2 / 3)
    assert scores["edema.recall"] == pytest.approx(1 / 2)
    assert scores["fracture.specificity"] == pytest.approx(2 / 3)


def test_a_text_without_labels_is_unscored_and_not_zero() -> None:
    rows = F1CheXbert().rows(
        [
            Pair("1", "", "", {"chexbert": (None, note())}),
            Pair("2", "", "", {"chexbert": (note(), note())}),
        ]
    )
    assert np.isnan(rows[0]).all()
    assert np.isfinite(rows[1]).all()


def test_the_policies_have_different_signatures() -> None:
    assert F1CheXbert("neg").spec.signature != F1CheXbert("pos").spec.signature
    assert F1CheXbert().spec.annotators == ("chexbert",)
    with pytest.raises(ReportCardError, match="maybe"):
        F1CheXbert("maybe")


def test_metric_and_annotator_are_found_by_name() -> None:
    assert metrics.get("f1_chexbert").__name__ == "F1CheXbert"
    assert annotators.get("chexbert").__name__ == "Chexbert"


@pytest.mark.parametrize(("name", "policy"), [("f1_chexbert", "neg"), ("f1_chexbert_pos", "pos")])
def test_configurations_name_their_policy(name: str, policy: str) -> None:
    with initialize_config_dir(str(conf_dir()), version_base=None):
        options = dict(compose(f"metrics/{name}")["metrics"])
    assert metrics.get(options.pop("plugin"))(**options).uncertain == policy
