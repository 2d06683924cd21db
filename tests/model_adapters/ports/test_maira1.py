"""MAIRA-1 on a random checkpoint in the layout of docs/models/maira1.md."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

torch = pytest.importorskip("torch", reason="needs the gpu extra: torch")
pytest.importorskip("sentencepiece", reason="needs the gpu extra: sentencepiece")
from safetensors.torch import load_file, save_file  # noqa: E402
from torch.nn import functional  # noqa: E402

from reportcard.api import ReportCardError  # noqa: E402
from reportcard.model_adapters.maira1 import Maira1  # noqa: E402
from tests.model_adapters.ports.checkpoints.maira1 import write_maira1  # noqa: E402
from tests.model_adapters.ports.requests import noise, request  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_maira1(tmp_path_factory.mktemp("maira1"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[Maira1]:
    found = Maira1(weights=str(folder), device="cpu", max_new_tokens=8)
    assert found.missing() is None
    found.load()
    yield found
    found.close()


def test_without_weights_it_says_that_none_are_released() -> None:
    model = Maira1()
    assert "not released" in str(model.missing())
    found = model.prompt(request(1, indication="cough"))
    assert found.text.endswith("given the following indication: cough ASSISTANT:")
    assert (found.ids, found.max_new_tokens) == (None, 150)
    assert model.identity["weights"] == "absent"


@pytest.mark.parametrize(("given", "heads"), [({}, 2), ({"num_attention_heads": 4}, 4)])
def test_heads_are_those_of_the_config_or_64_wide(
    folder: Path, tmp_path: Path, given: dict[str, int], heads: int
) -> None:
    shutil.copytree(folder, tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **({"vision_config": given} if given else {})}))
    model = Maira1(weights=str(tmp_path / "m"), device="cpu")
    model.load()
    assert model._network is not None
    assert model._network.encode.tower.config.num_attention_heads == heads
    model.close()


def test_a_control_token_in_an_indication_is_text(folder: Path) -> None:
    """Sentencepiece knows no control token in a text; LLaVA-Rad's ids are made the same way."""
    ids = Maira1(weights=str(folder)).prompt(request(1, indication="a </s> b <s> <unk>")).ids
    assert ids is not None
    assert (ids.count(1), ids.count(2)) == (1, 0)


def test_pixels_are_rad_dinos() -> None:
    """HF's crop takes the pixel above the middle where torchvision's takes the one below."""
    grey = noise(7, 901, 640).pixels()
    image = PIL.Image.fromarray(grey).convert("RGB").resize((518, 729), 3)
    values = np.asarray(image.crop((0, 105, 518, 623)), np.float32) / np.float32(255)
    expected = (values - np.float32(0.5307)) / np.float32(0.2583)
    assert np.array_equal(Maira1().pixels(grey), expected.transpose(2, 0, 1))


@torch.inference_mode()
def test_an_image_becomes_normed_patches_of_the_last_layer(model: Maira1, folder: Path) -> None:
    """The tower by transformers' own Dinov2Model; a projector without its GELUs would differ."""
    from transformers import Dinov2Model

    state = load_file(folder / "model.safetensors")
    pixels = torch.from_numpy(np.stack(model.prepare(request(1)).pixels))
    tower = Dinov2Model(model._network.encode.tower.config).eval()
    tower.load_state_dict(model._network.encode.tower.state_dict())
    query = "encoder.layer.0.attention.attention.query.weight"
    assert any(torch.equal(v, state[f"vision_tower.{query}"]) for v in tower.state_dict().values())
    x = tower(pixels).last_hidden_state[:, 1:]
    for n in (0, 2, 4, 6):
        key = f"multi_modal_projector.layers.{n}"
        x = functional.linear(x, state[f"{key}.weight"], state[f"{key}.bias"])
        x = functional.gelu(x) if n < 6 else x
    found = model._network.encode(pixels)
    assert found.shape == (1, 1369, 64)
    assert torch.allclose(found, x, atol=1e-4)


def test_an_answer_depends_on_its_study_alone(model: Maira1) -> None:
    asked = [request(1, indication="cough and fever"), request(2), request(3)]
    together = model.generate(asked)
    assert [model.generate([r])[0].token_ids for r in asked[::-1]][::-1] == [
        a.token_ids for a in together
    ]
    assert together[1].token_ids != together[2].token_ids, "another image, another answer"
    other = model.generate([replace(asked[0], indication="pacemaker")])
    assert other[0].token_ids != together[0].token_ids, "another indication, another answer"
    assert together[0].used == ("frontal", "indication")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vision_tower.layernorm.weight", "missing keys: layernorm.weight"),
        ("multi_modal_projector.layers.4.bias", "missing 4.bias"),
        ("language_model.model.norm.weight", "missing keys: model.norm.weight"),
        (None, "unexpected tensors, extra.weight first"),
    ],
)
def test_every_tensor_is_accounted_for(
    folder: Path, tmp_path: Path, name: str | None, said: str
) -> None:
    shutil.copytree(folder, tmp_path / "own")
    state = load_file(folder / "model.safetensors")
    if name:
        del state[name]
    else:
        state["extra.weight"] = torch.zeros(2)
    save_file(state, tmp_path / "own" / "model.safetensors")
    spoilt = Maira1(weights=str(tmp_path / "own"), device="cpu")
    with pytest.raises(ReportCardError, match=said):
        spoilt.load()


def test_half_a_download_is_told_before_loading(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "own")
    path = tmp_path / "own" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    assert "an incomplete download" in str(Maira1(weights=str(tmp_path / "own")).missing())
