"""`reportcard generate`: requests in, predictions out, whatever happens in between."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from reportcard.api import Report, ReportCardError
from reportcard.cli.main import main
from reportcard.core import registry
from reportcard.data.requests_file import digest_of, read_requests

REPOSITORY = Path(__file__).parents[2]
TOY = Path(__file__).parents[1] / "toy_staged.py"


@pytest.fixture(autouse=True)
def _own_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.models, "_offered", {})


def picture(path: Path, grey: int) -> str:
    PIL.Image.fromarray(np.full((8, 8), grey, np.uint8)).save(path)
    return path.name


def line(folder: Path, number: int, **fields: Any) -> dict[str, Any]:
    image = {"path": picture(folder / f"{number}.png", 10 * number), "view": "PA"}
    return {"study_id": f"s{number}", "images": [image], "indication": "x" * number, **fields}


def write(path: Path, *rows: dict[str, Any] | str) -> Path:
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def requests_of(folder: Path, n: int = 6) -> Path:
    return write(folder / "requests.jsonl", *(line(folder, i) for i in range(1, n + 1)))


def generate(requests: Path, out: Path, *words: str) -> int:
    return main(
        ["generate", str(requests), f"plugin={TOY}", "model=toy_staged", *words, "--out", str(out)]
    )


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in out.read_text().splitlines()]


def test_requests_in_predictions_out_in_their_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "predictions.jsonl"
    assert generate(requests_of(tmp_path), out, "+model.bad=s3") == 0
    found = rows(out)
    assert [row["study_id"] for row in found] == [f"s{n}" for n in range(1, 7)]
    assert found[3]["findings"] == "Grey 40.00. xxxx"
    assert found[3]["raw"] == "Grey 40.00. xxxx"
    assert (found[3]["impression"], found[3]["phrases"]) == (None, [])
    assert found[3]["used"] == ["frontal", "indication"]
    assert found[3]["tokens_out"] == 16
    assert "token_ids" not in found[3]
    # Data of unknown origin: the error's own words may be a report's and are left out.
    assert found[2]["status"] == "failed"
    assert found[2]["error"].startswith("RuntimeError (toy_staged.py:")
    said = capsys.readouterr()
    assert "6 answers: 1 failed, 5 ok" in said.err
    assert said.out == ""
    assert not out.with_name("predictions.jsonl.partial").exists()


def test_token_ids_when_asked_and_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    requests, out = requests_of(tmp_path, 2), tmp_path / "out.jsonl"
    assert generate(requests, out, "--token-ids") == 0
    assert rows(out)[0]["token_ids"] == list(map(ord, "Grey 10.00. x"))
    card = tmp_path / "out.jsonl.card.json"
    assert stat.S_IMODE(out.stat().st_mode) == stat.S_IMODE(card.stat().st_mode) == 0o600
    public = tmp_path / "open.jsonl"
    assert generate(requests, public, "--data-class", "open") == 0
    assert stat.S_IMODE(public.stat().st_mode) == 0o644


def test_what_is_there_is_up_to_date_or_refused_and_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    requests, out = requests_of(tmp_path), tmp_path / "out.jsonl"
    assert generate(requests, out) == 0
    content, written = out.read_bytes(), out.stat().st_mtime_ns
    assert generate(requests, out, "+model.batch_size=2", "model.label=mine") == 0
    assert "up to date: 6 answers: 6 ok" in capsys.readouterr().err
    assert out.stat().st_mtime_ns == written
    for words, says in [
        (["+model.greeting=Report"], "the model toy_staged, with other weights, options or code"),
        (["--token-ids"], "token ids left out"),
        (["--data-class", "open"], "--data-class credentialed"),
        (["model.label=mine", "--token-ids"], "token ids left out"),
        (["model.label=mine", "+model.mates=true"], "the model toy_staged, and not mine"),
    ]:
        assert generate(requests, out, *words) == 2
        assert says in capsys.readouterr().err
    picture(tmp_path / "1.png", 99)  # another picture under the same name
    assert generate(requests, out) == 2
    assert "has the answers of: other requests." in capsys.readouterr().err
    assert out.read_bytes() == content
    picture(tmp_path / "1.png", 10)
    out.write_text("mine\n")
    assert generate(requests, out) == 2
    assert "was changed since generate wrote it" in capsys.readouterr().err
    assert generate(requests, requests) == 2
    assert "was not written by generate" in capsys.readouterr().err
    assert generate(requests, tmp_path) == 2
    assert "is a folder" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_repeated_it_writes_the_bytes_of_an_undisturbed_run(
    tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    """The toy tells who shared a batch, so this sees the batches of the resumed run too."""
    requests, out = requests_of(tmp_path, 12), tmp_path / "out.jsonl"
    words = ("+model.mates=true", "+model.batch_size=2")
    assert generate(requests, tmp_path / "whole.jsonl", *words) == 0
    command = [
        *(sys.executable, "-m", "reportcard.cli.main", "generate", str(requests), f"plugin={TOY}"),
        *("model=toy_staged", *words, "+model.seconds=0.2", "--out", str(out)),
    ]
    log = tmp_path / "out.jsonl.partial" / "predictions.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if log.is_file() and log.read_bytes().count(b"\n") >= 4:
            break
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(20) in (-signal.SIGKILL, 130)
    assert 4 <= log.read_bytes().count(b"\n") < 12
    assert not out.exists()
    with log.open("ab") as handle:
        handle.write(b'{"study_id": "torn')
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700

    assert generate(requests, out, "+model.mates=false") == 2  # another model's log
    assert (
        "the model toy_staged, with other weights, options or code. Delete"
        in capsys.readouterr().err
    )
    assert generate(requests, out, *words) == 0
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not log.parent.exists()


def test_exact_buckets_reach_the_engine(tmp_path: Path) -> None:
    requests, out = requests_of(tmp_path, 4), tmp_path / "out.jsonl"
    assert generate(requests, out, "+model.mates=true", "--exact-buckets") == 0
    assert [row["raw"] for row in rows(out)] == [f"With s{n}." for n in range(1, 5)]


def test_when_every_study_fails_the_exit_code_says_so(tmp_path: Path) -> None:
    assert generate(requests_of(tmp_path, 2), tmp_path / "out.jsonl", "+model.fits=0") == 2
    assert [row["status"] for row in rows(tmp_path / "out.jsonl")] == ["failed", "failed"]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("model=pixel_retrieval", "it is fitted on a train part, and requests have none"),
        ("model=reference_oracle", "it answers with references, and requests have none"),
        ("model=empty_report,fixed_normal_report", "exactly one model, not 2: empty_report, fixed"),
        ("limit=1", "exactly one model: model=NAME"),
    ],
)
def test_models_that_cannot_answer_requests_are_refused_with_the_reason(
    tmp_path: Path, model: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    assert main(["generate", str(requests_of(tmp_path, 2)), model, "--out", str(out)]) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.glob("out.*"))


def test_missing_weights_and_missing_images_are_said_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    assert generate(requests_of(tmp_path), out, f"+model.weights={tmp_path / 'nowhere'}") == 2
    assert f"there is no folder {tmp_path / 'nowhere'}" in capsys.readouterr().err
    bare = write(tmp_path / "bare.jsonl", {"study_id": "1"})
    assert generate(bare, out) == 2
    assert "it needs images, and no request has one" in capsys.readouterr().err
    assert not list(tmp_path.glob("out.*"))


def test_marks_are_shown_and_stand_in_fingerprint_and_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    requests, masks = requests_of(tmp_path, 2), tmp_path / "masks"
    marked = ["marks=masks", f"marks.folder={masks}", "marks.numbers=false"]
    out, plain = tmp_path / "out.jsonl", tmp_path / "plain.jsonl"
    masks.mkdir()
    assert generate(requests, out, *marked) == 2
    assert "no mask of any of its 2 images" in capsys.readouterr().err
    (masks / "1.png").mkdir()
    picture(masks / "1.png" / "left_lung.png", 255)
    assert generate(requests, out, *marked) == generate(requests, plain) == 0
    cards = [
        json.loads(path.with_name(f"{path.name}.card.json").read_text()) for path in (out, plain)
    ]
    assert (cards[0]["key"]["model"], cards[0]["marks"]["marked"]) == ("toy_staged+marks", 1)
    assert cards[0]["key"]["fingerprint"] != cards[1]["key"]["fingerprint"]
    assert cards[0]["key"]["requests"] == cards[1]["key"]["requests"]
    before, after = ({row["study_id"]: row["raw"] for row in rows(path)} for path in (plain, out))
    assert before["s1"] != after["s1"]  # the toy says what it sees
    assert before["s2"] == after["s2"]
    picture(masks / "1.png" / "left_lung.png", 0)
    assert generate(requests, out, *marked) == 2
    assert "with other weights, options or code" in capsys.readouterr().err
    words = [str(requests), "model=empty_report", *marked, "--out", str(tmp_path / "e.jsonl")]
    assert main(["generate", *words]) == 2
    assert "it sees no pixels, so it cannot be shown marks" in capsys.readouterr().err


SENDS = """
from reportcard.api import ModelCard, Prediction, Report, ReportCardError

class Sends:
    card = ModelCard("sends requests away")

    def admit(self, custody):
        self.data = custody.data
        if custody.data.data_class != "open":
            raise ReportCardError(f"{custody.data.title} may not leave this machine.")

    def generate(self, requests):
        return [Prediction(r.study_id, Report(f"{self.data.dua_id}")) for r in requests]
"""


def test_an_adapter_that_sends_requests_away_is_told_whose_they_are_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sends.py").write_text(SENDS)
    requests, out = requests_of(tmp_path, 2), tmp_path / "out.jsonl"
    words = ["generate", str(requests), f"plugin={tmp_path / 'sends.py'}", "model=sends"]
    assert main([*words, "--out", str(out)]) == 2
    assert "requests.jsonl may not leave this machine." in capsys.readouterr().err
    assert not list(tmp_path.glob("out.*"))
    assert main([*words, "--data-class", "open", "--dua", "mine", "--out", str(out)]) == 0
    assert rows(out)[0]["findings"] == "mine"


def test_a_broken_image_costs_its_own_study(tmp_path: Path) -> None:
    requests = requests_of(tmp_path, 3)
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:40])
    assert generate(requests, tmp_path / "out.jsonl") == 0
    assert [row["status"] for row in rows(tmp_path / "out.jsonl")] == ["ok", "failed", "ok"]
    assert rows(tmp_path / "out.jsonl")[1]["error"].startswith("image ")


def test_the_answers_can_be_put_on_the_board(tmp_path: Path) -> None:
    """What generate writes, replay reads."""
    out = tmp_path / "out.jsonl"
    assert generate(requests_of(tmp_path, 2), out) == 0
    from reportcard.model_adapters.replay import Replay

    answer = Replay(str(out)).generate(read_requests(tmp_path / "requests.jsonl")[:1])[0]
    assert answer.report.findings == "Grey 10.00. x"


def test_every_field_of_a_request_is_read(tmp_path: Path) -> None:
    (tmp_path / "prior").mkdir()
    picture(tmp_path / "prior" / "0.png", 1)
    full = line(
        tmp_path,
        1,
        technique="Portable.",
        comparison="None.",
        age=61,
        sex="F",
        task="phrase_grounding",
        phrase="Left effusion.",
        prior={
            "images": [{"path": "prior/0.png", "view": "frontal"}],
            "report": {"findings": "Clear.", "impression": "Normal."},
        },
    )
    bare = {"study_id": 7, "images": [{"path": str(tmp_path / "1.png")}], "prior": {"report": "A"}}
    text = json.dumps(full) + "\n\n" + json.dumps(bare)
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    one, two = read_requests(path)
    assert (one.study_id, one.age, one.sex, one.task) == ("s1", 61.0, "F", "phrase_grounding")
    assert (one.technique, one.comparison, one.phrase) == ("Portable.", "None.", "Left effusion.")
    assert one.prior is not None
    assert one.prior.images[0].view == "Frontal"
    assert one.prior.images[0].path == tmp_path / "prior" / "0.png"
    assert one.prior.report == Report("Clear.", "Normal.")
    assert (two.study_id, two.images[0].view, two.indication) == ("7", "Unknown", None)
    assert two.prior is not None
    assert two.prior.report == Report("A")
    assert int(one.images[0].pixels()[0, 0]) == 10


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"study_id": "1", "indicaton": "Cough."}', "unknown key 'indicaton'. Did you mean ind"),
        ('{"study_id": "1", "findings": "Clear."}', "a request contains no part of the answer"),
        ('{"study_id": "1", "reference": "Clear."}', "a request contains no part of the answer"),
        ('{"study_id": "1", "age": NaN}', "'age' is a number of years, not nan"),
        ('{"study_id": "1", "indication": 5}', "'indication' is text, not 5"),
        ('{"study_id": "1", "task": "finding"}', "Did you mean findings?"),
        ('{"study_id": "1", "task": "phrase_grounding"}', "'phrase' and task phrase_grounding go"),
        ('{"study_id": "1", "images": "a.png"}', "'images' is a list of {path, view}"),
        ('{"study_id": "1", "images": [{"path": "a.png", "view": "side"}]}', "is one of PA, AP,"),
        ('{"study_id": "1", "images": [{"view": "PA"}]}', "'images[0]' has no path"),
        ('{"study_id": "1", "prior": {"image": []}}', "'prior.image'. Did you mean images?"),
        ('{"study_id": "1", "prior": {"report": [1]}}', "text or {findings, impression}"),
        ('{"study_id": "1"}\n{"study_id": 1}', "r.jsonl:2: study 1: the id occurs in"),
        ('{"study_id": true}', "study_id is text or a whole number"),
        ("{}", "no study_id"),
        ('{"study_id": "1", "study_id": "2"}', "occurs twice"),
        ('{"study_id": "1"', "r.jsonl:1: not JSON"),
        ('{"study_id": "1", "indication": "\\ud800"}', "r.jsonl:1: study 1: a text has half a"),
        ('{"study_id": "\\udfff"}', "r.jsonl:1: study ?: a text has half a"),
        (
            '{"study_id": "1", "prior": {"report": "\\ud83d"}}',
            "r.jsonl:1: study 1: a text has half",
        ),
        ("\n \n", "holds no rows"),
    ],
)
def test_bad_requests_are_named_with_file_line_and_study(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(text)
    with pytest.raises(ReportCardError) as error:
        read_requests(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)


def test_all_problems_are_told_at_once_and_the_first_five_in_words(tmp_path: Path) -> None:
    absent = [{"path": "gone.png", "view": "PA"}]
    path = write(tmp_path / "r.jsonl", *({"study_id": str(n), "images": absent} for n in range(8)))
    with pytest.raises(ReportCardError) as error:
        read_requests(path)
    said = str(error.value).splitlines()
    assert said[0] == f"{path}: 8 problems:"
    assert said[1] == f"  {path}:1: study 0: no image file {tmp_path / 'gone.png'}"
    assert (len(said), said[-1]) == (7, "  and 3 more")


def test_a_file_that_is_no_request_file(tmp_path: Path) -> None:
    for name, content, says in [
        ("r.jsonl", b'{"study_id": "\xff"}', "r.jsonl:1: not UTF-8 (byte 14)"),
        ("r.csv", b"study_id\n1\n", "requests are JSONL, one study per line"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ReportCardError) as error:
            read_requests(tmp_path / name)
        assert says in str(error.value)
    for path in (tmp_path, tmp_path / "absent.jsonl"):
        with pytest.raises(ReportCardError):
            read_requests(path)


def test_requests_are_what_they_hold_and_not_where_they_lie(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    same = digest_of(read_requests(requests_of(here)))
    assert same == digest_of(read_requests(requests_of(there)))
    picture(there / "2.png", 21)
    assert same != digest_of(read_requests(there / "requests.jsonl"))
