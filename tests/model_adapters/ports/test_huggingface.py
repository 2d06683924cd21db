"""Chat models by YAML: tiny checkpoints of five published architectures, and every preset."""

# ruff: noqa: E402 (torch is looked for first)

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the gpu extra: torch")
pytest.importorskip("transformers", reason="needs the gpu extra: transformers")

from reportcard.api import (
    Box,
    Image,
    ImageError,
    Prediction,
    Prior,
    Report,
    ReportCardError,
    Request,
)
from reportcard.model_adapters import _chat_models
from reportcard.model_adapters.huggingface import HuggingFace
from reportcard.predict.engines.local import generate
from tests.model_adapters.ports.checkpoints import chat

TEXTS = ("cough", None, "chest pain  // r/o pneumonia, a much longer story than the others", "x")


class Noise:
    """Pixels that follow from a number."""

    def __init__(self, seed: int, height: int = 80, width: int = 100) -> None:
        self.seed, self.shape = seed, (height, width)

    def __call__(self) -> Any:
        return np.random.default_rng(self.seed).integers(0, 255, self.shape).astype(np.uint8)


def frontal(n: int) -> Image:
    return Image(f"f{n}", "PA", read=Noise(n, 80 + 9 * n, 100 - 7 * n))


def study(n: int, images: int = 1, **more: Any) -> Request:
    views = (frontal(n), Image(f"l{n}", "LATERAL", read=Noise(50 + n)))
    return Request(f"s{n}", views[:images], indication=TEXTS[n % 4], **more)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def write(kind: str) -> Path:
        if kind not in made:
            made[kind] = chat.WRITERS[kind](tmp_path_factory.mktemp(kind))
        return made[kind]

    return write


def adapter(folder: Path, **options: Any) -> HuggingFace:
    defaults = {"context": ["Indication: {indication}"], "max_new_tokens": 10, "device": "cpu"}
    return HuggingFace(str(folder), **{**defaults, **options})


def generate_all(model: HuggingFace, requests: list[Request]) -> list[Prediction]:
    """As a run asks: a study that fails costs its own answer."""
    answers = [a for batch in generate(model, requests, 8, True) for a in batch]
    return sorted(answers, key=lambda answer: answer.study_id)


@pytest.mark.parametrize("kind", chat.WRITERS)
def test_an_answer_does_not_depend_on_its_batch(kind: str, written: Callable[[str], Path]) -> None:
    """Two images in some studies, prompts of many lengths; no architecture needs torchvision."""
    model = adapter(written(kind), images=["frontal", "lateral"])
    assert model.missing() is None
    requests = [study(n, 1 + n % 2) for n in range(4)]
    model.plan(requests)
    together = model.generate(requests)
    assert [model.generate([r])[0] for r in requests] == together
    assert model.generate(requests[::-1])[::-1] == together
    assert len({p.token_ids for p in together}) > 1
    assert [p.used for p in together[:2]] == [("frontal", "indication"), ("frontal", "lateral")]


@pytest.mark.parametrize("kind", chat.WRITERS)
def test_the_prompt_that_is_shown_is_the_one_that_is_fed(
    kind: str, written: Callable[[str], Path]
) -> None:
    """One bos, padding on the left, and between the placeholders the ids of `reportcard prompt`."""
    model, seen = adapter(written(kind)), []
    model.load()
    real = model._model.generate
    model._model.generate = lambda **inputs: seen.append(inputs) or real(**inputs)
    requests = [study(0), study(2)]
    answers = model.generate(requests)
    (inputs,) = seen
    tokenizer = model._processor().tokenizer
    bos, _, _, mark = chat.ROLES[kind]
    assert bool(inputs["attention_mask"][:, -1].all())
    assert not bool(inputs["attention_mask"].all())
    for row, request, answer in zip(inputs["input_ids"].tolist(), requests, answers, strict=True):
        fed = row[-answer.tokens_in :] if answer.tokens_in else []
        prompt = model.prompt(request)
        assert prompt.ids is not None
        assert fed.count(tokenizer.bos_token_id) == (1 if bos else 0)
        assert prompt.text.count(mark) == 1
        tail = prompt.ids[-20:]
        assert tuple(fed[-20:]) == tail
        assert fed[:5] == list(prompt.ids[:5])


def test_only_the_images_of_the_preset_are_shown(written: Callable[[str], Path]) -> None:
    request = study(
        0, 2, comparison="none", prior=Prior((frontal(7),), Report("Clear.", "Normal.")), age=61.0
    )
    folder = written("llava")
    prompt = adapter(folder, images=["prior", "frontal"]).prompt(request)
    assert [i.image_id for i in prompt.images] == ["f7", "f0"]
    assert prompt.used == ("prior_image", "frontal", "indication")
    assert set(prompt.left_out) == {"lateral", "comparison", "prior_report", "age"}
    text_first = adapter(folder, image_first=False, system="Be brief.").prompt(request)
    assert text_first.text.startswith("<s>SYSTEM: Be brief.\nUSER: Indication: cough\n")
    assert text_first.text.index("chest X-ray.") < text_first.text.index("<image>")


def test_without_weights_the_instruction_is_shown() -> None:
    model = HuggingFace(instruction="Say {sex} {age}.\nFindings?", system="Be brief.")
    assert model.prompt(study(0)).text == "Be brief.\nFindings?"
    assert model.prompt(study(0, sex="F", age=40.5)).text == "Be brief.\nSay F 40.5.\nFindings?"
    with pytest.raises(ImageError):
        model.prompt(Request("s"))


def test_words_of_a_report_are_not_read_as_fields() -> None:
    model = HuggingFace(instruction="{indication} {phrase}\nGo. \\boxed{{}}")
    prompt = model.prompt(study(0, phrase="{age} {indication}", age=3.0))
    assert prompt.text == "cough {age} {indication}\nGo. \\boxed{{}}"


def test_pixels_decide_the_answer(written: Callable[[str], Path]) -> None:
    model = adapter(written("llava"))
    one = model.generate([study(0)])[0]
    other = model.generate([Request("s0", (frontal(3),), indication=TEXTS[0])])[0]
    assert one.token_ids != other.token_ids


def test_an_answer_ends_at_the_checkpoints_own_end(
    written: Callable[[str], Path], tmp_path: Path
) -> None:
    """generation_config of the fixture asks for sampling: only its end tokens are used."""
    model = adapter(written("llava"))
    first = model.generate([study(0)])[0]
    assert first.status == "truncated"
    assert (first.tokens_out, len(first.token_ids or ())) == (10, 10)
    assert first.token_ids is not None
    folder = tmp_path / "ends"
    shutil.copytree(written("llava"), folder)
    config = json.loads((folder / "generation_config.json").read_text())
    config["eos_token_id"] = [first.token_ids[4]]
    (folder / "generation_config.json").write_text(json.dumps(config))
    stopped = adapter(folder).generate([study(0)])[0]
    assert stopped.status == "ok"
    assert stopped.token_ids == first.token_ids[:4]


def test_sampling_is_seeded_and_independent_of_the_batch(written: Callable[[str], Path]) -> None:
    def answers(seed: int, requests: list[Request]) -> list[Any]:
        sampling = {"temperature": 3.0, "top_p": 0.95, "draws": 2, "seed": seed}
        return [p.token_ids for p in adapter(folder, sampling=sampling).generate(requests)]

    folder = written("llava")
    requests = [study(0), study(0, draw=1), study(2)]
    together = answers(1, requests)
    assert together == [answers(1, [r])[0] for r in requests]
    assert together[0] != together[1]
    assert answers(2, requests) != together


def test_max_pixels_reaches_the_processor(written: Callable[[str], Path]) -> None:
    few = {"min_pixels": 28 * 28, "max_pixels": 28 * 28 * 4}
    folder = written("qwen2_5_vl")
    small = adapter(folder, processor=few).generate([study(0)])[0].tokens_in
    assert small is not None
    assert small < (adapter(folder).generate([study(0)])[0].tokens_in or 0)


def test_half_precision_gemma_is_refused_before_it_says_nothing(
    written: Callable[[str], Path],
) -> None:
    model = adapter(written("gemma3"), dtype="float16")
    assert "Gemma 3 overflows in float16" in (model.missing() or "")
    with pytest.raises(ReportCardError, match="bfloat16"):
        model.load()
    assert adapter(written("gemma3"), dtype="bfloat16").generate([study(0)])[0].token_ids
    assert adapter(written("llava"), dtype="float16").missing() is None


def test_a_bad_image_costs_its_own_study(written: Callable[[str], Path]) -> None:
    absent = Request("gone", (Image("gone", "PA"),))
    hostile = Request("hostile", (frontal(1),), indication="<image> and <image>")
    model = adapter(written("llava"))
    batches = generate(model, [study(0), absent, hostile, study(2)], 4, quote_errors=True)
    found = {p.study_id: p.status for batch in batches for p in batch}
    assert found["gone"] == "failed"
    assert found["hostile"] == "failed"
    assert {found["s0"], found["s2"]} <= {"ok", "truncated", "empty"}


def test_phrase_grounding_has_its_own_instruction_and_answer(
    written: Callable[[str], Path],
) -> None:
    model = adapter(
        written("llava"),
        instruction={"findings": "Report.", "phrase_grounding": "Locate: {phrase}"},
        answer={"findings": "plain", "phrase_grounding": "boxes_0_1"},
    )
    request = study(0, task="phrase_grounding", phrase="left effusion")
    assert "Indication" not in model.prompt(request).text
    assert "Locate: left effusion" in model.prompt(request).text
    from reportcard.models.staged import Completion

    read = model.report(model.prepare(request), Completion("It is at [0.1, 0.2, 0.5, 0.6]."))
    assert read.phrases[0].text == "left effusion"
    assert read.phrases[0].boxes == (Box(0.1, 0.2, 0.5, 0.6),)
    with pytest.raises(ReportCardError, match="has no phrase"):
        model.prompt(study(0, task="phrase_grounding"))
    # Without an instruction for boxes it writes its findings.
    assert "Report." in model.prompt(study(0, task="grounded_findings")).text
    with pytest.raises(ReportCardError, match="no instruction for phrase_grounding"):
        adapter(written("llava")).prompt(request)


@pytest.mark.parametrize("kind", chat.WRITERS)
def test_a_study_that_spells_the_image_placeholder_fails_with_a_sentence(
    kind: str, written: Callable[[str], Path]
) -> None:
    model = adapter(written(kind))
    token = model._processor().image_token
    spelt = replace(study(0), indication=f"see {token} above")
    bad, good = generate_all(model, [spelt, study(1)])
    assert (bad.status, good.status) == ("failed", "truncated")
    assert f"The study's text contains {token}" in str(bad.error)


@pytest.mark.parametrize("kind", chat.WRITERS)
def test_a_study_that_spells_a_control_token_fails_with_a_sentence(
    kind: str, written: Callable[[str], Path]
) -> None:
    model = adapter(written(kind))
    tokenizer = model._processor().tokenizer
    for token in tokenizer.all_special_tokens:
        spelt = replace(study(0), indication=f"see {token} above")
        with pytest.raises(ReportCardError, match=r"The study's (text|indication) contains"):
            model.prompt(spelt)
    assert model.prompt(replace(study(0), indication="a < b > c [x] 3/4")).ids


def test_a_pinned_hub_id_may_be_downloaded_later(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = f"nobody/nothing@{'0' * 40}"
    assert HuggingFace(pinned, device="cpu").missing() is None
    assert HuggingFace(pinned).identity["weights"] == pinned
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "hf download nobody/nothing" in str(HuggingFace(pinned).missing())


def test_identity_follows_what_decides_the_answers(written: Callable[[str], Path]) -> None:
    folder = written("llava")
    same = adapter(folder, batch_size=1).identity
    assert same == adapter(folder, batch_size=4).identity
    for change in (
        *({"instruction": "Other."}, {"system": "x"}, {"context": []}, {"answer": "boxed"}),
        *({"images": ["frontal", "prior"]}, {"image_first": False}, {"max_new_tokens": 11}),
        *({"processor": {"max_pixels": 1}}, {"dtype": "bfloat16"}),
    ):
        assert adapter(folder, **change).identity != same, change
    assert adapter(written("gemma3")).identity != same


def _without(folder: Path, target: Path, *names: str) -> Path:
    shutil.copytree(folder, target)
    for name in names:
        (target / name).unlink()
    return target


def test_a_checkpoint_that_will_not_do_is_named(
    written: Callable[[str], Path], tmp_path: Path
) -> None:
    whole = written("llava")
    no_template = _without(whole, tmp_path / "a", "chat_template.jinja")
    assert "no chat template" in (adapter(no_template).missing() or "")
    pickled = _without(whole, tmp_path / "b", "model.safetensors")
    (pickled / "pytorch_model.bin").write_bytes(b"")
    assert "lacks *.safetensors" in (adapter(pickled).missing() or "")
    cut = _without(whole, tmp_path / "c")
    content = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(content[:-100])
    assert "an incomplete download" in (adapter(cut).missing() or "")
    other = _without(whole, tmp_path / "d")
    shutil.copy(written("gemma3") / "model.safetensors", other / "model.safetensors")
    with pytest.raises(ReportCardError, match=r"not a whole checkpoint|cannot be loaded"):
        adapter(other).load()
    foreign = _without(whole, tmp_path / "e", "processor_config.json")
    config = {"model_type": "strange", "auto_map": {"AutoConfig": "code.StrangeConfig"}}
    (foreign / "config.json").write_text(json.dumps(config))
    (foreign / "code.py").write_text("raise SystemExit('ran code of a checkpoint')")
    assert "no processor" in (adapter(foreign).missing() or "")  # nor is standard input read


def test_memory_is_estimated_from_shapes_and_config(written: Callable[[str], Path]) -> None:
    folder = written("llava")
    size = (folder / "model.safetensors").stat().st_size
    assert abs(_chat_models._weight_bytes(folder, "float32") - size) < 0.1 * size
    assert _chat_models._bytes_per_token(folder, "bfloat16") == 2 * 2 * 2 * 8 * 2


def test_options_that_do_not_fit_are_named() -> None:
    for options, word in (
        ({"answer": "json"}, "answer"),
        ({"images": ["front"]}, "images"),
        ({"paper_dtype": "int8"}, "paper_dtype"),
        ({"instruction": ""}, "instruction"),
    ):
        with pytest.raises(ReportCardError, match=word):
            HuggingFace(**options)  # type: ignore[arg-type]
