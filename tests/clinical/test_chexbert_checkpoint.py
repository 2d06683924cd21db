"""Files that are no CheXbert checkpoint are refused with their path and what is wrong."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the clinical extra is not installed")
pytest.importorskip("tokenizers", reason="the clinical extra is not installed")

from reportcard.api import ReportCardError  # noqa: E402
from reportcard.metrics.annotators.chexbert import Chexbert, checked_state  # noqa: E402
from tests.clinical.chexbert_fixtures import SMALL, random_state, write_checkpoint  # noqa: E402


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    return random_state(SMALL)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "chexbert.pth", state)


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must never run",))


def without(state: dict[str, Any], name: str) -> dict[str, Any]:
    return {k: v for k, v in state.items() if k != name}


BAD = {
    "lacks linear_heads.13.bias": lambda s: without(s, "module.linear_heads.13.bias"),
    "lacks bert.embeddings.word_embeddings.weight": lambda s: without(
        s, "module.bert.embeddings.word_embeddings.weight"
    ),
    "that CheXbert has not: classifier.weight": lambda s: (
        s | {"module.classifier.weight": torch.zeros(2)}
    ),
    "vocabulary has 28996 entries": lambda s: (
        s | {"module.bert.embeddings.word_embeddings.weight": torch.zeros(28996, SMALL.hidden)}
    ),
    "linear_heads.13.weight has the shape (4, 64), expected (2, 64)": lambda s: (
        s | {"module.linear_heads.13.weight": torch.zeros(4, 64)}
    ),
    "linear_heads.0.bias holds values that are not finite": lambda s: (
        s | {"module.linear_heads.0.bias": torch.full((4,), float("nan"))}
    ),
    "lacks bert.encoder.layer.0.output.LayerNorm.bias": lambda s: without(
        s, "module.bert.encoder.layer.0.output.LayerNorm.bias"
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_wrong_tensors_are_refused(tmp_path: Path, state: dict[str, Any], what: str) -> None:
    path = write_checkpoint(tmp_path / "bad.pth", BAD[what](state))
    with pytest.raises(ReportCardError, match=re.escape(what)) as refused:
        checked_state(path)
    assert str(path) in str(refused.value)


def test_files_that_are_no_checkpoint_are_refused(
    tmp_path: Path, checkpoint: Path, state: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = checkpoint.read_bytes()
    legacy = tmp_path / "legacy.pth"
    torch.save({"model_state_dict": state}, legacy, _use_new_zipfile_serialization=False)
    code = tmp_path / "code.pth"
    torch.save({"model_state_dict": _Code()}, code)
    files = {
        "web page": b"<!DOCTYPE html><html>404</html>",
        "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "it is empty": b"",
        "cut off": whole[: len(whole) // 2],
        "damaged or cut off": legacy.read_bytes()[:200_000],
        "holds code": code.read_bytes(),
        "holds code ": pickle.dumps(_Code(), protocol=2),
        "nor a pickle": b"hello, I am text",
        "no model_state_dict in it, only a": None,
        "a Tensor, not a dict": None,
    }
    for what, content in files.items():
        path = tmp_path / "bad.pth"
        if content is not None:
            path.write_bytes(content)
        else:
            torch.save({"a": torch.ones(1)} if "only a" in what else torch.ones(1), path)
        with pytest.raises(ReportCardError, match=what) as refused:
            checked_state(path)
        assert str(path) in str(refused.value), what
    assert "must never run" not in capsys.readouterr().out


def test_a_foreign_vocabulary_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    cased = tmp_path / "vocab.txt"
    cased.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nThe\n")
    with pytest.raises(ReportCardError, match="not the vocabulary of bert-base-uncased"):
        Chexbert(str(checkpoint), str(cased), "cpu").annotate(["The"])
