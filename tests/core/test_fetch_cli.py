"""`reportcard fetch weights` where no hub answers: one sentence, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from reportcard.cli.main import main


def test_unreachable_hub_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("huggingface_hub", reason="the clinical extra is not installed")
    monkeypatch.setenv("REPORTCARD_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert main(["fetch", "weights", "chexbert"]) == 2
    error = capsys.readouterr().err
    assert "127.0.0.1:9" in error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("*.pth"))


def test_unknown_set_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "weights", "chexbrt"]) == 2
    assert "chexbert" in capsys.readouterr().err
