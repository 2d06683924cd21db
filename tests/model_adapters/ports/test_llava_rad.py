"""LLaVA-Rad on a random checkpoint in the published layout, against arithmetic written out here."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

torch = pytest.importorskip("torch", reason="needs the gpu extra: torch")
pytest.importorskip("sentencepiece", reason="needs the gpu extra: sentencepiece")
from torch.nn import functional  # noqa: E402

from reportcard.api import Prior, Report, ReportCardError, Request  # noqa: E402
from reportcard.cli.main import main  # noqa: E402
from reportcard.model_adapters._shared.torch_runtime import memory_problem  # noqa: E402
from reportcard.model_adapters.llava_rad import LlavaRad  # noqa: E402
from tests.model_adapters.ports.checkpoints.dinov2 import DEPTH, WIDTH  # noqa: E402
from tests.model_adapters.ports.checkpoints.llava_rad import (  # noqa: E402
    ALPHA,
    RANK,
    write_base,
    write_llava_rad,
)
from tests.model_adapters.ports.requests import noise, request  # noqa: E402

TOKENS = 10
PINNED = "microsoft/llava-rad@" + "0" * 40


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llava_rad(tmp_path_factory.mktemp("llava-rad"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("vicuna"))


def adapter(own: Path | str, base: Path | str, **options: Any) -> LlavaRad:
    settings = {"max_new_tokens": TOKENS, "device": "cpu", **options}
    return LlavaRad(weights=str(own), base=str(base), **settings)


@pytest.fixture(scope="module")
def model(own: Path, base: Path) -> Iterator[LlavaRad]:
    found = adapter(own, base)
    found.load()
    yield found
    found.close()


@pytest.fixture
def copy(own: Path, base: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Checkpoint and base of one's own, to be spoilt."""
    shutil.copytree(own, tmp_path / "own")
    shutil.copytree(base, tmp_path / "base")
    return tmp_path / "own", tmp_path / "base"


# What it is told.

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. "
)
ASK = "USER: <image>\nProvide a description of the findings in the radiology image"


@pytest.mark.parametrize(
    ("indication", "said"),
    [
        ("cough", f"{ASK} given the following indication: cough ASSISTANT:"),
        ("pain\n// r/o  ptx", f"{ASK} given the following indication: pain // r/o  ptx ASSISTANT:"),
        # llava/eval/model_mimic_cxr.py: q.replace("<image>", "").strip() of the whole question
        ("  cough", f"{ASK} given the following indication:   cough ASSISTANT:"),
        ("cough \n ", f"{ASK} given the following indication: cough ASSISTANT:"),
        ("a <image> b", f"{ASK} given the following indication: a  b ASSISTANT:"),
        (" ", f"{ASK} given the following indication: ASSISTANT:"),
        ("", f"{ASK} given the following indication: ASSISTANT:"),
        (None, f"{ASK}. ASSISTANT:"),
    ],
)
def test_the_prompt_is_upstreams(indication: str | None, said: str) -> None:
    found = LlavaRad().prompt(request(1, indication=indication))
    assert (found.text, found.ids, found.max_new_tokens) == (SYSTEM + said, None, 256)
    assert found.used == (("frontal",) if indication is None else ("frontal", "indication"))


@pytest.mark.parametrize(
    "text", ["a  b", "pain // r/o   pna", "___ yo F", "é\tx", "", " lead", "<image>", "</s> <s>"]
)
def test_ids_are_sentencepieces_with_one_bos_and_one_place_for_the_image(
    own: Path, base: Path, text: str
) -> None:
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(base / "tokenizer.model"))
    found = adapter(own, base).prompt(request(1, indication=text))
    before, after = found.text.split("<image>", 1)
    assert found.ids == (1, *pieces.encode(before), -200, *pieces.encode(after))


def test_what_is_not_shown_is_said(own: Path, base: Path) -> None:
    lateral, second = noise(2, view="Lateral"), noise(3, view="AP")
    prior = Prior((noise(4),), Report(findings="Clear."))
    asked = Request(
        *("s", (lateral, second, noise(5)), prior, "cough", "PA and lateral", "None", 61.0, "F")
    )
    found = LlavaRad().prompt(asked)
    assert [image.image_id for image in found.images] == ["PA-5"]
    assert set(found.left_out) == {
        *("lateral", "other_images", "prior_image", "prior_report"),
        *("technique", "comparison", "age", "sex"),
    }
    assert not LlavaRad().prompt(request(1)).left_out
    with pytest.raises(ReportCardError, match="no frontal"):
        LlavaRad().prompt(Request("s", (lateral,)))
    with pytest.raises(ReportCardError, match="cannot point"):
        LlavaRad().prompt(request(1, task="phrase_grounding", phrase="nodule"))


# (height, width) → (width, height) after torchvision's Resize(518), (left, top) of its CenterCrop.
GEOMETRY = {
    (901, 640): ((518, 729), (0, 106)),
    (640, 901): ((729, 518), (106, 0)),
    (613, 500): ((518, 635), (0, 58)),
    (300, 400): ((690, 518), (86, 0)),
    (518, 518): ((518, 518), (0, 0)),
}


@pytest.mark.parametrize("shape", GEOMETRY)
def test_pixels_are_those_of_open_clips_transform(shape: tuple[int, int]) -> None:
    grey = noise(7, *shape).pixels()
    size, (left, top) = GEOMETRY[shape]
    image = PIL.Image.fromarray(grey).convert("RGB").resize(size, PIL.Image.Resampling.BICUBIC)
    values = torch.from_numpy(np.asarray(image.crop((left, top, left + 518, top + 518))).copy())
    values = values.permute(2, 0, 1).float().div(255)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    expected = values.sub(mean).div(std).numpy()
    assert np.array_equal(LlavaRad().pixels(grey), expected)


def test_pixels_of_a_ramp_have_not_changed() -> None:
    ramp = (np.arange(901)[:, None] * 3 + np.arange(640)[None, :] * 2).astype(np.uint8)
    found = LlavaRad().pixels(ramp)
    assert hashlib.sha256(found.tobytes()).hexdigest()[:16] == "663cdd6d0cf38ecc"


# What it makes of it.


def timm_features(state: dict[str, Any], pixels: Any) -> Any:
    """timm's VisionTransformer as published (vision_transformer.py, layer_scale.py), in full:
    hidden_states[-2] without the final norm, patches only."""
    x = functional.conv2d(
        pixels, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14
    )
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x], 1) + state["pos_embed"]
    for n in range(DEPTH - 1):
        block = {k.removeprefix(f"blocks.{n}."): v for k, v in state.items() if f"blocks.{n}." in k}

        def linear(name: str, value: Any, block: dict[str, Any] = block) -> Any:
            return functional.linear(value, block[f"{name}.weight"], block[f"{name}.bias"])

        def norm(name: str, value: Any, block: dict[str, Any] = block) -> Any:
            weight, bias = block[f"{name}.weight"], block[f"{name}.bias"]
            return functional.layer_norm(value, (WIDTH,), weight, bias, 1e-6)

        rows, tokens, _ = x.shape
        heads = WIDTH // 64
        qkv = linear("attn.qkv", norm("norm1", x)).reshape(rows, tokens, 3, heads, 64)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        seen = (q @ k.transpose(-2, -1) / 8).softmax(-1) @ v
        seen = linear("attn.proj", seen.transpose(1, 2).reshape(rows, tokens, WIDTH))
        x = x + block["ls1.gamma"] * seen
        inner = functional.gelu(linear("mlp.fc1", norm("norm2", x)))
        x = x + block["ls2.gamma"] * linear("mlp.fc2", inner)
    return x[:, 1:]


def trunk(own: Path) -> dict[str, Any]:
    state = torch.load(own / "biomedclipcxr_518_checkpoint.pt", weights_only=True)["state_dict"]
    mark = "module.visual.trunk."
    return {k.removeprefix(mark): v for k, v in state.items() if k.startswith(mark)}


@torch.inference_mode()
def test_an_image_becomes_what_timm_and_the_projector_make_of_it(
    model: LlavaRad, own: Path
) -> None:
    prepared = model.prepare(request(1, indication="cough"))
    pixels = torch.from_numpy(np.stack(prepared.pixels))
    mlp = torch.load(own / "non_lora_trainables.bin", weights_only=True)
    key = "base_model.model.model.mm_projector"
    x = timm_features(trunk(own), pixels)
    for n in (0, 2):
        x = functional.linear(x, mlp[f"{key}.{n}.weight"].float(), mlp[f"{key}.{n}.bias"].float())
        x = functional.gelu(x) if n == 0 else x
    found = model._network.encode(pixels)
    assert found.shape == (1, 1369, 64)
    assert float((found - x).abs().max() / x.abs().max()) < 1e-5


def test_lora_is_added_to_every_linear_layer_and_to_nothing_else(
    model: LlavaRad, own: Path, base: Path
) -> None:
    before: dict[str, Any] = {}
    for shard in base.glob("*.bin"):
        before |= torch.load(shard, weights_only=True)
    lora = torch.load(own / "adapter_model.bin", weights_only=True)
    changed = 0
    for name, weight in model._network.llama.state_dict().items():
        key = f"base_model.model.{name.removesuffix('.weight')}"
        expected = before[name]
        if f"{key}.lora_A.weight" in lora:
            product = lora[f"{key}.lora_B.weight"] @ lora[f"{key}.lora_A.weight"]
            expected, changed = expected + ALPHA / RANK * product, changed + 1
        assert torch.allclose(weight, expected, atol=1e-6), name
    assert changed * 2 == len(lora) == 2 * 7 * 2


@torch.inference_mode()
def test_the_answer_is_the_most_likely_token_each_time(model: LlavaRad) -> None:
    """Whatever the base model's generation_config asks for: it samples, up to 64 tokens in all."""
    asked = request(1, indication="cough and fever")
    (answer,) = model.generate([asked])
    prepared, lm = model.prepare(asked), model._network.llama
    ids = prepared.prompt.ids
    place, table = ids.index(-200), lm.get_input_embeddings()
    image = model._network.encode(torch.from_numpy(np.stack(prepared.pixels)))[0]
    row = [table(torch.tensor(ids[:place])), image, table(torch.tensor(ids[place + 1 :]))]
    x, said = torch.cat(row)[None], []
    for _ in range(TOKENS):
        said.append(int(lm(inputs_embeds=x).logits[0, -1].argmax()))
        x = torch.cat([x, table(torch.tensor([[said[-1]]]))], 1)
    assert answer.token_ids == tuple(said)
    assert answer.tokens_in == len(ids) - 1 + 1369
    assert (answer.status, answer.tokens_out) == ("truncated", TOKENS)
    assert answer.report.findings == answer.raw.strip()


def test_an_answer_depends_on_its_study_alone(model: LlavaRad) -> None:
    """Prompts of three lengths, so that padding on the wrong side would show."""
    asked = [
        request(1, indication="cough and fever, shortness of breath since yesterday"),
        request(2, indication="pain"),
        request(3),
        request(4, indication="pain"),
    ]
    together = model.generate(asked)
    assert [model.generate([r])[0].token_ids for r in asked] == [a.token_ids for a in together]
    assert model.generate(asked[::-1])[::-1] == together
    assert together[1].token_ids != together[3].token_ids, "another image, another answer"
    other = model.generate([replace(asked[1], indication="pacemaker")])
    assert other[0].token_ids != together[1].token_ids, "another indication, another answer"
    assert model.generate([]) == []


def test_an_image_asked_for_twice_is_kept_in_between(model: LlavaRad) -> None:
    first = request(1, indication="pain")
    again = replace(first, study_id="again", indication="cough")
    model.plan([first, again])
    seen = []
    encode = model._network.encode
    model._network.encode = lambda pixels: (seen.append(len(pixels)), encode(pixels))[1]
    try:
        alone = [model.generate([r])[0].token_ids for r in (first, again)]
    finally:
        model._network.encode = encode
    assert seen == [1]
    assert alone == [a.token_ids for a in model.generate([first, again])]


def test_a_finished_answer_ends_before_eos(
    model: LlavaRad, own: Path, copy: tuple[Path, Path]
) -> None:
    """With the rows of eos and of a token that is said exchanged, eos is said in its place."""
    asked = request(1, indication="cough")
    said = model.generate([asked])[0].token_ids
    end = next(n for n in range(3, TOKENS) if said[n] not in said[:n])
    for shard in copy[1].glob("*.bin"):
        state = torch.load(shard, weights_only=True)
        if "lm_head.weight" in state:
            rows = [2, said[end]]
            state["lm_head.weight"][rows] = state["lm_head.weight"][rows[::-1]]
            torch.save(state, shard)
    (answer,) = adapter(*copy).generate([asked])
    assert (answer.token_ids, answer.status) == (said[:end], "ok")


def test_half_precision_rounds_parameters_and_no_frequency(own: Path, base: Path) -> None:
    half = adapter(own, base, dtype="bfloat16")
    half.load()
    lm = half._network.llama
    assert {p.dtype for p in lm.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in half._network.encode.tower.parameters()} == {torch.bfloat16}
    buffers = {n: b.dtype for n, b in lm.named_buffers() if "inv_freq" in n}
    assert buffers
    assert set(buffers.values()) == {torch.float32}
    assert half.generate([request(1)])[0].status in ("ok", "truncated")


# What is wrong with a checkpoint.


def spoil(path: Path, change: Callable[[dict[str, Any]], None], inside: str | None = None) -> None:
    state = torch.load(path, weights_only=True)
    change(state[inside] if inside else state)
    torch.save(state, path)


def drop(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.pop(name)


def put(name: str, *shape: int) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.update({name: torch.zeros(*shape)})


TRUNK = "module.visual.trunk."
LORA = "base_model.model.model.layers.1.mlp.up_proj"
MLP = "base_model.model.model.mm_projector"
PT, BIN, LOW = (
    "biomedclipcxr_518_checkpoint.pt",
    "non_lora_trainables.bin",
    "adapter_model.bin",
)
SPOILT = [
    (PT, drop(f"{TRUNK}blocks.1.ls2.gamma"), "missing.*layer_scale2"),
    (PT, put(f"{TRUNK}reg_token", 1, 4, WIDTH), "no tensor of timm's.*reg_token"),
    (PT, put(f"{TRUNK}norm.bias", 5), "misshapen.*layernorm.bias"),
    (PT, put(f"{TRUNK}pos_embed", 1, 257, WIDTH), "misshapen.*position_embeddings"),
    (PT, put("module.visual.conv.weight", 2), "unexpected visual.conv"),
    (BIN, drop(f"{MLP}.2.bias"), "missing 2.bias"),
    (BIN, put(f"{MLP}.4.weight", 64, 64), "unexpected 4.weight"),
    (BIN, put(f"{MLP}.0.weight", 64, 9), "0.weight is .64, 9. and not"),
    (BIN, put("base_model.model.model.embed_tokens.weight", 2), "not a tensor of the projector"),
    (LOW, drop(f"{LORA}.lora_B.weight"), "lora_B of model.layers.1.mlp.up_proj is missing"),
    (LOW, put(f"{LORA}.bias", 2), "is no LoRA tensor"),
    (LOW, put(f"{LORA}.lora_A.weight", 8, 65), "another model|model.base"),
    (LOW, lambda s: (s.pop(f"{LORA}.lora_A.weight"), s.pop(f"{LORA}.lora_B.weight")), "1 of 14"),
]


@pytest.mark.parametrize(("file", "change", "said"), SPOILT, ids=[s[2][:20] for s in SPOILT])
def test_every_tensor_is_accounted_for(
    copy: tuple[Path, Path], file: str, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    spoil(copy[0] / file, change, "state_dict" if file == PT else None)
    with pytest.raises(ReportCardError, match=said):
        adapter(*copy).load()


def test_so_is_every_tensor_of_the_base_model(copy: tuple[Path, Path]) -> None:
    shards = sorted(copy[1].glob("*.bin"))
    name = next(n for n in torch.load(shards[0], weights_only=True) if "layernorm" in n)
    spoil(shards[0], drop(name))
    spoil(shards[1], put("model.layers.0.extra.weight", 3))
    with pytest.raises(ReportCardError) as error:
        adapter(*copy).load()
    assert name in str(error.value)
    assert "model.layers.0.extra.weight" in str(error.value)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_preflight_says_what_is_wrong(
    own: Path, base: Path, copy: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert adapter(own, base).missing() is None
    assert "no weights given" in str(LlavaRad().missing())
    assert "is a file" in str(adapter(own / "config.json", base).missing())
    assert "needs a commit" in str(adapter("microsoft/llava-rad", base).missing())
    assert "model.base: there is no folder" in str(adapter(own, "/nowhere").missing())
    assert "lacks biomedclipcxr_518.json" in str(adapter(base, base).missing())
    # A pinned hub id will be fetched, unless the hub is not to be asked.
    assert adapter(PINNED, base).missing() is None
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "hf download microsoft/llava-rad" in str(adapter(PINNED, base).missing())

    edit(copy[0] / "adapter_config.json", use_dora=True)
    with pytest.raises(ReportCardError, match="use_dora"):
        adapter(*copy).load()
    edit(copy[0] / "config.json", mm_vision_select_layer=-1)
    assert "mm_vision_select_layer -1" in str(adapter(*copy).missing())
    edit(copy[0] / "biomedclipcxr_518.json", vision_cfg={"image_size": 224})
    edit(copy[0] / "config.json", mm_vision_select_layer=-2)
    assert "224 pixels" in str(adapter(*copy).missing())
    (copy[0] / "adapter_model.bin.incomplete").touch()
    assert "an incomplete download" in str(adapter(*copy).missing())
    (copy[1] / "pytorch_model-00001-of-00002.bin").unlink()
    assert "1 of 2 shards" in str(adapter(own, copy[1]).missing())


def test_another_base_model_is_told_from_its_config(own: Path, tmp_path: Path) -> None:
    larger = write_base(tmp_path / "larger", vocabulary=731)
    problem = adapter(own, larger).missing()
    assert "vocab_size 731 where LLaVA-Rad has 700" in str(problem)
    with pytest.raises(ReportCardError, match="It needs Vicuna"):
        adapter(own, larger).load()


def test_a_cut_file_is_a_sentence(copy: tuple[Path, Path]) -> None:
    path = copy[0] / PT
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ReportCardError, match="cannot be read as a checkpoint"):
        adapter(*copy).load()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_missed_before_loading(own: Path, base: Path) -> None:
    assert "CUDA is not available" in str(adapter(own, base, device="cuda").missing())
    assert "no device 'gpu'" in str(adapter(own, base, device="gpu").missing())


def test_want_of_gpu_memory_is_told_before_loading(
    own: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes as for the real model: 7B in float16, 1369 + 256 + 256 tokens of 512 KiB."""
    weights, each, gib = 13_476_000_000, 1881 * 2 * 32 * 4096 * 2, 2**30
    assert memory_problem(weights, each, 8, 24 * gib) is None
    assert "model.batch_size=2 would fit" in str(memory_problem(weights, each, 8, 16 * gib))
    assert "a larger GPU" in str(memory_problem(weights, each, 1, 12 * gib))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2_900_000, 2_900_000))
    small = adapter(own, base, device="cuda", batch_size=4)
    assert "model.batch_size=2 would fit" in str(small.missing())
    with pytest.raises(ReportCardError, match="would fit"):
        small.load()


def test_identity_follows_the_files(own: Path, base: Path, copy: tuple[Path, Path]) -> None:
    assert adapter(own, base).identity == adapter(*copy).identity
    spoil(copy[0] / LOW, lambda s: s[f"{LORA}.lora_B.weight"].add_(1))
    changed = adapter(*copy).identity
    assert changed["weights"] != adapter(own, base).identity["weights"]
    assert changed["base"] == adapter(own, base).identity["base"]
    assert adapter(PINNED, base).identity["weights"] == PINNED
    assert adapter("/nowhere", base).identity["weights"] == "absent"
    assert adapter(PINNED, base).card.revision == "0" * 40
    assert adapter(own, base).card.weights == adapter(own, base).identity["weights"]


def test_a_run_from_the_command_line(
    own: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        [
            *("run", "dataset=phantom", "dataset.test=3", "dataset.train=2", "limit=3"),
            *("model=llava_rad", f"model.weights={own}", f"model.base={base}"),
            *("model.max_new_tokens=6", "metrics=bleu", "tracking=none"),
            f"results_dir={tmp_path / 'results'}",
        ]
    )
    assert code == 0, capsys.readouterr().err
    (file,) = (tmp_path / "results").rglob("predictions.jsonl*")
    assert "llava_rad" in str(file)
