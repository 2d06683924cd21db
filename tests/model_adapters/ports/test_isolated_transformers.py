"""The mechanism for real: an environment with another transformers than ours is built, and a
checkpoint with code of its own runs in it, offline, through the whole harness."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from reportcard.cli.main import main
from reportcard.core import registry
from tests.model_adapters.ports.remote_code import WORDS, write_checkpoint, write_plugin

TRANSFORMERS = "4.57.6"
REQUIREMENTS = f"transformers=={TRANSFORMERS}\ntorch==2.13.0\nnumpy\npillow\n"


@pytest.mark.slow
@pytest.mark.network
def test_a_checkpoint_with_its_own_code_runs_on_another_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in registry.KINDS:
        monkeypatch.setattr(kind, "_offered", {})
    plugin = write_plugin(tmp_path / "plugin", REQUIREMENTS)
    weights = write_checkpoint(tmp_path / "weights")
    results = tmp_path / "r"
    arguments = [
        *("run", f"plugin={plugin}", "model=remote_toy", f"+model.weights={weights}", "limit=5"),
        *("+model.device=cpu", "dataset=phantom", "dataset.size=64", "dataset.train=4"),
        *("metrics=rouge", f"results_dir={results}", "tracking=none", "stats.resamples=20"),
    ]
    assert main(arguments) == 0, capsys.readouterr()
    lines = next(results.glob("predictions/*/*/predictions.jsonl")).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["status"] for row in rows] == ["ok"] * 5
    said = [row["findings"].split() for row in rows]
    assert all(len(words) == 6 and set(words) <= set(WORDS) for words in said)
    assert len({row["findings"] for row in rows}) > 1  # it looks at the pixels
    (note,) = json.loads(next(results.glob("predictions/*/*/card.json")).read_text())["notes"]
    assert f"transformers {TRANSFORMERS}" in note
    assert "torch 2.13.0" in note
    with suppress(PackageNotFoundError):  # the parent needs none
        assert version("transformers") != TRANSFORMERS
