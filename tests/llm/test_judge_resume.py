"""The live judge in a later run: damaged caches, models by turns, files that cannot be written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openai")

from reportcard.api import Custody, DatasetCard, Json, ReportCardError
from reportcard.config.endpoint_settings import JudgeSettings
from reportcard.core.progress import quiet
from reportcard.llm.judge.cache import VerdictCache
from reportcard.llm.judge.live import LiveJudge
from tests import scripted_judge as scripted
from tests.llm.test_live import CANARY, GOOD, Asker, ask_about, many
from tests.scripted_judge import Reply, ScriptedJudge, answer, in_turn


@pytest.fixture
def asker(tmp_path: Path) -> Asker:
    return Asker(tmp_path)


@pytest.mark.parametrize(
    "row",
    [
        "null",
        "[1]",
        "{}",
        '{"value": 3}',
        '{"value": {"significant": {}}}',
        '{"value": null}',
        '{"reason": 5}',
        '{"reason": "x", "answers": "many"}',
        "not json",
        "[" * 100_000,
        None,
    ],
)
def test_a_damaged_row_is_asked_again(row: str | None, asker: Asker) -> None:
    with ScriptedJudge(in_turn(GOOD)) as server:
        first = asker.ask(server, many(3))
        with sqlite3.connect(asker.cache_dir / "judge.sqlite") as db:
            db.execute("UPDATE verdicts SET verdict = ?", (row,))
        db.close()
        assert asker.ask(server, many(3)) == first
        assert len(server.requests) == 6
        assert asker.ask(server, many(3)) == first
        assert len(server.requests) == 6


def test_a_content_filter_is_final_even_when_nothing_else_was_answered(asker: Asker) -> None:
    with ScriptedJudge(in_turn(scripted.filtered_prompt())) as server:
        first = asker.ask(server, many(3))
        assert {v.reason for v in first} == {"content filter"}
        assert asker.ask(server, many(3)) == first
        assert len(server.requests) == 3
        # Still so when a model has given its id to other questions.
        server.reply = lambda request: answer(GOOD, model="m-may")
        assert asker.ask(server, [*many(3), ask_about("new")])[:3] == first
        assert len(server.requests) == 4
        assert asker.ask(server, many(3)) == first
        assert len(server.requests) == 4


def test_two_models_by_turns_come_to_an_end(asker: Asker) -> None:
    turn = iter(range(10_000))

    def script(request: Json) -> Reply:
        return answer(GOOD, model=f"m-{next(turn) % 2}")

    with ScriptedJudge(script) as server:
        for _ in range(2):
            found = asker.ask(server, many(8), concurrency=1)
        assert all(verdict.value for verdict in found), found
        assert sum("by turns" in said for said in asker.said) == 1
        seen = len(server.requests)
        assert asker.ask(server, many(8), concurrency=1) == found
        assert len(server.requests) == seen


def test_with_one_attempt_the_other_models_questions_are_left(asker: Asker) -> None:
    turn = iter(range(10_000))

    def script(request: Json) -> Reply:
        return answer(GOOD, model=f"m-{next(turn) % 2}")

    with ScriptedJudge(script) as server:
        asker.ask(server, many(2), concurrency=1)  # meets both; the second stays
        assert asker.judge(server).identity == "m(m-1)"
        next(turn)  # m-1 is first again
        found = asker.ask(server, many(8), concurrency=1, attempts=1)
        assert asker.judge(server).identity == "m(m-1)"
    left = [v for v in found if v.value is None]
    assert 0 < len(left) < 8
    assert all(v.again and "m-0 is not used" in str(v.reason) for v in left)


def test_a_model_that_goes_back_for_good_is_followed(asker: Asker) -> None:
    with ScriptedJudge(lambda request: answer(GOOD, model="m-may")) as server:
        asker.ask(server, many(2))
        for month in ("m-june", "m-may", "m-june"):
            server.reply = lambda request, month=month: answer(GOOD, model=month)
            asked = [ask_about(f"{month} {i}") for i in range(9)]
            asker.ask(server, asked, concurrency=1)
            found = asker.ask(server, asked, concurrency=1)
            assert all(v.value for v in found)
            assert asker.judge(server).identity == f"m({month})"


def test_a_report_in_the_models_place_is_not_shown(asker: Asker, tmp_path: Path) -> None:
    record = tmp_path / "v.jsonl"

    def script(request: Json) -> Reply:
        return answer(GOOD, model=f"LEAK {request['messages'][-1]['content']}")

    with ScriptedJudge(script) as server:
        judge = asker.judge(server, record=record)
        found = judge.ask([ask_about("report")], "six")
        assert found[0].value
        assert judge.identity.startswith("m(sha256:")
    assert CANARY not in judge.identity + " ".join(asker.said) + record.read_text()


def test_a_record_that_cannot_be_written_is_told_before_anything_is_asked(
    asker: Asker, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with ScriptedJudge(in_turn(GOOD)) as server:
        for record in (tmp_path, tmp_path / "file" / "v.jsonl"):
            with pytest.raises(ReportCardError, match=r"judge\.record.*cannot be written"):
                asker.judge(server, record=record)
        assert server.requests == []
        held = tmp_path / "held.jsonl"
        held.write_text("{}\n")
        asker.judge(server, record=held)
        assert held.read_text() == "{}\n"  # begun anew only when there are verdicts
        asker.judge(server, record=tmp_path / "new.jsonl")
        assert not (tmp_path / "new.jsonl").exists()


def test_a_refused_admission_ends_the_earlier_one(tmp_path: Path) -> None:
    judge = LiveJudge(JudgeSettings(kind="openai", base_url="http://203.0.113.9/v1", model="m"))
    judge.admit(Custody(DatasetCard("o", "open"), tmp_path / "open", quiet, print))
    closed = Custody(DatasetCard("x", "credentialed", "dua"), tmp_path / "closed", quiet, print)
    with pytest.raises(ReportCardError, match="may not go"):
        judge.admit(closed)
    with pytest.raises(ReportCardError, match="admit"):
        judge.ask(many(1), "six")


def test_only_a_damaged_cache_is_to_be_moved_away(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReportCardError, match="leave it where it is") as told:
        VerdictCache(tmp_path / "file" / "judge.sqlite")
    assert "move it away" not in str(told.value)
    cache = VerdictCache(tmp_path / "judge.sqlite")
    cache._db.execute("PRAGMA max_page_count = 1")  # no room
    with pytest.raises(ReportCardError, match=r"full.*leave it where it is"):
        cache.put([(b"k", {"reason": "x" * 100_000}, ())])
    cache.close()


LATE = """
import sys
from pathlib import Path
from reportcard.api import Custody, DatasetCard
from reportcard.config.endpoint_settings import JudgeSettings
from reportcard.llm.judge.contract import Message, Question
from reportcard.llm.judge.live import LiveJudge
from reportcard.core.progress import quiet

judge = LiveJudge(JudgeSettings(kind="openai", base_url=sys.argv[1], model="m"))
judge.admit(Custody(DatasetCard("o", "open"), Path(sys.argv[2]), quiet, print))
message = (Message("user", "CANARYLARK"),)
question = Question("k", {"report": "CANARYLARK"}, message, "p@1", lambda found: found)
print(judge.ask([question], "k")[0].value)
"""


def test_the_sdks_own_log_level_shows_no_text(asker: Asker) -> None:
    """OPENAI_LOG=debug takes effect when the SDK is imported, so in a process of its own."""
    root = Path(__file__).parents[2]
    with ScriptedJudge(in_turn(GOOD)) as server:
        done = subprocess.run(
            [sys.executable, "-c", LATE, server.base_url, str(asker.cache_dir)],
            env={**os.environ, "OPENAI_LOG": "debug", "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert "'A': 1" in done.stdout, done.stderr
    assert "CANARYLARK" not in done.stderr + done.stdout


def test_patience_is_spent_once_for_all_metrics_of_a_run(asker: Asker) -> None:
    with ScriptedJudge(in_turn(GOOD)) as server:
        judge = asker.judge(server, patience_s=0.2)
        server.die()
        assert all(v.again for v in judge.ask(many(3), "one metric"))
        server.revive()
        found = judge.ask([ask_about("of another metric")], "another")
        assert found[0].reason == "judge unreachable: no connection"
        assert len(server.requests) == 0
        # The next data set is a new chance.
        card = DatasetCard("other", "open")
        judge.admit(Custody(card, asker.cache_dir, quiet, lambda text: None))
        assert judge.ask(many(3), "again")[0].value
