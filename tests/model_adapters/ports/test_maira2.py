"""MAIRA-2 on a tiny random checkpoint in the published layout: ids, pixels, weights, answers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the gpu extra: torch")
pytest.importorskip("transformers", reason="needs the gpu extra: transformers")
sentencepiece = pytest.importorskip("sentencepiece", reason="needs the gpu extra: sentencepiece")

from reportcard.api import Image, Prior, Report, ReportCardError, Request  # noqa: E402
from reportcard.cli.main import main  # noqa: E402
from reportcard.model_adapters._shared.llama_tokenizer import open_llama_tokenizer  # noqa: E402
from reportcard.model_adapters.cxr_llava import CxrLlava  # noqa: E402
from reportcard.model_adapters.llava_rad import LlavaRad  # noqa: E402
from reportcard.model_adapters.maira1 import Maira1  # noqa: E402
from reportcard.model_adapters.maira2 import Maira2  # noqa: E402
from tests.model_adapters.ports.checkpoints.llama import write_tokenizer  # noqa: E402
from tests.model_adapters.ports.checkpoints.maira2 import (  # noqa: E402
    ADDED,
    DEPTH,
    IDS,
    maira2_state,
    write_maira2,
)
from tests.model_adapters.ports.checkpoints.tokenizer import tiny_sentencepiece  # noqa: E402

BOX = ("<box>", "<x10>", "<y20>", "<x50>", "<y60>", "</box>")


def image(name: str, view: str, height: int = 90, width: int = 70) -> Image:
    seed = sum(map(ord, name))
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    return Image(name, view, read=lambda: pixels)


PRIOR = Prior((image("o", "AP"),), Report("Clear lungs.", "Normal."))
ONE = Request("one", (image("f1", "PA"),), indication="cough  // r/o effusion?")
THREE = Request(
    "three", (image("f2", "AP"), image("l2", "LATERAL")), PRIOR, technique="PA  and lat."
)
MARKED = "a   b\n<obj> c  <x7>  "
SHORT = Request("short", (image("f3", "PA", 60, 100),))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    return write_maira2(tmp_path_factory.mktemp("maira2"))


@pytest.fixture(scope="session")
def speaking(tmp_path_factory) -> Path:
    says = ["<obj>", "effusion", *BOX, "</obj>", "</s>"]
    return write_maira2(tmp_path_factory.mktemp("speaking"), says)


@pytest.fixture(scope="session")
def loaded(checkpoint) -> Maira2:
    adapter = Maira2(str(checkpoint), max_new_tokens=6)
    adapter.load()
    return adapter


# Ids.


@pytest.mark.parametrize("legacy", [None, True, False])
@pytest.mark.parametrize("request_", [ONE, THREE])
def test_both_tokenizer_layouts_give_sentencepieces_own_ids(tmp_path, legacy, request_):
    write_tokenizer(tmp_path / "fast", ADDED, fast=True, legacy=legacy)
    write_tokenizer(tmp_path / "slow", ADDED, fast=False, legacy=legacy)
    fast = Maira2(str(tmp_path / "fast")).prompt(request_)
    assert fast.ids == Maira2(str(tmp_path / "slow")).prompt(request_).ids
    layouts = [open_llama_tokenizer(tmp_path / name) for name in ("fast", "slow")]
    assert layouts[0].encode(MARKED) == layouts[1].encode(MARKED)
    assert fast.ids[0] == 1
    assert list(fast.ids).count(IDS["<image>"]) == len(fast.images)


def test_a_part_between_images_is_what_sentencepiece_makes_of_it(tmp_path):
    write_tokenizer(tmp_path, ADDED, fast=True)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    prompt = Maira2(str(tmp_path)).prompt(ONE)
    before, after = prompt.text.split("<image>")
    assert "  USER:  " in before
    assert "cough  // r/o" in after
    expected = [1, *pieces.encode(before), IDS["<image>"], *pieces.encode(after)]
    assert list(prompt.ids) == expected


@pytest.mark.parametrize("fast", [True, False])
def test_an_answer_keeps_added_tokens_and_blanks_and_drops_control_tokens(tmp_path, fast):
    from reportcard.model_adapters._shared.llama_tokenizer import open_llama_tokenizer

    write_tokenizer(tmp_path, ADDED, fast)
    tokens = open_llama_tokenizer(tmp_path)
    said = "There is  a small effusion."
    words = tokens.encode(said)[1:]
    ids = [IDS["<obj>"], *words, IDS["<box>"], IDS["<x7>"], IDS["</box>"], IDS["</obj>"], 2, 0]
    assert tokens.decode(words) == said
    assert tokens.decode(ids).replace("<obj> ", "<obj>") == (f"<obj>{said}<box><x7></box></obj>")
    assert tokens.decode([5000, *words]) == said  # an id of a padded vocabulary says nothing


# Pixels.


@pytest.mark.parametrize("size", [(640, 901), (901, 640), (518, 519), (40, 31), (517, 1000)])
def test_pixels_are_those_of_hugging_faces_processor(size):
    from PIL import Image as Pillow
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    grey = np.random.default_rng(0).integers(30, 200, size, dtype=np.uint8)
    stretched = (grey.astype(float) - grey.min()) / (grey - grey.min()).max() * 255
    theirs = BitImageProcessorPil(
        size={"shortest_edge": 518},
        crop_size={"height": 518, "width": 518},
        do_convert_rgb=True,
        image_mean=[0.5307] * 3,
        image_std=[0.2583] * 3,
        resample=3,
    )(Pillow.fromarray(stretched.astype(np.uint8)), return_tensors="np")
    assert np.abs(Maira2().pixels(grey) - theirs["pixel_values"][0]).max() < 1e-6


# The forward pass against one that is written out here.


def test_logits_are_those_of_the_architecture_written_out(loaded):
    prepared = loaded.prepare(THREE)
    state = maira2_state()
    with torch.inference_mode():
        (row,) = loaded._network.embeddings([prepared])
        logits = loaded._network.llama(inputs_embeds=row[None]).logits[0]
        expected = reference(state, prepared)
    assert row.shape == (len(prepared.prompt.ids) + 3 * 1368, 64)
    assert torch.allclose(logits[-1], expected, rtol=1e-3, atol=1e-3 * expected.abs().max())
    assert logits[-1].argmax() == expected.argmax()


@pytest.mark.parametrize(
    ("changes", "heads", "eps", "layers"),
    [
        ({"vision": {"num_attention_heads": 1}}, 1, 1e-6, 4),
        ({"vision": {"num_attention_heads": 8, "layer_norm_eps": 1e-2}}, 8, 1e-2, 4),
        ({"projector": 2}, 2, 1e-6, 2),
        ({"projector": 1}, 2, 1e-6, 1),
    ],
)
def test_heads_norm_and_projector_are_those_of_the_config(tmp_path, changes, heads, eps, layers):
    """As upstream: AutoBackbone.from_config, and Maira2MultiModalProjector's n_layers."""
    adapter = Maira2(str(write_maira2(tmp_path / "m", shards=1, **changes)), max_new_tokens=2)
    adapter.load()
    pixels = torch.from_numpy(adapter.prepare(ONE).pixels[0])
    state = maira2_state(projector=layers)
    with torch.inference_mode():
        found = adapter._network.encode(pixels[None])[0]
        expected = bridge(state, vision(state, pixels, heads, eps), layers)
        default = bridge(state, vision(state, pixels), layers)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.abs().max())
    if (heads, eps) != (2, 1e-6):
        assert not torch.allclose(found, default, rtol=1e-3, atol=1e-3 * expected.abs().max())
    assert adapter.generate([ONE])[0].tokens_out == 2


def test_heads_that_the_config_does_not_name_are_transformers_default(tmp_path):
    """Dinov2Config has 12, which does not divide this tower's width; upstream fails too."""
    folder = write_maira2(tmp_path / "m", shards=1, vision={"num_attention_heads": None})
    with pytest.raises(ReportCardError, match="12 heads do not divide a width of 128"):
        Maira2(str(folder)).load()


@pytest.mark.parametrize("heads", [3, 0, -2, 2.0, "2"])
def test_heads_that_cannot_be_are_refused(tmp_path, heads):
    folder = write_maira2(tmp_path / "m", shards=1, vision={"num_attention_heads": heads})
    with pytest.raises(ReportCardError, match="heads do not divide a width of 128"):
        Maira2(str(folder)).load()


def test_another_layers_features_are_refused(tmp_path):
    folder = write_maira2(tmp_path / "m", shards=1, vision={"out_features": ["stage1"]})
    with pytest.raises(ReportCardError, match="out_features"):
        Maira2(str(folder)).load()


def reference(state: dict, prepared) -> object:
    """The last position's logits, from the tensors and the published architecture alone."""
    embed = state["language_model.model.embed_tokens.weight"]
    features = iter(bridge(state, vision(state, torch.from_numpy(p))) for p in prepared.pixels)
    parts = [
        next(features) if token == IDS["<image>"] else embed[token][None]
        for token in prepared.prompt.ids
    ]
    x = torch.cat(parts)
    for layer in range(2):
        x = llama_layer(state, f"language_model.model.layers.{layer}.", x)
    x = rms(x[-1], state["language_model.model.norm.weight"])
    return state["language_model.lm_head.weight"] @ x


def vision(state: dict, pixels, heads: int = 2, eps: float = 1e-6):
    s = {k.removeprefix("vision_tower."): v for k, v in state.items()}
    grid = pixels.unfold(1, 14, 14).unfold(2, 14, 14).permute(1, 2, 0, 3, 4).reshape(1369, -1)
    kernel = s["embeddings.patch_embeddings.projection.weight"].flatten(1)
    x = grid @ kernel.T + s["embeddings.patch_embeddings.projection.bias"]
    x = torch.cat([s["embeddings.cls_token"][0], x]) + s["embeddings.position_embeddings"][0]

    def norm(x, name):
        return torch.nn.functional.layer_norm(
            x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"], eps
        )

    def linear(x, name):
        return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]

    for n in range(DEPTH):
        block = f"encoder.layer.{n}."
        h = norm(x, f"{block}norm1")
        q, k, v = (
            linear(h, f"{block}attention.attention.{part}")
            .unflatten(-1, (heads, -1))
            .transpose(0, 1)
            for part in ("query", "key", "value")
        )
        scale = q.shape[-1] ** 0.5
        mixed = ((q @ k.transpose(1, 2) / scale).softmax(-1) @ v).transpose(0, 1).flatten(1)
        x = x + linear(mixed, f"{block}attention.output.dense") * s[f"{block}layer_scale1.lambda1"]
        h = torch.nn.functional.gelu(linear(norm(x, f"{block}norm2"), f"{block}mlp.fc1"))
        x = x + linear(h, f"{block}mlp.fc2") * s[f"{block}layer_scale2.lambda1"]
    return norm(x, "layernorm")[1:]


def bridge(state: dict, x, layers: int = 4):
    for n in range(layers):
        name = f"multi_modal_projector.layers.{2 * n}"
        x = x @ state[f"{name}.weight"].T + state[f"{name}.bias"]
        x = x if n == layers - 1 else torch.nn.functional.gelu(x)
    return x


def rms(x, weight):
    return x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt() * weight


def llama_layer(state: dict, block: str, x):
    h = rms(x, state[f"{block}input_layernorm.weight"])
    q, k, v = (
        (h @ state[f"{block}self_attn.{p}_proj.weight"].T).unflatten(-1, (4, 16)).transpose(0, 1)
        for p in "qkv"
    )
    q, k = rotated(q), rotated(k)
    mask = torch.full((len(x), len(x)), -math.inf).triu(1)
    mixed = ((q @ k.transpose(1, 2) / 4 + mask).softmax(-1) @ v).transpose(0, 1).flatten(1)
    x = x + mixed @ state[f"{block}self_attn.o_proj.weight"].T
    h = rms(x, state[f"{block}post_attention_layernorm.weight"])
    gate, up, down = (state[f"{block}mlp.{p}_proj.weight"].T for p in ("gate", "up", "down"))
    return x + (torch.nn.functional.silu(h @ gate) * (h @ up)) @ down


def rotated(x):
    """RoPE over 16 numbers a head, positions divided by 1.5."""
    frequency = 10000.0 ** (-torch.arange(0, 16, 2) / 16)
    angle = torch.arange(x.shape[1])[:, None] / 1.5 * frequency
    cos, sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def test_the_image_matters(loaded):
    other = replace(ONE, images=(image("g", "PA"),))
    with torch.inference_mode():
        first, second = (
            loaded._network.llama(
                inputs_embeds=loaded._network.embeddings([loaded.prepare(r)])[0][None]
            )
            for r in (ONE, other)
        )
    assert (first.logits[0, -1] - second.logits[0, -1]).abs().max() > 0.1


# Batches.


def test_a_mixed_batch_answers_as_single_requests_do_in_any_order(loaded):
    requests = [ONE, THREE]
    singles = [loaded.generate([r])[0] for r in requests]
    assert loaded.generate(requests) == singles
    assert loaded.generate(requests[::-1]) == singles[::-1]
    assert len({s.raw for s in singles}) > 1
    assert all(s.status == "truncated" and s.tokens_out == 6 for s in singles)


def test_an_answer_that_ends_is_whole_and_one_that_is_cut_says_so(speaking):
    grounded = replace(ONE, task="grounded_findings")
    (whole,) = Maira2(str(speaking)).generate([grounded])
    assert whole.status == "ok"
    assert whole.raw.replace(" ", "") == "<obj>effusion<box><x10><y20><x50><y60></box></obj>"
    (phrase,) = whole.report.phrases
    assert phrase.text == "effusion"
    assert phrase.boxes[0].x_min == pytest.approx(0.105)
    assert phrase.boxes[0].y_min == pytest.approx((0.205 * 70 + 10) / 90)
    (cut,) = Maira2(str(speaking), max_new_tokens=5).generate([grounded])
    assert cut.status == "truncated"
    assert cut.report.phrases[0].text == "effusion"
    assert cut.report.phrases[0].boxes == ()


def test_phrase_grounding_gives_the_asked_phrase_its_boxes(speaking):
    asked = replace(THREE, task="phrase_grounding", phrase="Left effusion")
    (answer,) = Maira2(str(speaking)).generate([asked])
    assert answer.used == ("frontal", "phrase")
    assert answer.report.findings == "effusion"
    assert [(p.text, len(p.boxes)) for p in answer.report.phrases] == [("Left effusion", 1)]


def test_no_context_and_a_very_long_one_are_both_answered(loaded):
    bare, full = Request("b", ONE.images), replace(ONE, indication="no effusion " * 400)
    answers = loaded.generate([bare, full])
    assert [a.tokens_out for a in answers] == [6, 6]
    assert answers[1].tokens_in > answers[0].tokens_in + 800


def test_a_static_cache_answers_as_the_dynamic_one_does(loaded, checkpoint):
    """In float32; which cache it was is read from the language model's own input."""
    from transformers import StaticCache

    static = Maira2(str(checkpoint), max_new_tokens=6, kv_cache="static")
    static.load()
    kinds = set()
    static._network.llama.model.register_forward_pre_hook(
        lambda module, args, inputs: kinds.add(type(inputs["past_key_values"])), with_kwargs=True
    )
    assert static.generate([ONE, THREE, SHORT]) == loaded.generate([ONE, THREE, SHORT])
    assert kinds
    assert all(issubclass(kind, StaticCache) for kind in kinds)
    assert static.identity != loaded.identity
    with pytest.raises(ReportCardError, match="kv_cache is one of dynamic, static"):
        Maira2(kv_cache="paged")


@pytest.mark.parametrize("cls", [Maira2, Maira1, LlavaRad, CxrLlava])
def test_a_port_says_that_it_has_no_place_for_marks(cls):
    marked = replace(ONE, marks=("1 left lung",))
    prompt = cls().prompt(marked)
    assert prompt.left_out["marks"] == "its prompt has no place for marks"
    assert prompt.text == cls().prompt(ONE).text
    assert "marks" not in cls().prompt(ONE).left_out


def test_sampling_follows_from_seed_and_draw(checkpoint):
    adapter = Maira2(str(checkpoint), max_new_tokens=4, sampling={"temperature": 1.5, "draws": 2})
    assert adapter.card.draws == 2
    first, second = adapter.generate([SHORT, replace(SHORT, draw=1)])
    assert first.raw != second.raw
    assert adapter.generate([replace(SHORT, draw=1)]) == [second]


# Loading.


def test_half_precision_keeps_rotary_frequencies_exact(checkpoint):
    adapter = Maira2(str(checkpoint), dtype="bfloat16", max_new_tokens=2)
    adapter.load()
    llama = adapter._network.llama
    assert {p.dtype for p in llama.parameters()} == {torch.bfloat16}
    frequencies = [b for n, b in llama.named_buffers() if n.endswith("inv_freq")]
    assert frequencies
    exact = 10000.0 ** (-torch.arange(0, 16, 2) / 16) / 1.5
    assert torch.allclose(frequencies[0], exact, rtol=1e-6, atol=0)  # bfloat16 has 4e-3
    assert adapter.generate([SHORT])[0].tokens_out == 2


@pytest.mark.parametrize(
    "tensor",
    [
        "vision_tower.layernorm.bias",
        "vision_tower.encoder.layer.1.attention.attention.query.weight",
        "multi_modal_projector.layers.4.bias",
        "language_model.model.norm.weight",
    ],
)
def test_a_missing_tensor_is_refused(tmp_path, tensor):
    folder = write_maira2(tmp_path / "m", drop=tensor, shards=1)
    with pytest.raises(ReportCardError, match="not the checkpoint of this model"):
        Maira2(str(folder)).load()


@pytest.mark.parametrize("tensor", ["vision_tower.x", "language_model.model.x", "head.weight"])
def test_an_unknown_tensor_is_refused(tmp_path, tensor):
    folder = write_maira2(tmp_path / "m", add=tensor, shards=1)
    with pytest.raises(ReportCardError, match="not the checkpoint of this model"):
        Maira2(str(folder)).load()


@pytest.mark.parametrize(
    ("field", "value"),
    [("vision_feature_layer", -2), ("image_token_index", 5), ("projector_hidden_act", "relu")],
)
def test_a_config_of_another_model_is_refused(tmp_path, field, value):
    folder = write_maira2(tmp_path / "m", shards=1, **{field: value})
    with pytest.raises(ReportCardError, match=field):
        Maira2(str(folder)).load()


def test_a_tokenizer_without_the_added_tokens_is_refused(tmp_path, checkpoint):
    folder = write_maira2(tmp_path / "m", shards=1)
    write_tokenizer(folder, ["<image>"])
    with pytest.raises(ReportCardError, match=r"lacks 204 of MAIRA-2's tokens, <obj> first"):
        Maira2(str(folder)).load()


def test_what_is_missing_is_said_before_anything_is_loaded(tmp_path, checkpoint):
    assert Maira2(str(checkpoint)).missing() is None
    assert "no weights given" in Maira2().missing()
    assert "no folder" in Maira2(str(tmp_path / "none")).missing()
    bare = write_maira2(tmp_path / "m", fast=False)
    (bare / "tokenizer.model").unlink()
    assert "no tokenizer.json and no tokenizer.model" in Maira2(str(bare)).missing()
    (bare / "model-00003-of-00006.safetensors").unlink()
    assert "1 of 6 shards" in Maira2(str(bare)).missing()
    small = write_maira2(tmp_path / "s", shards=1, text_config={"model_type": "llama"})
    assert Maira2(str(small)).missing() is None  # sizes left out are the default's
    other = write_maira2(tmp_path / "o", shards=1, text_config={"model_type": "mistral"})
    with pytest.raises(ReportCardError, match="does not describe a Llama"):
        Maira2(str(other)).load()
    if not torch.cuda.is_available():
        assert "CUDA is not available" in Maira2(str(checkpoint), device="cuda").missing()


def test_identity_follows_the_weights_and_not_their_place(tmp_path, checkpoint):
    import shutil

    copy = tmp_path / "elsewhere"
    shutil.copytree(checkpoint, copy)
    assert Maira2(str(copy)).identity == Maira2(str(checkpoint)).identity
    tiny_sentencepiece(copy)
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert Maira2(str(copy)).identity != Maira2(str(checkpoint)).identity


# From the command line.


@pytest.mark.parametrize("dataset", ["phantom_findings", "phantom"])
def test_a_run_writes_reports_and_boxes(tmp_path, speaking, dataset):
    results = tmp_path / "results"
    code = main(
        [
            "run",
            f"dataset={dataset}",
            "dataset.test=3",
            "dataset.train=2",
            "dataset.size=64",
            "model=maira2",
            f"model.weights={speaking}",
            "metrics=bleu",
            "tracking=none",
            f"results_dir={results}",
        ]
    )
    assert code == 0
    (path,) = results.glob("predictions/*/*/predictions.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert {row["findings"] for row in rows} == {"effusion"}
    boxes = [len(p["boxes"]) for row in rows for p in row.get("phrases", [])]
    assert boxes == ([] if dataset == "phantom_findings" else [1, 1, 1])
