"""The phantom: pictures that hold still, boxes where things are drawn, reports that say so."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from reportcard.api import Image, ReportCardError, Selection, Study
from reportcard.cli.main import main
from reportcard.config.settings import Plugin
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.data.sources._phantom.case import DEVICES, ENLARGED, SIZES, Case, Finding
from reportcard.data.sources._phantom.film import frontal
from reportcard.data.sources._phantom.frontal import SIGNS, Frontal
from reportcard.data.sources._phantom.report import NORMAL, sentences
from reportcard.data.sources.phantom import VERSION, Phantom

LABELS = {
    "cardiomegaly": "Cardiomegaly",
    "effusion": "Pleural Effusion",
    "pneumothorax": "Pneumothorax",
    "consolidation": "Consolidation",
    "nodule": "Lung Lesion",
    "oedema": "Edema",
    **dict.fromkeys(DEVICES, "Support Devices"),
}
FINDINGS = [
    Finding("effusion", "left", "small"),
    Finding("effusion", "right", "large"),
    Finding("pneumothorax", "left", "small"),
    Finding("pneumothorax", "right", "large"),
    *(Finding("consolidation", "right", "dense", lobe) for lobe in ("RUL", "RML", "RLL")),
    *(Finding("consolidation", "left", "patchy", lobe) for lobe in ("LUL", "lingula", "LLL")),
    Finding("nodule", "right", lobe="RUL", mm=12),
    Finding("oedema", size="moderate"),
    Finding("ett"),
    Finding("ngt"),
    Finding("cvc", "right"),
    Finding("pacemaker", "left"),
]
PINNED = {
    "phantom-test-000-1-frontal": "1fadb7cc09942ef6",
    "phantom-test-000-1-lateral": "97e898d77cab47f6",
    "phantom-test-001-1-frontal": "b432717492f48180",
    "phantom-test-001-1-lateral": "17001c37c2ca925d",
    "phantom-test-002-1-frontal": "be5e0bf327504a56",
    "phantom-test-003-1-frontal": "ed0e02903125ff20",
    "phantom-test-004-1-frontal": "013ebe29031d1ff9",
    "phantom-test-004-1-lateral": "b70117f17971adab",
}
FINGERPRINTS = ("fb80fec5cde23fb3", "d044a0acd89754d1")


@cache
def selection() -> Selection:
    return Phantom().select()


@cache
def pairs() -> list[tuple[Case, Study]]:
    phantom, chosen = Phantom(), selection()
    return [
        *zip(phantom.cases("test"), chosen.test, strict=True),
        *zip(phantom.cases("train"), chosen.train, strict=True),
    ]


def case(*findings: Finding) -> Case:
    return Case("p", "s", "body", "key", 50, "F", "PA", False, 0.44, findings)


def sha(image: Image) -> str:
    return hashlib.sha256(image.pixels().tobytes()).hexdigest()[:16]


def test_pictures_are_the_same_bytes_everywhere() -> None:
    """A change here is a change of the data: raise VERSION in phantom.py with it."""
    images = {i.image_id: i for s in selection().test for i in s.request.images}
    assert VERSION == "2"
    assert {name: sha(images[name]) for name in PINNED} == PINNED


def test_reports_and_boxes_are_the_same_everywhere() -> None:
    cohort = load_cohort(Plugin("phantom", "phantom", {}))
    assert (cohort.fingerprint[:16], cohort.train_fingerprint[:16]) == FINGERPRINTS


def test_another_process_draws_the_same(tmp_path: Path) -> None:
    image = next(i for s in selection().test for i in s.request.images if i.view == "LATERAL")
    (tmp_path / "read").write_bytes(pickle.dumps(image.read))
    code = (
        "import hashlib, pathlib, pickle;"
        f"read = pickle.loads(pathlib.Path({str(tmp_path / 'read')!r}).read_bytes());"
        "print(hashlib.sha256(read().tobytes()).hexdigest()[:16])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == sha(image)


def test_parts_have_their_sizes_and_share_no_patient() -> None:
    chosen = selection()
    assert (len(chosen.test), len(chosen.train)) == (64, 200)
    assert not {s.patient_id for s in chosen.test} & {s.patient_id for s in chosen.train}
    assert len({s.study_id for s in (*chosen.test, *chosen.train)}) == 264
    for step in chosen.attrition:
        assert step.after + step.dropped == step.before
    assert Phantom().missing() is None


def test_every_kind_of_finding_is_in_the_test_part() -> None:
    drawn = [f for c, _ in pairs()[:64] for f in c.findings]
    assert {f.kind for f in drawn} == set(LABELS)
    assert {f.change for f in drawn} == {"", "new", "larger", "smaller", "unchanged"}
    assert {(f.kind, f.size) for f in drawn} >= {(k, s) for k in ("effusion",) for s in SIZES[k]}
    assert any(not c.findings for c, _ in pairs()[:64])
    assert {c.view for c, _ in pairs()[:64]} == {"PA", "AP"}


@pytest.mark.parametrize("size", [64, 512, 700])
def test_pictures_have_the_asked_size_and_use_the_grey_scale(size: int) -> None:
    study = next(s for s in Phantom(4, 0, size).select().test if len(s.request.images) == 2)
    for image in study.request.images:
        grey = image.pixels()
        assert (grey.shape, grey.dtype) == ((size, size), np.uint8)
        assert grey.min() < 20
        assert grey.max() > 170


@pytest.mark.parametrize("finding", FINDINGS, ids=str)
def test_boxes_are_where_the_picture_changes(finding: Finding) -> None:
    """Drawn with and without the finding, the pictures differ in its boxes and fill them."""
    size = 512
    with_it, without = (frontal(c, size).astype(int) for c in (case(finding), case()))
    changed = np.abs(with_it - without) > 8
    inside = np.zeros_like(changed)
    for x_min, y_min, x_max, y_max in Frontal(case(finding), size).boxes(finding):
        rows = slice(round(y_min * size), round(y_max * size))
        columns = slice(round(x_min * size), round(x_max * size))
        inside[rows, columns] = True
        tight = changed[rows, columns]
        for side in (tight[:12], tight[-12:], tight[:, :12], tight[:, -12:]):
            assert side.any(), "the box is larger than what is drawn"
    if finding.kind == "pneumothorax" and finding.size == "large":
        return  # the lung beside it is crowded and changes as well
    soft = 0.25 if finding.kind in ("oedema", "consolidation") else 0.12  # fading borders
    assert (changed & ~inside).sum() <= soft * changed.sum()


def test_findings_look_like_themselves() -> None:
    def shade(finding: Finding) -> tuple[float, float]:
        mask = Frontal(case(finding), 256).mask(finding) > 0.5
        pictures = [frontal(c, 2 * len(mask)) for c in (case(finding), case())]
        mask = np.kron(mask, np.ones((2, 2), bool))
        return float(pictures[0][mask].mean()), float(pictures[1][mask].mean())

    for finding in FINDINGS[:10]:
        seen, normal = shade(finding)
        assert seen < normal - 8 if finding.kind == "pneumothorax" else seen > normal + 20, finding


def test_the_heart_is_drawn_to_the_ratio_that_the_report_says() -> None:
    heart = Finding("cardiomegaly")
    for ratio in (0.55, 0.65):
        film = Frontal(replace(case(heart), ratio=ratio), 512)
        ((x_min, _, x_max, _),) = film.boxes(heart)
        chest = np.flatnonzero((sum(film.cavities.values()) > 0.5).any(axis=0))
        assert (x_max - x_min) * 256 / (chest[-1] - chest[0] + 1) == pytest.approx(ratio, abs=0.02)
    for drawn, study in pairs():
        magnified = 0.05 if drawn.view == "AP" else 0
        assert drawn.has("cardiomegaly") == (drawn.ratio - magnified > ENLARGED)
        if "ratio of" in (study.reference.findings or ""):
            assert f"ratio of {drawn.ratio:.2f}" in (study.reference.findings or "")


def test_the_rules_labeler_reads_what_was_drawn() -> None:
    pytest.importorskip("negspacy", reason="the rules extra is not installed")
    from reportcard.core import registry
    from reportcard.metrics._label_f1 import LABELS as NAMES

    labeler = registry.annotators.get("chexpert_rules")()
    notes = labeler.annotate([study.reference.text() for _, study in pairs()])
    judged = (*LABELS.values(), "No Finding")
    for (drawn, study), note in zip(pairs(), notes, strict=True):
        wanted = {LABELS[f.kind] for f in drawn.findings} | ({"No Finding"} - {drawn.abnormal})
        wanted -= {"No Finding"} if drawn.abnormal else set()
        found = {NAMES[i] for i, code in enumerate(note["labels"]) if code == 1}
        assert found & set(judged) == wanted, study.reference.findings


def test_phrases_are_the_report_and_only_findings_have_boxes() -> None:
    for drawn, study in pairs():
        phrases = study.reference.phrases
        assert " ".join(p.text for p in phrases) == study.reference.findings
        film = Frontal(drawn, 512)
        expected = sorted(box for f in drawn.findings for box in film.boxes(f))
        boxes = [(b.x_min, b.y_min, b.x_max, b.y_max) for p in phrases for b in p.boxes]
        assert sorted(boxes) == expected
        for phrase in phrases:
            if phrase.text.startswith(("No ", "There is no", "Normal")):
                assert phrase.boxes == ()


def test_no_report_contradicts_what_was_drawn() -> None:
    for drawn, study in pairs():
        if any(drawn.has(kind) for kind in SIZES) or drawn.has("nodule"):  # lung or pleura
            assert "lungs are clear" not in (study.reference.findings or "").lower()
        assert (study.groups["normal"] == "normal") == (not drawn.findings)
        if drawn.findings:
            assert study.reference.impression not in NORMAL


def test_a_bilateral_effusion_is_one_phrase_with_two_boxes() -> None:
    both = [p for _, s in pairs() for p in s.reference.phrases if "bilateral pleural" in p.text]
    assert both
    assert {len(p.boxes) for p in both} == {2}


def test_a_prior_is_the_study_before_and_the_report_compares() -> None:
    chosen = selection()
    later = [s for s in chosen.test if s.request.prior]
    known = {s.study_id: s for s in chosen.test}
    assert later
    for study in chosen.test:
        stem, number = study.study_id.rsplit("-", 1)
        before = known.get(f"{stem}-{int(number) - 1}")
        assert (study.request.prior is None) == (before is None)
        assert (study.request.comparison is None) == (before is None)
        if before is not None:
            assert study.request.prior is not None
            assert study.request.prior.images == before.request.images
            assert study.request.prior.report == before.reference
            assert study.patient_id == before.patient_id


def test_findings_grow_and_shrink_as_the_report_says() -> None:
    cases = {c.study_id: (c, s) for c, s in pairs()}
    seen = set()
    for drawn, study in cases.values():
        stem, number = drawn.study_id.rsplit("-", 1)
        for finding in drawn.findings:
            if finding.change not in ("larger", "smaller") or finding.kind not in SIZES:
                continue
            before, _ = cases[f"{stem}-{int(number) - 1}"]
            (old,) = (f for f in before.findings if f.name == finding.name)
            order = SIZES[finding.kind]
            step = order.index(finding.size) - order.index(old.size)
            assert step == (1 if finding.change == "larger" else -1)
            words = {"larger": ("increased", "larger", "worsened")}
            words["smaller"] = ("decreased", "smaller", "improved")
            assert any(w in (study.reference.findings or "") for w in words[finding.change])
            seen.add(finding.change)
        for gone in drawn.resolved:
            assert "has resolved" in (study.reference.findings or "") or gone.kind in DEVICES
    assert seen == {"larger", "smaller"}


def test_reports_vary() -> None:
    texts = [study.reference.findings for _, study in pairs()]
    assert len(set(texts)) > 0.9 * len(texts)
    for kind in (*SIZES, "nodule", "cardiomegaly"):
        words = set()
        for k in range(40):
            finding = Finding(kind, "right", SIZES.get(kind, ("",))[0], "RUL", 10)
            varied = replace(case(finding), key=str(k), ratio=0.6)
            words |= {text for text, about in sentences(varied, 40) if about}
        assert len(words) >= 3, kind


def test_the_fingerprint_covers_size_and_seed() -> None:
    def cohort(**options: object) -> Cohort:
        return load_cohort(Plugin("phantom", "phantom", {"test": 6, "train": 0, **options}))

    prints = [
        cohort(**o).fingerprint for o in ({}, {"size": 256}, {"seed": 1}, {"task": "findings"}, {})
    ]
    assert len(set(prints)) == 4
    assert prints[0] == prints[-1]


def test_a_smaller_part_is_the_beginning_of_a_larger_one() -> None:
    few = Phantom(test=5, train=0).select().test
    assert [s.study_id for s in few] == [s.study_id for s in selection().test[:5]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 63}, "size must be in 64"),
        ({"size": 101}, "size must be even"),
        ({"test": 0}, "test must be in 1"),
        ({"train": "x"}, "train must be in 0"),
        ({"task": "poetry"}, "task is findings or grounded_findings"),
    ],
)
def test_options_that_make_no_sense_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ReportCardError, match=message):
        Phantom(**options)  # type: ignore[arg-type]


SMALL = ("dataset.test=4", "dataset.train=6", "dataset.size=64", "tracking=none")


def test_the_suite_leaves_pixels_out_where_there_are_none(
    tmp_path: Path, mini_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = (f"data_dir={mini_data}", f"results_dir={tmp_path / 'r'}", "metrics=rouge")
    assert main(["run", "dataset=openi_findings,phantom", *SMALL, *where]) == 0
    out = capsys.readouterr()
    assert "left out: pixel_retrieval needs images" in out.out
    assert out.err == ""
    ran = {p.parent.name.split("@")[0] for p in (tmp_path / "r").glob("predictions/*/pixel*")}
    assert ran == {"phantom"}
    asked = ["run", "dataset=openi_findings", "model=pixel_retrieval,empty_report", *where]
    assert main([*asked, "tracking=none"]) == 2
    assert "pixel_retrieval needs images" in capsys.readouterr().err


def test_grounded_cohort_asks_for_boxes(tmp_path: Path) -> None:
    options = ("dataset=phantom", "model=reference_oracle", "metrics=rouge", *SMALL)
    assert main(["run", *options, f"results_dir={tmp_path / 'r'}"]) == 0
    (path,) = (tmp_path / "r").glob("predictions/phantom@*/*/predictions.jsonl")
    assert '"boxes":[{' in path.read_text()


def test_sides_are_the_patients() -> None:
    """The patient's right is on the left of the picture."""
    for side, sign in SIGNS.items():
        ((x_min, _, x_max, _),) = Frontal(case(), 512).boxes(Finding("effusion", side, "large"))
        assert (x_min + x_max) / 2 < 0.5 if sign < 0 else (x_min + x_max) / 2 > 0.5
