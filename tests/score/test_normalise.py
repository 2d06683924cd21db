"""R2Gen's clean-up: rules one by one, and the published score that it must lead to."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from reportcard import evaluate
from reportcard.api import ReportCardError
from reportcard.config.compose import load_protocol
from reportcard.data.cohort import Cohort
from reportcard.score.normalise import normaliser, r2gen_clean


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Heart size NORMAL.", "heart size normal ."),
        ("1. Clear lungs. 2. No effusion.", "clear lungs . no effusion ."),
        ("Clear.. No effusion....", "clear . no effusion ."),
        ("No effusion, edema; or (pneumothorax)?", "no effusion edema or pneumothorax ."),
        ("T5-T6 level, 2.5 cm", "t5-t6 level 25 cm ."),
        ('The "heart" isn\'t large/wide', "the heart isnt largewide ."),
        ("a:b<c=d>e@f[g", "abcdefg ."),
        ("clear lungs . no effusion .", "clear lungs . no effusion ."),
        ("", ""),
        (" \n ", ""),
        ("XXXX clear.", "xxxx clear ."),
    ],
)
def test_cleaning_rules(text: str, expected: str) -> None:
    assert r2gen_clean(text) == expected


def test_cleaning_is_idempotent_on_real_reports(real_texts: list[str]) -> None:
    for text in real_texts[:500]:
        once = r2gen_clean(text)
        assert r2gen_clean(once) == once


def test_mimic_rules_join_lines_and_blanks() -> None:
    assert r2gen_clean("a\nb   ____ c.. d", "mimic_cxr") == "a b c . d ."
    with pytest.raises(ReportCardError, match="iu_xray and mimic_cxr"):
        r2gen_clean("a", "padchest")


def test_references_lose_rare_words_and_their_tail() -> None:
    train = ["lungs clear"] * 3 + ["heart large"] * 2
    texts = normaliser(load_protocol("r2gen"), train)
    assert texts.reference("Lungs clear. Heart large.") == "lungs clear . <unk> <unk> ."
    assert texts.candidate("Lungs clear. Heart large.") == "lungs clear . heart large ."
    assert len(texts.reference("lungs " * 100).split()) == 59


def test_r2gen_without_train_reports_says_what_to_give() -> None:
    with pytest.raises(ReportCardError, match="--train"):
        normaliser(load_protocol("r2gen"), None)


CVT2 = os.environ.get("REPORTCARD_CVT2_IU_CSV", "")


@pytest.mark.skipif(
    not CVT2,
    reason="set REPORTCARD_CVT2_IU_CSV to aehrc/cvt2distilgpt2's test_reports_epoch-0_16-05-2023"
    "_12-46-42.csv (experiment/iu_x_ray_chen/…): a published model's predictions, not ours to ship",
)
def test_cvt2distilgpt2_scores_are_reproduced(openi_r2gen: Cohort) -> None:
    """README of aehrc/cvt2distilgpt2, IU X-Ray table: BLEU to 6 decimals, ROUGE-L to 8."""
    references = {s.study_id: s.reference.findings for s in openi_r2gen.test}
    with Path(CVT2).open(encoding="utf-8") as handle:
        rows = [
            {
                "study_id": row["dicom_id"],
                "candidate": row["report"],
                "reference": references[row["dicom_id"].split("_")[0]],
            }
            for row in csv.DictReader(handle)
        ]
    train = [s.reference.findings or "" for s in openi_r2gen.train]
    found = evaluate(rows, protocol="r2gen", train=train)["metrics"]
    published = {
        "bleu.bleu_1": 0.4734129309654236,
        "bleu.bleu_2": 0.30362269282341003,
        "bleu.bleu_3": 0.22399061918258667,
        "bleu.bleu_4": 0.17524345219135284,
        "rouge.rouge_l": 0.3761140813853112,
    }
    assert {k: found[k]["value"] for k in published} == pytest.approx(published, abs=1e-7)
