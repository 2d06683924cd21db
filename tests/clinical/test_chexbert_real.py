"""What only the published weights can show: python -m pytest -m real_weights tests/clinical

Reads the files that `reportcard fetch weights chexbert` placed. Invented sentences, whose labels a
radiologist would not argue about; never run where this was written, for want of the weights.
"""

from __future__ import annotations

import pytest

from reportcard.metrics._label_f1 import CLASSES
from reportcard.metrics.annotators.chexbert import Chexbert

OBVIOUS = (
    ("There is a large left pleural effusion.", "pleural_effusion", 1),
    ("There is no pneumothorax.", "pneumothorax", 2),
    ("Possible pneumonia in the right lower lobe.", "pneumonia", 3),
    ("The heart is enlarged.", "cardiomegaly", 1),
    ("Normal chest radiograph.", "no_finding", 1),
    ("There is a large left pleural effusion.", "fracture", 0),
)


@pytest.mark.real_weights
def test_obvious_sentences_get_their_labels() -> None:
    annotator = Chexbert()
    if problem := annotator.missing():
        pytest.skip(problem)
    notes = annotator.annotate([text for text, _, _ in OBVIOUS])
    for (text, observation, code), note in zip(OBVIOUS, notes, strict=True):
        assert note is not None
        assert note["labels"][CLASSES.index(observation)] == code, text
