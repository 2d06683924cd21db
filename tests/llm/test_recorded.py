"""Verdicts that a live judge wrote to a file are replayed without one."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reportcard.api import Custody, DatasetCard, Json, ReportCardError
from reportcard.config.endpoint_settings import JudgeSettings
from reportcard.core.progress import quiet
from reportcard.llm.judge import open_judge
from reportcard.llm.judge.contract import BadAnswerError, Message, Question, Verdict
from reportcard.llm.judge.recorded import RecordedJudge, VerdictRecorder
from reportcard.llm.judge.recorded import given_by as asked_of
from tests import scripted_judge as scripted
from tests.scripted_judge import ScriptedJudge


def check(found: Any) -> Json:
    if not isinstance(found, dict) or set(found) != {"status"}:
        raise BadAnswerError("a verdict has a status and nothing else")
    return found


def entailment(hypothesis: str, *premises: str, repeat: int = 0) -> Question:
    texts = {"premises": list(premises), "hypothesis": hypothesis}
    message = Message("user", hypothesis)
    return Question("entailment", texts, (message,), "ours@1", check, repeat=repeat)


def replay(path: Path, questions: Sequence[Question]) -> list[Verdict]:
    judge = RecordedJudge(JudgeSettings(kind="recorded", verdicts=path))
    assert judge.missing() is None
    return judge.ask(questions, "entailment")


def lines(path: Path, *rows: Json) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


ROW = {"kind": "entailment", "premises": ["b", "a"], "hypothesis": "h", "status": "entailment"}


def test_a_run_is_recorded_and_replayed(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    from reportcard.llm.judge.live import LiveJudge

    bad, good = "no verdict \ud800", '{"status": "entailment"}'
    record = tmp_path / "out" / "v.jsonl"
    said: list[str] = []
    custody = Custody(DatasetCard("ours", "open"), tmp_path / "cache", quiet, said.append)

    def script(request: Json) -> str | scripted.Reply:
        text = request["messages"][0]["content"]
        if text == "down":
            return scripted.out_of_quota()
        return bad if text == "odd" else good

    questions = [entailment(h, "p, “q”") for h in ("one", "odd", "two", "one")]
    later = [entailment("two", "p, “q”"), entailment("one", "x"), entailment("down", "p")]
    with ScriptedJudge(script) as server:
        for _ in range(2):  # the second time out of the cache: the same file again
            settings = JudgeSettings(
                kind="openai", base_url=server.base_url, model="m", record=record
            )
            judge = LiveJudge(settings)
            judge.admit(custody)
            verdicts = judge.ask(questions, "entailment")
            verdicts += judge.ask([*later, entailment("one", "x", repeat=1)], "entailment")[:3]
            judge.close()
            hypotheses = [json.loads(line)["hypothesis"] for line in record.open(encoding="utf-8")]
            assert hypotheses == ["one", "odd", "two", "one"]
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    replayed = replay(record, [*questions, *later])
    assert replayed[:-1] == verdicts[:-1]
    assert replayed[1].reason == verdicts[1].reason
    assert replayed[-1] == Verdict(reason="no recorded verdict")


def test_premises_are_a_set_and_white_space_is_forgiven(tmp_path: Path) -> None:
    other = {**ROW, "premises": ["the  heart\nis small"]}
    path = lines(tmp_path / "v.jsonl", ROW, other)
    found = replay(
        path,
        [
            entailment("h", "a", "b", "a"),
            entailment("h", "the heart is  small "),
            entailment("h", "a"),
            entailment("h", "a", "b", repeat=1),
        ],
    )
    absent = Verdict(reason="no recorded verdict")
    assert found == [Verdict({"status": "entailment"})] * 2 + [absent] * 2


def test_the_exact_text_comes_first(tmp_path: Path) -> None:
    no = {**ROW, "hypothesis": "h ", "status": "not_entailment"}
    path = lines(tmp_path / "v.jsonl", ROW, no)
    exact, spaced, neither = replay(path, [entailment(h, "a", "b") for h in ("h", "h ", " h")])
    assert exact.value == {"status": "entailment"}
    assert spaced.value == {"status": "not_entailment"}
    assert neither.value is None


def test_unscored_lines_keep_their_reason(tmp_path: Path) -> None:
    row = {"kind": "entailment", "premises": [], "hypothesis": "h", "unscored": "content filter"}
    assert replay(lines(tmp_path / "v.jsonl", row), [entailment("h")]) == [
        Verdict(reason="content filter")
    ]


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ('{"kind": "entailment"', "v.jsonl:2: not JSON"),
        ("[1]", "v.jsonl:2"),
        ('{"premises": []}', "v.jsonl:2: no 'kind'"),
        ('{"kind": "entailment", "premises": []}', "v.jsonl:2: 'hypothesis' must be text"),
        ('{"kind": "entailment", "premises": [1], "hypothesis": "x"}', "v.jsonl:2: 'premises'"),
        (json.dumps({**ROW, "hypothesis": "x", "status": None, "y": 1}), "v.jsonl:2: a verdict"),
        (json.dumps({**ROW, "status": "not_entailment"}), "v.jsonl:1 and :2"),
        ('{"a":' * 10_000, "nested too deep"),
        ('{"kind": "entailment", "n": ' + "1" * 5000 + "}", "v.jsonl:2: a number with too many"),
        (
            '{"kind": "chexpromt"}',
            r"v.jsonl:2: unknown kind 'chexpromt'. Did you mean chexprompt\?",
        ),
        ('{"kind": "radfact.phrase"}', r"Did you mean radfact.phrases\?"),
        (
            '{"kind": "entailment", "premises": ["a", "b"], "hypothesis": "x", "unscored": null}',
            "v.jsonl:2: 'unscored' must give a reason",
        ),
    ],
)
def test_a_bad_line_is_named(second: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + second + "\n", encoding="utf-8")
    with pytest.raises(ReportCardError, match=says):
        replay(path, [entailment("x", "a", "b")])


def by(**known: Any) -> Json:
    return {**ROW, "by": known}


def test_a_recording_says_who_gave_it(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    from reportcard.llm.judge.live import LiveJudge

    record, again = tmp_path / "v.jsonl", tmp_path / "w.jsonl"
    custody = Custody(DatasetCard("ours", "open"), tmp_path / "cache", quiet, print)
    question = replace(entailment("h", "a", "b"), sampling={"temperature": 0.0})
    with ScriptedJudge(
        lambda request: scripted.answer('{"status": "entailment"}', model="m-may")
    ) as server:
        judge = LiveJudge(
            JudgeSettings(
                kind="openai", base_url=server.base_url, model="m", caveat="weak", record=record
            )
        )
        judge.admit(custody)
        judge.ask([question], "entailment")
    known = {"prompt": "ours@1", "sampling": {"temperature": 0.0}, "caveat": "weak"}
    assert json.loads(record.read_text())["by"] == {"model": "m(m-may)", **known}
    for path in (record, again):  # what is recorded from a replay says so too
        replayed = RecordedJudge(
            JudgeSettings(kind="recorded", verdicts=path, record=again if path is record else None)
        )
        assert replayed.caveat == "weak"
        assert replayed.identity.endswith("(m(m-may))")
        assert replayed.ask([question], "x")[0].value == {"status": "entailment"}


def test_verdicts_of_two_prompts_lie_in_one_file(tmp_path: Path) -> None:
    record = tmp_path / "v.jsonl"
    questions = [replace(entailment("h", "a", "b"), prompt=prompt) for prompt in ("p@1", "q@2")]
    said = [Verdict({"status": status}) for status in ("entailment", "not_entailment")]
    file = VerdictRecorder(record)
    file.write(questions, said, [asked_of(question, "m", None) for question in questions])
    assert replay(record, questions) == said
    assert replay(record, questions[::-1]) == said[::-1]


@pytest.mark.parametrize("known", [{"prompt": "theirs@2"}, {"sampling": {"temperature": 0.7}}])
def test_a_verdict_under_other_terms_is_not_used(known: Json, tmp_path: Path) -> None:
    [verdict] = replay(lines(tmp_path / "v.jsonl", by(**known)), [entailment("h", "a", "b")])
    assert verdict == Verdict(reason="recorded under another prompt or sampling")


def test_a_line_that_names_no_prompt_stands_for_any_and_gives_way(tmp_path: Path) -> None:
    exact = {**by(prompt="ours@1"), "status": "not_entailment"}
    path = lines(tmp_path / "v.jsonl", ROW, exact)
    ours = entailment("h", "a", "b")
    found = replay(path, [ours, replace(ours, prompt="theirs@2")])
    assert [v.value and v.value["status"] for v in found] == ["not_entailment", "entailment"]


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([ROW], "unknown"),
        ([by(model="m-may")], "m-may"),
        ([by(model="m(m-may)"), ROW], "m(m-may)+unknown"),
        ([by(model="n"), by(model="m")], "m+n"),
    ],
)
def test_identity_names_the_recordings_models(rows: list[Json], name: str, tmp_path: Path) -> None:
    judge = RecordedJudge(JudgeSettings(kind="recorded", verdicts=lines(tmp_path / "v", *rows)))
    assert judge.identity.endswith(f"({name})")


def test_a_recordings_own_words_cannot_break_a_signature(tmp_path: Path) -> None:
    path = lines(tmp_path / "v.jsonl", by(model="m|prompt:x\n", caveat="a\nb"))
    judge = RecordedJudge(JudgeSettings(kind="recorded", verdicts=path))
    assert "|" not in judge.identity
    assert "sha256:" in judge.identity
    assert judge.caveat == "a b"


def test_a_record_of_a_replay_that_cannot_be_written_is_told_first(tmp_path: Path) -> None:
    path = lines(tmp_path / "v.jsonl", ROW)
    judge = RecordedJudge(JudgeSettings(kind="recorded", verdicts=path, record=tmp_path))
    with pytest.raises(ReportCardError, match=r"judge\.record"):
        judge.admit(Custody(DatasetCard("ours"), tmp_path, quiet, print))


def test_the_same_line_twice_is_no_conflict(tmp_path: Path) -> None:
    again = {**ROW, "premises": ["a", "b", "b"]}
    path = lines(tmp_path / "v.jsonl", ROW, again)
    assert replay(path, [entailment("h", "a", "b")])[0].value == {"status": "entailment"}


def test_identity_is_the_files_digest(tmp_path: Path) -> None:
    path = lines(tmp_path / "v.jsonl", ROW)
    settings = JudgeSettings(kind="recorded", verdicts=path)
    before = RecordedJudge(settings).identity
    assert before.startswith("recorded@")
    assert RecordedJudge(settings).identity == before
    lines(path, ROW, ROW)
    assert RecordedJudge(settings).identity != before


def test_missing_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    for options, says in (
        ({}, "judge.verdicts=FILE"),
        ({"verdicts": path}, "v.jsonl"),
        ({"verdicts": lines(tmp_path / "w.jsonl", ROW), "record": tmp_path / "w.jsonl"}, "record"),
    ):
        judge = RecordedJudge(JudgeSettings(kind="recorded", **options))
        assert says in str(judge.missing())
        with pytest.raises(ReportCardError):
            judge.ask([entailment("h")], "entailment")


def test_a_replay_needs_no_client(tmp_path: Path) -> None:
    path = lines(tmp_path / "v.jsonl", ROW)
    code = (
        "import sys; sys.modules['openai'] = sys.modules['httpx2'] = None\n"
        "from pathlib import Path\n"
        "from tests.llm.test_recorded import *\n"
        f"print(replay(Path({str(path)!r}), [entailment('h', 'a', 'b')])[0].value)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "{'status': 'entailment'}", done.stderr


def test_open_judge_finds_it(tmp_path: Path) -> None:
    path = lines(tmp_path / "v.jsonl", ROW)
    judge = open_judge({"kind": "recorded", "verdicts": str(path)})
    judge.admit(Custody(DatasetCard("ours"), tmp_path, quiet, print))
    assert judge.ask([entailment("h", "a", "b")], "x")[0].value
