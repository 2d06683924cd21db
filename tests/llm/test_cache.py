"""The verdict cache: its keys and its format stay readable by other versions."""

from __future__ import annotations

from pathlib import Path

from reportcard.config.endpoint_settings import JudgeSettings
from reportcard.core.layout import CacheFolder
from reportcard.llm.client.batch import QuestionOutcome
from reportcard.llm.client.replies import Reply, ReplyRecord, Usage
from reportcard.llm.judge.cache import (
    NOBODY,
    ModelName,
    VerdictCache,
    VerdictWriter,
    key_of,
    question_digest,
    usable_verdict,
)
from reportcard.llm.judge.contract import Message, Question, Verdict

SETTINGS = JudgeSettings(kind="openai", base_url="http://127.0.0.1:8103/v1/", model="m")
QUESTION = Question(
    "chexprompt",
    {"reference": "Clear lungs.", "candidate": "The lungs are clear."},
    (Message("user", "?"),),
    "reportcard@1a2b3c4d",
    dict,
    sampling={"temperature": 0.0},
    max_tokens=512,
)


def test_the_key_of_a_verdict_never_changes() -> None:
    """Both digests were computed by earlier code: a cache that was paid for stays valid."""
    digest = question_digest(QUESTION, SETTINGS)
    assert digest.hex() == "849c95be5c251fdf75e0b8ff570c463b21988787be2cf4a0910a5b17acec93e9"
    key = key_of(digest, "m-2026").hex()
    assert key == "6ecb9aa1df94b81fc374f0111424a7e407bab8cc5b3d55294e28a99effbcc280"


def test_the_rows_of_a_verdict_never_change(tmp_path: Path) -> None:
    cache, name = VerdictCache.in_folder(tmp_path), ModelName.from_settings(SETTINGS)
    digest = question_digest(QUESTION, SETTINGS)
    reply = Reply('{"v": 1}', None, "stop", "m-2026", Usage(100, 20, 10), "fp_1", 0.12345)
    record = ReplyRecord(reply, "json_schema", {"temperature": 0.0}, 512)
    outcome = QuestionOutcome(0, Verdict({"v": 1}), "m-2026", (record,))
    VerdictWriter(cache, name, None, [digest]).store([outcome])
    row = cache._db.execute("SELECT key, verdict FROM verdicts").fetchone()
    assert row == (key_of(digest, "m-2026"), '{"value":{"v":1}}')
    assert cache.resolved(name) == "m-2026"
    assert cache.answers(key_of(digest, "m-2026")) == [
        {
            "answer": '{"v": 1}',
            "bad": None,
            "finish_reason": "stop",
            "model": "m-2026",
            "usage": [100, 20, 10],
            "system_fingerprint": "fp_1",
            "seconds": 0.123,
            "structured": "json_schema",
            "sampling": {"temperature": 0.0},
            "max_tokens": 512,
        }
    ]
    cache.close()
    assert CacheFolder(tmp_path).verdicts == tmp_path / "judge.sqlite"


def test_an_unscored_verdict_is_final_for_as_many_attempts_as_it_had(tmp_path: Path) -> None:
    cache = VerdictCache.in_folder(tmp_path)
    outcome = QuestionOutcome(0, Verdict(reason="no JSON (2 answers)"), None, (), unread=2)
    VerdictWriter(cache, ModelName("e", "m"), None, [b"digest"]).store([outcome])
    (row,) = cache.get([key_of(b"digest", NOBODY)]).values()
    assert row == {"reason": "no JSON (2 answers)", "answers": 2}
    assert usable_verdict(row, QUESTION, attempts=2) == outcome.verdict
    assert usable_verdict(row, QUESTION, attempts=3) is None
    cache.close()
