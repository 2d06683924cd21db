"""What each isolated adapter tells its worker and makes of its answer; no weights, no packages."""

from __future__ import annotations

import ast
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from reportcard.api import (
    Box,
    Image,
    ImageError,
    ModelCard,
    Prior,
    Report,
    ReportCardError,
    Request,
)
from reportcard.config import compose as config
from reportcard.core import registry
from reportcard.models.isolated.adapter import IsolatedAdapter, Task

PRESETS = [
    *("chexagent2", "chexagent2_srrg", "llava_med", "libra", "radialog", "r2gen_mimic", "r2gen_iu"),
    *("cxrmate", "cxrmate_multi_tf", "cxrmate_single_tf", "cxrmate_rrg24", "cxrmate_2"),
]


def _read() -> np.ndarray:
    return np.zeros((4, 4), np.uint8)


PA, LL, OLD = (Image(i, v, read=_read) for i, v in (("pa", "PA"), ("ll", "LL"), ("old", "AP")))
STUDY = Request(
    "s1",
    (LL, PA),
    prior=Prior((OLD,), Report("Clear lungs.", "Normal.")),
    indication="chest pain  // r/o pna",
)


def build(preset: str, **options: object) -> IsolatedAdapter:
    plugin = config.load([f"model={preset}"]).models[0]
    made = registry.models.build(plugin.plugin, {**plugin.options, **options}, preset)
    assert isinstance(made, IsolatedAdapter)
    return made


def told(task: Task) -> tuple[str, list[str], tuple[str, ...]]:
    return task.prompt, [image.image_id for image in task.images], task.used


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_says_what_it_lacks_and_that_it_is_unverified(preset: str) -> None:
    adapter = build(preset)
    reason = adapter.missing()
    assert reason is not None
    assert "weights" in reason
    assert isinstance(adapter.card, ModelCard)
    assert "unverified" in adapter.card.description
    assert adapter.card.needs_pixels
    assert adapter.identity["requirements"]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_folder_that_moves_stays_the_same_model(preset: str, tmp_path: Path) -> None:
    cards = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        for name in build(preset).needs:
            (tmp_path / place / name.replace("*", "model")).write_text("{}")
        cards.append(build(preset, weights=str(tmp_path / place)).card)
    assert cards[0] == cards[1]
    assert str(cards[0].weights).startswith("sha256:")


def test_a_phrase_that_was_not_located_is_no_answer() -> None:
    adapter = build("chexagent2")
    request = Request("s", (PA,), task="phrase_grounding", phrase="left effusion")
    task = adapter.task(request)
    box = {"text": "", "boxes": ["(10,20),(30,40)"]}
    status = [
        adapter._prediction(request, task, answer).status
        for answer in ({"text": " "}, {"text": "It cannot be seen."}, box)
    ]
    assert status == ["empty", "ok", "ok"]


@pytest.mark.parametrize("preset", PRESETS)
def test_workers_are_python_3_7_and_know_nothing_of_the_harness(preset: str) -> None:
    adapter = build(preset)
    tree = ast.parse(adapter.worker.read_text(), feature_version=(3, 7))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {"load", "answer"} <= functions
    imported = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    imported += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    assert not {name for name in imported if name and name.startswith(("harness", "model_adap"))}


def test_the_harness_side_of_a_worker_is_python_3_7() -> None:
    from reportcard.models.isolated import worker_main

    ast.parse(Path(worker_main.__file__).read_text(), feature_version=(3, 7))


def test_chexagent_is_asked_as_its_authors_ask() -> None:
    adapter = build("chexagent2")
    assert told(adapter.task(STUDY)) == (
        'Given the indication: "chest pain  // r/o pna", write a structured findings section for'
        " the CXR.",
        ["pa", "ll"],
        ("frontal", "lateral", "indication"),
    )
    for text in ("  pain ", "", None):
        task = adapter.task(replace(STUDY, indication=text))
        assert f'Given the indication: "{text or ""}", write' in task.prompt  # f-string upstream
        assert ("indication" in task.used) == bool((text or "").strip())
    srrg = build("chexagent2_srrg").task(STUDY)
    assert srrg.prompt == "Structured Radiology Report Generation for Findings Section"
    assert "indication" in srrg.left_out
    answer = {"text": "**Lungs:** clear [1]\n\nHeart  normal"}
    assert adapter.report(STUDY, answer) == Report("Lungs: clear Heart normal")
    with pytest.raises(ImageError):
        adapter.task(Request("s"))


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        (["(10,20),(30,40)"], (Box(0.1, 0.2, 0.3, 0.4),)),
        (["(0, 0), (100, 100)", "(10,20),(30,40)"], (Box(0, 0, 1, 1), Box(0.1, 0.2, 0.3, 0.4))),
        (["(30,20),(10,40)", "(1,2),(999,4)", "none", 7, None], ()),
        ("(10,20),(30,40)", ()),
        (None, ()),
    ],
)
def test_chexagents_boxes_are_hundredths_and_hostile_until_parsed(
    boxes: object, expected: tuple[Box, ...]
) -> None:
    adapter = build("chexagent2")
    request = Request("s", (PA,), task="phrase_grounding", phrase="left effusion")
    assert adapter.task(request).prompt == "Please locate the following phrase: left effusion"
    (phrase,) = adapter.report(request, {"text": "", "boxes": boxes}).phrases
    assert (phrase.text, phrase.boxes) == ("left effusion", expected)
    with pytest.raises(ReportCardError, match="needs a phrase"):
        adapter.task(Request("s", (PA,), task="phrase_grounding"))


def test_libra_gets_current_then_prior() -> None:
    prompt, images, used = told(build("libra").task(STUDY))
    assert prompt == (
        "Provide a detailed description of the findings in the radiology image. Following clinical"
        " context: Indication: chest pain  // r/o pna"
    )
    assert (images, used) == (["pa", "old"], ("frontal", "prior_image", "indication"))
    assert told(build("libra").task(Request("s", (PA,))))[1] == ["pa"]


def test_cxrmate_keeps_sections_apart_and_hands_on_the_prior_report_where_it_is_read() -> None:
    longitudinal = build("cxrmate").task(STUDY)
    assert longitudinal.more == {"prior_findings": "Clear lungs.", "prior_impression": "Normal."}
    assert longitudinal.used == ("frontal", "lateral", "prior_report")
    assert build("cxrmate_rrg24").task(STUDY).more == {}
    assert told(build("cxrmate_single_tf").task(STUDY))[1] == ["pa"]
    answer = {"text": "a\nb", "findings": " Clear. ", "impression": "Normal."}
    assert build("cxrmate_2").report(STUDY, answer) == Report("Clear.", "Normal.")
    assert build("cxrmate_2").report(STUDY, {"text": "x", "findings": 3}) == Report(None, None)


def test_radialog_needs_a_classifiers_findings(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    given = {"weights": str(weights), "code": str(tmp_path), "env": "/bin/sh"}
    assert "needs a CheXpert classifier's predictions" in (
        build("radialog", **given).missing() or ""
    )
    table = tmp_path / "findings.csv"
    table.write_text('study_id,findings\ns1,"Edema, Pleural Effusion"\ns2,\n')
    adapter = build("radialog", **given, findings=str(table))
    assert adapter.missing() is None
    prompt = adapter.task(STUDY).prompt
    assert prompt.startswith(
        "<image>. Predicted Findings: edema, pleural effusion. You are to act as a radiologist"
    )
    assert "Findings: no finding." in adapter.task(Request("s2", (PA,))).prompt
    with pytest.raises(ReportCardError, match="has no row for this study"):
        adapter.task(Request("s3", (PA,)))
    before = dict(adapter.identity)
    table.write_text("study_id,findings\ns1,Edema\n")
    assert dict(adapter.identity) != before


def test_r2gen_needs_the_annotation_of_its_training_and_its_views(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "model_mimic_cxr.pth").write_bytes(b"x")
    given = {"weights": str(weights), "code": str(tmp_path), "env": "/bin/sh"}
    assert "rebuilds its vocabulary" in (build("r2gen_mimic", **given).missing() or "")
    assert told(build("r2gen_mimic").task(STUDY))[1] == ["pa"]
    assert told(build("r2gen_iu").task(STUDY))[1] == ["pa", "ll"]
    with pytest.raises(ImageError, match="needs 2 image"):
        build("r2gen_iu").task(Request("s", (PA,)))


def test_a_blank_indication_is_none_for_chexagent() -> None:
    task = build("chexagent2").task(Request("s", (PA,), indication="  \n"))
    assert task == build("chexagent2").task(Request("s", (PA,)))
    assert 'indication: ""' in task.prompt


def test_cxrmate_2_honours_max_new_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker imports what only its own environment has; generation's options are plain data."""
    adapter = build("cxrmate_2", max_new_tokens=7)
    told: dict[str, object] = {}

    class Tokenizer:
        eos_token_id = 2

    class Given(dict):  # type: ignore[type-arg]
        def to(self, device: str) -> Given:
            return self

    class Tool:
        tokenizer = Tokenizer()

        def __call__(self, images: object) -> Given:
            return Given()

        def split_and_decode_sections(self, ids: object) -> tuple[list[str], list[str]]:
            return ["Clear."], ["Normal."]

    class Model:
        device = "cpu"

        def generate(self, generation_config: SimpleNamespace) -> np.ndarray:
            told.update(vars(generation_config))
            return np.array([[1, 2]])

    published = SimpleNamespace(max_new_tokens=512, num_beams=4)
    source = SimpleNamespace(from_pretrained=lambda *args, **options: published)
    transformers = SimpleNamespace(GenerationConfig=source)
    torch = SimpleNamespace(inference_mode=lambda: lambda function: function)
    vision = SimpleNamespace(v2=None)
    modules = {"transformers": transformers, "torch": torch, "torchvision.transforms": vision}
    modules["torchvision"] = SimpleNamespace(transforms=vision)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    worker = runpy.run_path(str(adapter.worker))
    settings = {"weights": "w", "max_new_tokens": adapter.max_new_tokens}
    answer = worker["_two"](Model(), Tool(), settings, [])
    assert (told, answer["finished"]) == ({"max_new_tokens": 7, "num_beams": 4}, True)
