"""Text of closed data stays where it belongs: canaries, and a search of all that a run wrote.

A dataset that calls itself credentialed is run from prediction to page and MLflow, judged by a
server on loopback that misbehaves. Then every file that the run wrote and everything it printed is
searched for the canaries. They may stand in two places only: the predictions, which are the run's
own product, and the private cache folder of the agreement.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportcard.cli.main import main
from reportcard.core import registry
from tests.fixtures.chexpert_plus import write_chexpert_plus
from tests.fixtures.mimic_cxr import write_mimic_cxr
from tests.fixtures.padchest_gr import write_padchest_gr
from tests.scripted_judge import Reply, ScriptedJudge, answer

CANARY = "CANARYLARK"  # one word, so that no tokenizer, wrapping or escape takes it apart
DATASET = f'''
"""A credentialed data set of three invented studies."""

from reportcard.api import DatasetCard, Report, Request, Selection, Step, Study


class Closed:
    @property
    def card(self):
        return DatasetCard("Closed reports", "credentialed", "some-agreement")

    def missing(self):
        return None

    def select(self):
        studies = tuple(
            Study(
                Request(f"s{{i}}", indication="{CANARY} indication"),
                Report(f"{CANARY} reference {{i}} shows a small effusion."),
                f"p{{i}}",
            )
            for i in range(4)
        )
        return Selection(studies, (), (Step("studies", 4, 4),))
'''
MODEL = f'''
"""Writes a canary; fails on one study with a message that quotes it."""

from reportcard.api import ModelCard, Prediction, Report


class Leaky:
    card = ModelCard("leaky")

    def generate(self, requests):
        answers = []
        for request in requests:
            if request.study_id == "s3":
                raise RuntimeError("could not read: {CANARY} " + str(request.indication))
            text = f"{CANARY} candidate of {{request.study_id}}."
            answers.append(Prediction(request.study_id, Report(text), raw=text))
        return answers
'''


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for kind in registry.KINDS:
        monkeypatch.setattr(kind, "_offered", {})
    files = {"closed": DATASET, "leaky": MODEL}
    for name, source in files.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    return [f"plugin={','.join(str(tmp_path / f'{name}.py') for name in files)}"]


def misbehaving(request: dict[str, Any]) -> Reply:
    """Echoes what it was asked: in prose, inside JSON of the wrong shape, and in every field of an
    answer or an error that takes a string."""
    said = request["messages"][-1]["content"]
    if "s2" in said:
        fields = dict.fromkeys(("message", "type", "param", "code"), CANARY)
        return Reply(json.dumps({"error": fields}).encode(), 400)
    if "reference" in said and "s1" not in said:
        return answer(f"I would rather repeat it: {said}", model=CANARY, finish_reason=CANARY)
    echo = json.dumps({"significant": {"A": said}, "echo": said})
    body = json.loads(answer(echo, finish_reason=said, model=CANARY).body)
    return Reply(json.dumps({**body, "system_fingerprint": said}).encode())


def places(root: Path, word: str) -> set[str]:
    """Files under root, by top folder, that hold the word in any spelling."""
    spellings = [word.encode(), word.lower().encode(), word.encode("utf-16-le")]
    found = set()
    for path in (p for p in root.rglob("*") if p.is_file()):
        data = path.read_bytes()
        if path.suffix == ".npz":  # compressed
            with np.load(path, allow_pickle=False) as arrays:
                data = " ".join(str(arrays[name].tolist()) for name in arrays).encode()
        if any(spelling in data for spelling in spellings):
            found.add(path.relative_to(root).parts[0])
    return found


def test_no_text_of_closed_data_leaves_its_places(
    plugins: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(0)
    results = tmp_path / "results"
    with ScriptedJudge(misbehaving) as server:
        code = main(
            [
                *("run", *plugins, "model=leaky", "dataset=closed", f"results_dir={results}"),
                "metrics=chexprompt,radfact,bleu",
                *("judge=local", f"judge.base_url={server.base_url}", "judge.attempts=2"),
            ]
        )
        asked = len(server.requests)
    printed = "".join(capfd.readouterr())
    assert code == 0, printed
    assert asked > 0  # the judge was really asked, so there was text to lose
    assert places(results, CANARY) <= {"predictions", "cache"}
    assert places(results, CANARY) >= {"predictions"}
    assert CANARY not in printed
    assert CANARY not in caplog.text
    (scores,) = results.glob("scores/*/leaky@*/*/chexprompt/scores.json")
    assert set(json.loads(scores.read_text())["unscored"]) == {"s0", "s1", "s2", "s3"}
    # The one folder that holds verdicts belongs to the agreement and to its owner.
    cached = {p.relative_to(results / "cache").parts[:2] for p in results.glob("cache/**/*.sqlite")}
    assert cached == {("dua", "some-agreement")}
    for path in [*results.glob("cache/dua/*"), *results.glob("cache/dua/*/*")]:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    # So do the predictions and the list of studies.
    kept = [*results.glob("predictions/*/*"), *results.glob("predictions/*/*/*")]
    for path in [*kept, *results.glob("cohorts/*.json")]:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_a_judge_elsewhere_is_refused_and_nothing_is_looked_up(
    plugins: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    code = main(
        [
            *("run", *plugins, "model=leaky", "dataset=closed", f"results_dir={results}"),
            *("metrics=chexprompt,bleu", "tracking=none"),
            *("judge=vllm", "judge.model=m", "judge.base_url=https://203.0.113.7/v1"),
        ]
    )
    printed = "".join(capfd.readouterr())
    assert code == 0
    assert "may not go to https://203.0.113.7:443" in printed
    assert CANARY not in printed
    (scores,) = results.glob("scores/*/leaky@*/*/chexprompt/scores.json")
    assert "some-agreement" in json.loads(scores.read_text())["not_run"]
    (bleu,) = results.glob("scores/*/leaky@*/*/bleu/scores.json")
    assert "not_run" not in json.loads(bleu.read_text())


@pytest.mark.parametrize(
    ("dataset", "write"),
    [
        ("mimic_cxr_official_test", write_mimic_cxr),
        ("padchest_gr_test", write_padchest_gr),
        ("chexpert_plus_valid", write_chexpert_plus),
    ],
)
def test_no_text_of_a_real_format_leaves_its_places(
    dataset: str,
    write: Callable[[Path], Any],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Read by the plugin of the format itself; the oracle's copies show that there was text."""
    caplog.set_level(0)
    word = "CANARY-"
    data, results = tmp_path / "data", tmp_path / "results"
    root = data / dataset.rsplit("_", 2 if "mimic" in dataset else 1)[0]
    write(root)
    for model in ("fixed_normal_report", "reference_oracle"):
        code = main(
            [
                *("run", f"model={model}", f"dataset={dataset}", f"data_dir={data}"),
                *(f"dataset.root={root}", "metrics=bleu,rouge", f"results_dir={results}"),
            ]
        )
        printed = "".join(capfd.readouterr())
        assert code == 0, printed
        assert word not in printed
        assert word not in caplog.text
        held = places(results, word)
        assert held <= {"predictions", "cache"}
    assert "predictions" in held
    assert list(results.glob("scores/*/fixed_normal_report@*/*/bleu/scores.json"))
    assert list(results.glob("**/*.html"))


def test_traces_and_notes_of_closed_data_hold_numbers_only(
    plugins: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A judge that answers well and quotes what it read where RadFact lets it."""
    mlflow = pytest.importorskip("mlflow", reason="the [mlflow] extra is not installed")
    results = tmp_path / "results"

    def quoting(request: dict[str, Any]) -> str:
        said = request["messages"][-1]["content"]
        if "candidate" in said and "reference" in said:
            counts = dict.fromkeys("ABCDEF", 1)
            return json.dumps({"significant": counts, "insignificant": counts})
        return json.dumps({"phrases": [said], "status": "entailment", "evidence": [said]})

    with ScriptedJudge(quoting) as server:
        judged = ["judge=local", f"judge.base_url={server.base_url}"]
        words = ["run", *plugins, "model=leaky", "dataset=closed", f"results_dir={results}"]
        assert main([*words, "metrics=chexprompt,radfact", *judged]) == 0
    assert places(results, CANARY) <= {"predictions", "cache"}
    assert not list(results.glob("mlartifacts/**/predictions.json"))
    client = mlflow.MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
    traces = client.search_traces(locations=[experiment.experiment_id])
    assert traces
    questions = [s for t in traces for s in t.data.spans if s.name == "chexprompt"]
    assert questions
    for question in questions:
        assert question.outputs["verdict"]["significant"]["A"] == 1
        assert "messages" not in question.inputs
        assert "answers" not in question.outputs
    for trace in traces:
        assert all(f"s{i}" not in json.dumps(trace.data.spans[0].inputs) for i in range(4))
