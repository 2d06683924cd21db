"""CheXprompt and RadFact with a real language model behind a real server, from pairs to scores.

SmolLM2-135M's verdicts are worthless as medicine; what is tested is everything around them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reportcard.api import Json
from reportcard.llm.judge.local_server import running
from reportcard.score.evaluation import evaluate

PLAIN: list[dict[str, Any]] = [
    {
        "study_id": "s1",
        "candidate": "The lungs are clear.",
        "reference": "The lungs are clear. The heart is normal in size.",
    },
    {
        "study_id": "s2",
        "candidate": "There is a small right effusion.",
        "reference": "There is a small left effusion.",
    },
    {
        "study_id": "s3",
        "candidate": "No pneumothorax.",
        "reference": "A right apical pneumothorax is seen.",
    },
]
BOX = {"x_min": 0.1, "y_min": 0.5, "x_max": 0.4, "y_max": 0.9}
PHRASES = [
    {"text": "Small right effusion.", "boxes": [BOX]},
    {"text": "Normal heart size.", "boxes": None},
]
GROUNDED: dict[str, Any] = {"study_id": "g1", "prediction": PHRASES, "target": PHRASES}
SAME = {"study_id": "s4", "candidate": "The lungs are clear.", "reference": "The lungs are clear."}
# The plain pair is taken apart into phrases by the model; the grounded one brings its own. Few and
# equal texts: each new question costs seconds on one busy core.
PAIRS = {"chexprompt": PLAIN, "radfact": [SAME, GROUNDED]}


def scored(overrides: list[str], metric: str) -> Json:
    return evaluate(PAIRS[metric], metrics=[metric], overrides=overrides, resamples=50)


@pytest.mark.slow
def test_both_metrics_with_a_real_judge_then_without_it(
    judge_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPORTCARD_CACHE", str(tmp_path / "cache"))
    files = {metric: tmp_path / f"{metric}.jsonl" for metric in PAIRS}
    # Asked for phrases, so small a model repeats one until it is stopped.
    monkeypatch.setattr("reportcard.metrics.annotators.radfact.MAX_TOKENS", 64)
    # One slot reads each static prompt once.
    with running(judge_gguf, slots=1) as url:
        live = ["judge=local", f"judge.base_url={url}", "judge.concurrency=1", "judge.attempts=1"]
        first = {m: scored([*live, f"judge.record={files[m]}"], m) for m in PAIRS}

    for metric, result in first.items():
        assert result["metrics"]
        reasons = result["unscored"].get(metric, {})
        for key, entry in result["metrics"].items():
            assert "not_run" not in entry, key
            assert entry["n"] + entry["unscored"] == len(PAIRS[metric]), key
            assert "worthless as medicine" in entry["caveat"]
            assert judge_gguf.stem in entry["signature"]
        assert all(reasons.values())
        for unscored in {entry["unscored"] for entry in result["metrics"].values()}:
            assert unscored <= len(reasons)
    # The schema leaves CheXprompt's answers no other form, so that all of them can be read.
    assert first["chexprompt"]["metrics"]["chexprompt.mean_total"]["n"] == len(PLAIN)

    # The server is gone: whatever were asked now would stay without an answer.
    down = [*live, "judge.patience_s=1", "judge.timeout_s=5"]
    assert {metric: scored(down, metric) for metric in PAIRS} == first

    for metric, result in first.items():
        replayed = scored(["judge=recorded", f"judge.verdicts={files[metric]}"], metric)
        for key, entry in result["metrics"].items():
            for name in ("value", "ci_low", "ci_high", "n", "unscored"):
                assert replayed["metrics"][key][name] == entry[name], (key, name)
        assert set(replayed["unscored"].get(metric, {})) == set(result["unscored"].get(metric, {}))
