"""Invented sentences with the labels that CheXpert's rules give them, kind by kind."""

import json
from pathlib import Path

import pytest

pytest.importorskip("negspacy")

from reportcard.metrics.annotators.chexpert_rules import CheXpertRules

# In the order of the labels; No Finding is tested in test_chexpert_rules.py.
SHORT = ["EC", "CM", "LO", "LL", "ED", "CO", "PN", "AT", "PX", "PE", "PO", "FX", "SD"]
CASES = json.loads(Path(__file__).with_name("labeler_sentences.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def labeler():
    annotator = CheXpertRules()
    yield annotator
    annotator.close()


@pytest.mark.parametrize("case", CASES, ids=[case["text"] for case in CASES])
def test_sentence(labeler, case):
    """1 positive, 2 negative, 3 uncertain; some sentences may be read in two ways."""
    codes = labeler.annotate([case["text"]])[0]["labels"]
    found = {name: code for name, code in zip(SHORT, codes, strict=False) if code}
    assert found in case["labels"]
