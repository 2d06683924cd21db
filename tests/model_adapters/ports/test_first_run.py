"""A first run from a hub id: what was asked before the download is not held against it."""

# ruff: noqa: E402 (torch is looked for first)

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the gpu extra: torch")
pytest.importorskip("transformers", reason="needs the gpu extra: transformers")
pytest.importorskip("sentencepiece", reason="needs the gpu extra: sentencepiece")
huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs the gpu extra")

from reportcard.api import ReportCardError
from reportcard.model_adapters.cxr_llava import CxrLlava
from reportcard.model_adapters.huggingface import HuggingFace
from reportcard.model_adapters.llava_rad import LlavaRad
from reportcard.model_adapters.maira1 import Maira1
from reportcard.model_adapters.maira2 import Maira2
from reportcard.models.staged import StagedAdapter
from reportcard.predict.engines.local import generate
from tests.model_adapters.ports.checkpoints import chat
from tests.model_adapters.ports.checkpoints.cxr_llava import write_cxr_llava
from tests.model_adapters.ports.checkpoints.llava_rad import write_base, write_llava_rad
from tests.model_adapters.ports.checkpoints.maira1 import write_maira1
from tests.model_adapters.ports.checkpoints.maira2 import write_maira2
from tests.model_adapters.ports.requests import request

OWN, BASE = f"org/own@{'1' * 40}", f"org/base@{'2' * 40}"
Written = dict[str, Callable[[Path], Any]]
CASES: dict[str, tuple[Callable[..., StagedAdapter], dict[str, Any], Written]] = {
    "maira2": (Maira2, {}, {OWN: write_maira2}),
    "maira1": (Maira1, {}, {OWN: write_maira1}),
    "cxr_llava": (CxrLlava, {}, {OWN: lambda folder: write_cxr_llava(folder, half=False)}),
    "llava_rad": (LlavaRad, {"base": BASE}, {OWN: write_llava_rad, BASE: write_base}),
    "huggingface": (HuggingFace, {}, {OWN: chat.llava}),
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """id → what a download brings. Nothing is in the cache before it."""
    published: dict[str, Path] = {}

    def snapshot_download(repo: str, revision: str, local_files_only: bool = False) -> str:
        folder = tmp_path / "cache" / f"models--{repo.replace('/', '--')}"  # as the hub names it
        snapshot = folder / "snapshots" / revision
        if not snapshot.is_dir():
            if local_files_only:
                raise FileNotFoundError(repo)
            shutil.copytree(published[f"{repo}@{revision}"], snapshot)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return published


@pytest.mark.parametrize("name", CASES)
def test_the_first_run_from_a_hub_id_answers(
    name: str, hub: dict[str, Path], tmp_path: Path
) -> None:
    make, options, written = CASES[name]
    for n, (weights, write) in enumerate(written.items()):
        folder = tmp_path / f"published-{n}"
        folder.mkdir()
        write(folder)
        hub[weights] = folder
    model = make(weights=OWN, max_new_tokens=4, device="cpu", **options)
    assert model.missing() is None  # and so it is downloaded
    assert model.prompt(request(1)).ids is None
    model.plan([request(1)])
    first = list(generate(model, [request(1)], 8, quote_errors=True))
    assert [a.error for batch in first for a in batch] == [None]
    local = dict(zip(("weights", "base"), map(str, hub.values()), strict=False))
    again = make(**{**options, **local}, max_new_tokens=4, device="cpu")
    second = list(generate(again, [request(1)], 8, quote_errors=True))
    assert [a.raw for batch in first for a in batch] == [a.raw for batch in second for a in batch]


def test_a_prompt_without_ids_is_a_sentence_and_no_answer(tmp_path: Path) -> None:
    model = Maira1(weights=str(write_maira1(tmp_path)), max_new_tokens=4, device="cpu")
    model.load()
    prepared = model.prepare(request(1))
    with pytest.raises(ReportCardError, match="no token ids"):
        model.complete([replace(prepared, prompt=replace(prepared.prompt, ids=None))])
