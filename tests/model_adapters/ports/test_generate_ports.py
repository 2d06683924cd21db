"""Every model that runs in this process, from the command line: requests in, predictions out; and
a grounding model through the default suite to the leaderboard."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

torch = pytest.importorskip("torch", reason="needs the gpu extra: torch")
pytest.importorskip("sentencepiece", reason="needs the gpu extra: sentencepiece")

from reportcard.cli.main import main  # noqa: E402
from tests.model_adapters.ports.checkpoints import chat  # noqa: E402
from tests.model_adapters.ports.checkpoints.cxr_llava import write_cxr_llava  # noqa: E402
from tests.model_adapters.ports.checkpoints.llava_rad import write_base, write_llava_rad  # noqa: E402
from tests.model_adapters.ports.checkpoints.maira1 import write_maira1  # noqa: E402
from tests.model_adapters.ports.checkpoints.maira2 import write_maira2  # noqa: E402

BOX = ("<box>", "<x10>", "<y20>", "<x50>", "<y60>", "</box>")


def llava_rad(folder: Path) -> list[str]:
    own, base = write_llava_rad(folder / "own"), write_base(folder / "base")
    return [f"model.weights={own}", f"model.base={base}"]


def gemma(folder: Path) -> list[str]:
    return [f"model.weights={chat.WRITERS['gemma3'](folder)}"]


def one(write: Callable[[Path], Path]) -> Callable[[Path], list[str]]:
    return lambda folder: [f"model.weights={write(folder)}"]


MODELS: dict[str, Callable[[Path], list[str]]] = {
    "llava_rad": llava_rad,
    "maira1": one(write_maira1),
    "maira2": one(write_maira2),
    "cxr_llava": one(write_cxr_llava),
    "medgemma_4b": gemma,
}


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("1", "2", "0"):
        grey = rng.integers(0, 256, (90, 70), dtype=np.uint8)
        PIL.Image.fromarray(grey).save(tmp_path / f"{name}.png")
    prior = {"images": [{"path": "0.png", "view": "PA"}], "report": "The lungs are clear."}
    lines = [
        {"study_id": "a", "images": [{"path": "1.png", "view": "PA"}], "indication": "Cough."},
        {"study_id": "b", "images": [{"path": "2.png", "view": "AP"}], "prior": prior},
        {"study_id": "c", "images": [{"path": "2.png", "view": "Lateral"}]},
    ]
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("model", MODELS)
def test_requests_become_predictions(model: str, tmp_path: Path, requests: Path) -> None:
    """The study without a frontal image costs its own line; both kinds of cache answer alike."""
    (tmp_path / "weights").mkdir()
    weights = MODELS[model](tmp_path / "weights")
    answers = []
    for cache in ("dynamic", "static"):
        out = tmp_path / f"{cache}.jsonl"
        words = [f"model={model}", *weights, "model.max_new_tokens=5", f"model.kv_cache={cache}"]
        assert main(["generate", str(requests), *words, "--out", str(out), "--token-ids"]) == 0
        answers.append([json.loads(line) for line in out.read_text().splitlines()])
    rows = {row["study_id"]: row for row in answers[0]}
    assert rows.keys() == {"a", "b", "c"}
    assert rows["c"]["status"] == "failed"
    assert "no frontal image" in rows["c"]["error"]
    for name in "ab":
        assert rows[name]["status"] in ("ok", "empty", "truncated"), rows[name]
        assert 0 < len(rows[name]["token_ids"]) <= 5
        assert "frontal" in rows[name]["used"]
    assert rows["a"]["token_ids"] != rows["b"]["token_ids"]
    assert answers[0] == answers[1]


def test_a_grounding_model_fills_text_and_box_columns(tmp_path: Path) -> None:
    """The default suite's metrics over the phantom, which asks for grounded findings."""
    says = ["<obj>", "effusion", *BOX, "</obj>", "</s>"]
    weights = write_maira2(tmp_path / "weights", says)
    small = ["dataset=phantom", "dataset.test=4", "dataset.train=4", "dataset.size=64"]
    words = ["model=maira2", f"model.weights={weights}", *small]
    where = ["tracking=none", f"results_dir={tmp_path / 'results'}", "stats.resamples=20"]
    assert main(["run", *words, *where]) == 0
    found = json.loads((tmp_path / "results/leaderboard/leaderboard.json").read_text())
    (board,) = found["boards"]
    (row,) = board["rows"]
    metrics = {column["metric"] for column in board["columns"] if column["headline"]}
    assert {"f1_chexpert_rules", "bleu", "rouge", "grounding"} <= metrics
    shown = [column["key"] for column in board["columns"] if column["headline"]]
    undefined = [key for key in shown if row["cells"][key]["value"] is None]
    assert undefined == ["f1_chexpert_rules.macro_f1_supported_14"]  # 4 studies: no class has ten
    assert row["counts"]["failed"] == 0
    assert row["cells"]["grounding.miou"]["value"] > 0
