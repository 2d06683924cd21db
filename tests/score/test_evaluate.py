"""Bring your own predictions: formats, numbers, and every kind of bad input."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportcard import evaluate
from reportcard.api import ReportCardError
from reportcard.cli.main import main

ROWS = [
    {"study_id": "a", "candidate": "The lungs are clear.", "reference": "Lungs are clear."},
    {"study_id": "b", "candidate": "Small effusion.", "reference": "There is a small effusion."},
    {"study_id": "c", "candidate": "", "reference": "Heart size is normal."},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_result_has_the_documented_shape(tmp_path: Path) -> None:
    result = evaluate(write(tmp_path / "p.jsonl", ROWS), resamples=50)
    assert (result["n"], result["empty_candidates"]) == (3, 1)
    entry = result["metrics"]["bleu.bleu_4"]
    assert set(entry) >= {
        *("value", "ci_low", "ci_high", "n", "unscored", "direction", "signature"),
    }
    assert entry["direction"] == "higher"
    assert entry["ci_low"] <= entry["value"] <= entry["ci_high"]
    for part in ("bleu.bleu_4", "13a", "B=50", "seed=0", "n:3", "protocol:reportcard"):
        assert part in entry["signature"]
    assert {k.split(".")[0] for k in result["metrics"]} == {"bleu", "rouge"}


def test_formats_agree(tmp_path: Path) -> None:
    import csv

    jsonl = evaluate(write(tmp_path / "p.jsonl", ROWS))
    with (tmp_path / "p.csv").open("w", encoding="utf-8-sig", newline="") as handle:
        writer = csv.DictWriter(handle, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)
    (tmp_path / "list.json").write_text(json.dumps(ROWS))
    (tmp_path / "by_id.json").write_text(json.dumps({r["study_id"]: r for r in ROWS}))
    for name in ("p.csv", "list.json", "by_id.json"):
        assert evaluate(tmp_path / name) == jsonl
    assert evaluate(ROWS) == jsonl


def test_rows_in_another_order_give_the_same_values(real_texts: list[str]) -> None:
    rows = [
        {"study_id": str(i), "candidate": a, "reference": b}
        for i, (a, b) in enumerate(zip(real_texts[:200], real_texts[5:205], strict=True))
    ]
    first, second = evaluate(rows), evaluate(rows[::-1])
    for key, entry in first["metrics"].items():
        assert second["metrics"][key]["value"] == pytest.approx(entry["value"], rel=1e-12)


def test_intervals_are_scipys(real_texts: list[str]) -> None:
    from scipy.stats import bootstrap

    from reportcard.api import Pair
    from reportcard.metrics.rouge import Rouge

    texts = list(zip(real_texts[:150], real_texts[7:157], strict=True))
    rows = [{"study_id": str(i), "candidate": a, "reference": b} for i, (a, b) in enumerate(texts)]
    values = Rouge().rows([Pair("", a, b) for a, b in texts])[:, 2]
    theirs = bootstrap(
        (values,), np.mean, n_resamples=300, method="BCa", random_state=9
    ).confidence_interval
    ours = evaluate(rows, ["rouge"], resamples=300, seed=9)["metrics"]["rouge.rouge_l"]
    assert (ours["ci_low"], ours["ci_high"]) == pytest.approx(theirs, abs=1e-12)


def test_patients_with_several_studies_are_drawn_whole() -> None:
    rows = [{**row, "patient_id": "p1"} for row in ROWS[:2]] + [ROWS[2]]
    result = evaluate(rows, ["rouge"])
    assert result["n_patients"] == 2
    assert "by=patient" in result["metrics"]["rouge.rouge_l"]["signature"]


def test_empty_reference_is_left_out_and_counted() -> None:
    rows = [*ROWS, {"study_id": "d", "candidate": "x", "reference": "  "}]
    result = evaluate(rows)
    assert (result["n"], result["excluded_empty_reference"]) == (3, 1)
    assert result["metrics"] == evaluate(ROWS)["metrics"]


def test_whole_number_ids_are_ids() -> None:
    assert evaluate([{**ROWS[0], "study_id": 7}], ["rouge"])["n"] == 1


BAD: list[tuple[str, str, bytes, str]] = [
    ("empty file", "p.jsonl", b"", r"p\.jsonl holds no rows"),
    ("empty csv", "p.csv", b"study_id,candidate,reference\n", r"p\.csv holds no rows"),
    ("not json", "p.jsonl", b'{"study_id": "a"\n', r"p\.jsonl:1: not JSON"),
    (
        "not utf-8",
        "p.csv",
        b"study_id,candidate,reference\na,caf\xe9,b\n",
        r"p\.csv:2: not UTF-8",
    ),
    (
        "missing column",
        "p.csv",
        b"study_id,candidate\na,b\n",
        r"p\.csv:2: no column reference or target; there are study_id, candidate",
    ),
    (
        "short row",
        "p.csv",
        b"study_id,candidate,reference\na,b\n",
        r"p\.csv:2: fewer fields",
    ),
    (
        "long row",
        "p.csv",
        b"study_id,candidate,reference\na,b,c,d\n",
        r"p\.csv:2: more fields",
    ),
    (
        "duplicate ids",
        "p.csv",
        b"study_id,candidate,reference\na,b,c\nb,b,c\na,b,c\n",
        r"Duplicate ids: a \(.*p\.csv:2 and .*p\.csv:4\)",
    ),
    ("no id", "p.csv", b"study_id,candidate,reference\n,b,c\n", r"p\.csv:2: no study_id"),
    (
        "null text",
        "p.jsonl",
        b'{"study_id": "a", "candidate": null, "reference": "x"}\n',
        r"p\.jsonl:1: 'candidate' must be text, not NoneType",
    ),
    (
        "all references empty",
        "p.csv",
        b"study_id,candidate,reference\na,b,\n",
        "Every reference is empty",
    ),
    (
        "column twice",
        "p.csv",
        b"study_id,candidate,candidate,reference\na,b,c,d\n",
        r"p\.csv:1: a column occurs twice",
    ),
    (
        "key twice",
        "p.jsonl",
        b'{"study_id": "a", "candidate": "x", "candidate": "y", "reference": "x"}\n',
        r"p\.jsonl:1: the key 'candidate' occurs twice",
    ),
    (
        "id twice as a key",
        "p.json",
        b'{"a": {"candidate": "x", "reference": "y"}, "a": {"candidate": "z", "reference": "y"}}',
        r"the key 'a' occurs twice",
    ),
    ("semicolons", "p.csv", b"study_id;candidate;reference\na;b;c\n", "there are study_id;cand"),
    ("a list line", "p.jsonl", b"[1]\n", r"p\.jsonl:1: expected a JSON object"),
    ("unknown ending", "p.xlsx", b"PK", r"unknown ending; use \.jsonl"),
    ("open quote", "p.csv", b'study_id,candidate,reference\na,"b,c\n', r"p\.csv:2: not CSV"),
]


@pytest.mark.parametrize(("name", "file", "data", "message"), BAD, ids=[b[0] for b in BAD])
def test_bad_files_are_refused_and_nothing_is_overwritten(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    file: str,
    data: bytes,
    message: str,
) -> None:
    (tmp_path / file).write_bytes(data)
    out = tmp_path / "out.json"
    out.write_text("precious")
    with pytest.raises(ReportCardError, match=message):
        evaluate(tmp_path / file)
    assert main(["evaluate", str(tmp_path / file), "--json", str(out)]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert out.read_text() == "precious"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"metrics": ["blue"]}, r"Unknown metric 'blue'\. Did you mean bleu"),
        ({"protocol": "r2gn"}, r"Unknown protocol 'r2gn'\. Did you mean r2gen"),
        ({"resamples": 0}, "resamples"),
        ({"seed": -1}, "seed"),
        ({"protocol": "r2gen"}, "--train"),
        ({"protocol": "r2gen", "train": "nowhere.jsonl"}, "No file at nowhere.jsonl"),
        ({"protocol": "r2gen", "train": [{"report": "x"}]}, "train must be texts"),
        ({"overrides": ["stats.resamples=7"]}, "takes weights"),
    ],
)
def test_bad_settings_are_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ReportCardError, match=message):
        evaluate(ROWS, **kwargs)


@pytest.mark.parametrize("pairs", [None, 3, ROWS[0], ["a", "b"], [("a", "b")]])
def test_what_is_not_pairs_is_refused(pairs: Any) -> None:
    with pytest.raises(ReportCardError, match="mapping"):
        evaluate(pairs)


def test_blanks_in_a_list_of_metrics_do_not_matter() -> None:
    assert evaluate(ROWS, "bleu, rouge") == evaluate(ROWS, ["bleu", "rouge"])


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportCardError, match="No file at"):
        evaluate(tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize("suffix", [".jsonl", ".txt", ".json"])
def test_train_files(tmp_path: Path, suffix: str) -> None:
    train = ["Lungs are clear."] * 3
    path = tmp_path / f"train{suffix}"
    if suffix == ".txt":
        path.write_text("\n".join(train))
    elif suffix == ".json":  # R2Gen's annotation.json
        path.write_text(json.dumps({"train": [{"id": "x", "report": t} for t in train]}))
    else:
        write(path, [{"report": t} for t in train])
    assert evaluate(ROWS, protocol="r2gen", train=path) == evaluate(
        ROWS, protocol="r2gen", train=train
    )


def test_cli_writes_what_python_returns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs, out = write(tmp_path / "p.jsonl", ROWS), tmp_path / "sub" / "out.json"
    arguments = ["evaluate", str(pairs), "--metrics", "bleu,rouge", "--resamples", "60"]
    assert main([*arguments, "--seed", "4", "--json", str(out)]) == 0
    assert json.loads(out.read_text()) == evaluate(pairs, resamples=60, seed=4)
    assert "bleu.bleu_4" in capsys.readouterr().out
    assert main([*arguments, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 3


def test_weird_texts_go_through() -> None:
    texts = ["XXXX", "___", "🫁 " * 50, "\x00\x07", "a" * 20_000, "normal " * 10_000, "\u202eabc"]
    rows = [
        {"study_id": str(i), "candidate": text, "reference": text} for i, text in enumerate(texts)
    ]
    result = evaluate(rows, ["bleu", "bleu_coco", "bleu_radcliq", "rouge", "rouge_stem"])
    assert all(np.isfinite(e["value"]) for e in result["metrics"].values())


@pytest.mark.slow
def test_memory_stays_bounded() -> None:
    """The full 200,000 pairs are in benchmarks/; this is the same path at a tenth of it."""
    rows = [
        {"study_id": str(i), "candidate": f"lung {i % 97} clear", "reference": f"lung {i % 89}"}
        for i in range(20_000)
    ]
    tracemalloc.start()
    evaluate(rows, resamples=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300 * 2**20
