"""What the rules labeler reads in sentences that we made up."""

import time

import pytest

pytest.importorskip("negspacy")

from reportcard.metrics._label_f1 import CLASSES
from reportcard.metrics.annotators._rules_text import expand
from reportcard.metrics.annotators.chexpert_rules import CheXpertRules
from reportcard.metrics.f1_chexpert_rules import F1CheXpertRules

P, N, U = 1, 2, 3  # positive, negative, uncertain


@pytest.fixture(scope="module")
def labeler():
    annotator = CheXpertRules()
    assert annotator.missing() is None
    yield annotator
    annotator.close()


def read(labeler, text):
    """The labels that are not blank, without No Finding."""
    codes = labeler.annotate([text])[0]["labels"]
    assert len(codes) == 14
    return {name: c for name, c in zip(CLASSES[:-1], codes, strict=False) if c}


EXACT = [
    # naming a finding asserts it
    ("Stable cardiomegaly.", {"cardiomegaly": P}),
    ("There is a small left pleural effusion.", {"pleural_effusion": P}),
    ("Bibasilar atelectasis.", {"atelectasis": P}),
    ("Dense consolidation of the right lower lobe.", {"consolidation": P}),
    ("Hazy opacities at both bases.", {"lung_opacity": P}),
    ("A 9 mm nodule projects over the left apex.", {"lung_lesion": P}),
    ("Mild interstitial edema.", {"edema": P}),
    ("Vascular congestion has increased.", {"edema": P}),
    ("Large right pneumothorax.", {"pneumothorax": P}),
    ("Healed fractures of two left ribs.", {"fracture": P}),
    ("Biapical pleural thickening.", {"pleural_other": P}),
    ("Widening of the mediastinum.", {"enlarged_cardiomediastinum": P}),
    ("Hydropneumothorax on the left.", {"pneumothorax": P, "pleural_effusion": P}),
    ("Findings are most consistent with pneumonia.", {"pneumonia": P}),
    # negation and its scope
    ("No pneumothorax or pleural effusion.", {"pneumothorax": N, "pleural_effusion": N}),
    ("No evidence of consolidation, edema or effusion.",
     {"consolidation": N, "edema": N, "pleural_effusion": N}),
    ("Negative for pneumothorax.", {"pneumothorax": N}),
    ("The lungs are free of consolidation.", {"consolidation": N}),
    ("Atelectasis without effusion.", {"atelectasis": P, "pleural_effusion": N}),
    ("Pneumothorax is not seen.", {"pneumothorax": N}),
    ("An effusion is no longer present.", {"pleural_effusion": N}),
    ("The effusion has resolved.", {"pleural_effusion": N}),
    ("Interval resolution of the pneumothorax.", {"pneumothorax": N}),
    ("No pneumothorax, but a small effusion remains.",
     {"pneumothorax": N, "pleural_effusion": P}),
    ("No pneumothorax. Small effusion.", {"pneumothorax": N, "pleural_effusion": P}),
    ("No effusion; mild edema.", {"pleural_effusion": N, "edema": P}),
    ("No consolidation however there is atelectasis.", {"consolidation": N, "atelectasis": P}),
    ("No pneumothorax is seen, small effusion.", {"pneumothorax": N, "pleural_effusion": P}),
    ("No acute fracture.", {"fracture": N}),
    ("Neither edema nor effusion.", {"edema": N, "pleural_effusion": N}),
    ("No pneumothorax/effusion.", {"pneumothorax": N, "pleural_effusion": N}),
    ("No mediastinal widening.", {"enlarged_cardiomediastinum": N}),
    # words of negation that deny nothing
    ("No change in effusion.", {"pleural_effusion": P}),
    ("No significant interval change in the left pneumothorax.", {"pneumothorax": P}),
    ("Effusion is not significantly changed.", {"pleural_effusion": P}),
    ("Without change in atelectasis.", {"atelectasis": P}),
    ("Non-displaced rib fracture.", {"fracture": P}),
    # a bare adjective does not end a negation
    ("No residual pneumothorax.", {"pneumothorax": N}),
    ("No persistent pneumothorax.", {"pneumothorax": N}),
    ("No small effusion.", {"pleural_effusion": N}),
    ("No mild edema.", {"edema": N}),
    ("No acute or chronic fracture.", {"fracture": N}),
    ("No effusion or mild edema.", {"pleural_effusion": N, "edema": N}),
    ("No pneumothorax or large effusion.", {"pneumothorax": N, "pleural_effusion": N}),
    # a new clause does
    ("No pneumothorax, and the left effusion is larger.",
     {"pneumothorax": N, "pleural_effusion": P}),
    ("There is no focal consolidation, the heart is enlarged.",
     {"consolidation": N, "cardiomegaly": P}),
    ("No acute fracture and the heart is enlarged.", {"fracture": N, "cardiomegaly": P}),
    ("No effusion, cardiomegaly noted.", {"pleural_effusion": N, "cardiomegaly": P}),
    ("No pneumothorax, right PICC terminates in the SVC.",
     {"pneumothorax": N, "support_devices": P}),
    ("No effusion, pacemaker in place.", {"pleural_effusion": N, "support_devices": P}),
    ("No pneumothorax, new left lower lobe opacity.", {"pneumothorax": N, "lung_opacity": P}),
    ("No pneumothorax, mild edema.", {"pneumothorax": N, "edema": P}),
    ("No pneumothorax, a small effusion is seen.", {"pneumothorax": N, "pleural_effusion": P}),
    ("No pneumothorax, effusion and the heart is enlarged.",
     {"pneumothorax": N, "pleural_effusion": N, "cardiomegaly": P}),
    # a list does not
    ("No pneumothorax, effusion, or consolidation.",
     {"pneumothorax": N, "pleural_effusion": N, "consolidation": N}),
    ("No focal consolidation, pleural effusion or pneumothorax.",
     {"consolidation": N, "pleural_effusion": N, "pneumothorax": N}),
    ("No pneumothorax, large effusion, or edema.",
     {"pneumothorax": N, "pleural_effusion": N, "edema": N}),
    ("No consolidation, effusion, or pneumothorax is seen.",
     {"consolidation": N, "pleural_effusion": N, "pneumothorax": N}),
    ("No pneumothorax, effusion, consolidation noted.",
     {"pneumothorax": N, "pleural_effusion": N, "consolidation": N}),
    ("No edema and effusion are identified.", {"edema": N, "pleural_effusion": N}),
    ("The effusion, on the left, has resolved.", {"pleural_effusion": N}),
    ("Interval removal of the endotracheal tube and the nasogastric tube.",
     {"support_devices": N}),
    # denied behind the finding
    ("Effusion: none. Pneumothorax: none.", {"pleural_effusion": N, "pneumothorax": N}),
    ("Effusion absent.", {"pleural_effusion": N}),
    ("The effusion is gone.", {"pleural_effusion": N}),
    ("The nasogastric tube has been withdrawn.", {"support_devices": N}),
    ("The nasogastric tube has been withdrawn slightly.", {"support_devices": P}),
    ("Pneumothorax? None seen.", {"pneumothorax": N}),
    ("Nipple shadow simulates a nodule.", {"lung_lesion": N}),
    ("The lungs are not clear.", {"lung_opacity": P}),
    # what came after a procedure
    ("No pneumothorax following placement of a right chest tube.",
     {"pneumothorax": N, "support_devices": P}),
    ("No pneumothorax status post placement of a right chest tube.",
     {"pneumothorax": N, "support_devices": P}),
    ("No pneumothorax after placement of a right chest tube.",
     {"pneumothorax": N, "support_devices": P}),
    ("No pneumothorax after chest tube removal.", {"pneumothorax": N, "support_devices": N}),
    ("Pneumothorax after chest tube removal.", {"pneumothorax": P, "support_devices": N}),
    # uncertainty
    ("Pneumonia less likely.", {"pneumonia": U}),
    ("Atelectasis, less likely pneumonia.", {"atelectasis": P, "pneumonia": U}),
    ("Cannot exclude pneumonia.", {"pneumonia": U}),
    ("Pneumonia cannot be excluded.", {"pneumonia": U}),
    ("Pneumonia is not excluded.", {"pneumonia": U}),
    ("Possible small effusion.", {"pleural_effusion": U}),
    ("This may represent atelectasis.", {"atelectasis": U}),
    ("Opacity that could reflect pneumonia.", {"lung_opacity": P, "pneumonia": U}),
    ("Findings suspicious for pneumonia.", {"pneumonia": U}),
    ("Concern for edema.", {"edema": U}),
    ("Questionable nodule.", {"lung_lesion": U}),
    ("Atelectasis versus consolidation.", {"atelectasis": U, "consolidation": U}),
    ("An effusion is suspected.", {"pleural_effusion": U}),
    ("No pneumothorax, possible effusion.", {"pneumothorax": N, "pleural_effusion": U}),
    ("No focal consolidation to suggest pneumonia.", {"consolidation": N, "pneumonia": N}),
    # several mentions: positive, then uncertain, then negative
    ("No effusion on the right. Small left effusion.", {"pleural_effusion": P}),
    ("Possible pneumonia. No pneumonia on the left.", {"pneumonia": U}),
    ("Possible pneumonia. Pneumonia is confirmed.", {"pneumonia": P}),
    # anatomy and its state
    ("The heart size is normal.", {"cardiomegaly": N}),
    ("Normal heart size.", {"cardiomegaly": N}),
    ("The heart is enlarged.", {"cardiomegaly": P}),
    ("Enlarged cardiac silhouette.", {"cardiomegaly": P}),
    ("The heart is not enlarged.", {"cardiomegaly": N}),
    ("The cardiac silhouette is mildly to moderately enlarged.", {"cardiomegaly": P}),
    ("Heart size is at the upper limits of normal.", {"cardiomegaly": N}),
    ("Heart size is borderline.", {"cardiomegaly": U}),
    ("Heart size is stable.", {}),
    ("The mediastinum is widened.", {"enlarged_cardiomediastinum": P}),
    ("Cardiomediastinal silhouette is within normal limits.",
     {"cardiomegaly": N, "enlarged_cardiomediastinum": N}),
    ("Heart size and mediastinal contours are normal.",
     {"cardiomegaly": N, "enlarged_cardiomediastinum": N}),
    ("The heart is enlarged. The mediastinum is normal.",
     {"cardiomegaly": P, "enlarged_cardiomediastinum": N}),
    ("Pulmonary vascularity is normal.", {"edema": N}),
    ("Pulmonary vasculature is engorged.", {"edema": P}),
    # normal statements
    ("The lungs are clear.", {"lung_opacity": N}),
    ("Clear lungs.", {"lung_opacity": N}),
    ("Lungs are grossly clear.", {"lung_opacity": N}),
    ("The lungs are clear of infiltrate.", {"lung_opacity": N}),
    ("Costophrenic angles are sharp.", {"pleural_effusion": N}),
    # devices
    ("A PICC line ends in the SVC.", {"support_devices": P}),
    ("Endotracheal tube above the carina.", {"support_devices": P}),
    ("Dual-lead pacemaker.", {"support_devices": P}),
    ("Median sternotomy wires are intact.", {"support_devices": P}),
    ("The chest tube has been removed.", {"support_devices": N}),
    ("Surgical clips in the right upper quadrant.", {"support_devices": P}),
    # words that look like findings and are none
    ("Small pericardial effusion.", {}),
    ("No mass effect on the trachea.", {}),
    ("Please note that fractures may not be visible.", {}),
    ("Calcified granuloma.", {}),
    ("Degenerative changes of the spine.", {}),
    ("The patient is rotated.", {}),
    # de-identification marks and form
    ("No XXXX of pleural effusion.", {"pleural_effusion": N}),
    ("There is ___ atelectasis.", {"atelectasis": P}),
    ("PLEURA: NO EFFUSION.", {"pleural_effusion": N}),
    ("no pneumothorax\nor effusion", {"pneumothorax": N, "pleural_effusion": N}),
    ("- no pneumothorax\n- small effusion", {"pneumothorax": N, "pleural_effusion": P}),
    ("1. No pneumothorax 2. Effusion", {"pneumothorax": N, "pleural_effusion": P}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "want"), EXACT, ids=[text for text, _ in EXACT])
def test_reads(labeler, text, want):
    assert read(labeler, text) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("The heart size is normal. The lungs are clear. No effusion.", 1),
        ("Pacemaker. Lungs are clear.", 1),
        # chexpert-labeler's phrases/mention/no_finding.txt: a mention that is not denied
        ("Old granulomatous disease.", 0),
        ("Degenerative changes of the spine.", 0),
        ("Mild scoliosis.", 0),
        ("Blunting of the costophrenic angle.", 0),
        ("Possible emphysema.", 0),
        ("No emphysema. No granuloma.", 1),
        ("No hiatal hernia, scoliosis or calcification.", 1),
        ("Elevated right hemidiaphragm.", 0),
        ("Congestive heart failure has resolved.", 1),
        ("Tortuous aorta.", 1),
        ("Possible effusion.", 0),
        ("Borderline heart size.", 0),
        ("Small effusion. Otherwise normal.", 0),
        ("", 1),
    ],
)
def test_no_finding(labeler, text, want):
    """CheXpert: 1 when nothing but Support Devices is positive or uncertain."""
    assert labeler.annotate([text])[0]["labels"][-1] == want


@pytest.mark.parametrize(
    "text", ["", " \n\t ", "XXXX", "___ ___", "🫁🫀", "\x00\x07\x1b[0m", "....", "?!", "{|}"]
)
def test_texts_without_content_are_blank(labeler, text):
    assert labeler.annotate([text])[0]["labels"] == [0] * 13 + [1]


def test_noise_does_not_hide_findings(labeler):
    assert read(labeler, "\x00No 🫁 pleural\x07 effusion.\ufeff") == {"pleural_effusion": N}
    assert read(labeler, "Small pleural\u00a0effusion\ud800") == {"pleural_effusion": P}


@pytest.mark.parametrize("unit", ["word ", "No effusion or pneumothorax. ", "no effusion "])
def test_ten_thousand_words(labeler, unit):
    text = (unit * 10_000)[:60_000] + ". Cardiomegaly."
    start = time.perf_counter()
    found = read(labeler, text)
    assert found["cardiomegaly"] == P
    assert found.get("pleural_effusion", N) == N
    assert time.perf_counter() - start < 10


def test_one_note_per_text_whatever_the_batch(labeler):
    texts = ["Small effusion.", "", "Cardiomegaly.", "Small effusion."]
    together = labeler.annotate(texts)
    assert together == [labeler.annotate([text])[0] for text in texts]
    assert labeler.annotate([]) == []


def test_works_after_close():
    annotator = CheXpertRules()
    before = annotator.annotate(["Small effusion."])
    annotator.close()
    assert annotator.annotate(["Small effusion."]) == before


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(
        "reportcard.metrics.annotators.chexpert_rules.PACKAGES", ("no-such-engine",)
    )
    assert "no-such-engine" in CheXpertRules().missing()


def test_expand_nested():
    assert expand("{a|b{c|}} d") == ["a d", "bc d", "b d"]


def test_metric_names_the_annotator():
    assert F1CheXpertRules().spec.annotators == ("chexpert_rules",)
    assert "uncertain:pos" in F1CheXpertRules("pos").spec.signature
