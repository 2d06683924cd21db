"""What a crash may do to files, and what it may not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportcard.api import ReportCardError
from reportcard.core.files import (
    JsonlLog,
    RunLock,
    canonical,
    digest,
    read_json,
    read_jsonl,
    write_atomic,
    write_json,
)


@pytest.mark.parametrize("torn", [b'{"id": "3", "te', b'{"id": "3"}', b"\xff\xfe", b"{"])
def test_torn_last_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"id":"1"}\n{"id":"2"}\n' + torn)
    log = JsonlLog(path)
    assert [row["id"] for row in log.rows()] == ["1", "2"]
    log.append([{"id": "3"}])
    log.close()
    assert path.read_bytes() == b'{"id":"1"}\n{"id":"2"}\n{"id":"3"}\n'


def test_damage_before_the_last_line_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"id": 1}\n{"id": \n{"id": 3}\n')
    with pytest.raises(ReportCardError, match=r"log\.jsonl:2"):
        list(read_jsonl(path))


@given(st.text())
def test_any_text_survives_the_log(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    log = JsonlLog(path)
    log.append([{"text": text}])
    log.close()
    assert [row for _, row in read_jsonl(path)] == [{"text": text}]


def test_lone_surrogates_do_not_stop_the_log(tmp_path: Path) -> None:
    log = JsonlLog(tmp_path / "log.jsonl")
    log.append([{"text": "a\ud800b"}])
    assert next(log.rows())["text"] == "a\ud800b"


def test_atomic_write_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud800")
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_second_process_is_refused_with_a_sentence(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from reportcard.core.files import RunLock\n"
        f"with RunLock(Path({str(tmp_path)!r})): pass"
    )
    with RunLock(tmp_path):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "is being written by process" in done.stderr
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_digest_does_not_depend_on_key_order() -> None:
    assert digest({"a": 1, "b": [2.5, None]}) == digest({"b": [2.5, None], "a": 1})
    assert canonical({"é": "x"}) == '{"é":"x"}'
