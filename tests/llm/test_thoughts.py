"""Reasoning models as judges, behind a server: what they think is never the verdict.

Each judged question (CheXprompt in JSON and in words, RadFact in JSON and in YAML) is put to a
scripted server whose answers hold a draft in their thoughts.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai", reason="the judge extra")

from reportcard.api import Custody, DatasetCard, Json
from reportcard.cli.main import main
from reportcard.config.endpoint_settings import JudgeSettings
from reportcard.core.progress import quiet
from reportcard.llm.judge.contract import ONLY_THOUGHTS, Message, Question, Verdict
from reportcard.llm.judge.live import LiveJudge
from reportcard.llm.judge.recorded import RecordedJudge
from reportcard.metrics._rating import check_rating, parse_rating
from reportcard.metrics.annotators._radfact_answers import (
    check_entailment,
    check_phrases,
    parse_entailment,
    parse_phrases,
    parse_yaml,
)
from tests.scripted_judge import Reply, ScriptedJudge, answer, in_turn


def rating(count: int) -> Json:
    none = dict.fromkeys("ABCDEF", 0)
    return {"significant": {**none, "B": count}, "insignificant": none}


def in_words(count: int) -> str:
    return "\n".join(
        f"Number of clinically {part} errors by type: "
        f"[{', '.join(f'({k}, {n})' for k, n in counts.items())}]"
        for part, counts in rating(count).items()
    )


@dataclass(frozen=True)
class Form:
    """A form of question with a draft, an answer, and the verdict in the answer."""

    question: Question
    draft: str
    answer: str
    value: Json


def form(kind: str, check: Any, parse: Any, draft: str, answer: str, value: Json) -> Form:
    message = Message("user", "Compare.")
    question = Question(kind, {"report": kind}, (message,), "ours@1", check, parse)
    return Form(question, draft, answer, value)


def entails(answer: Any) -> Json:
    return check_entailment(["No mass."], answer)


NO, YES = ({"status": s, "evidence": e} for s, e in (("neutral", []), ("entailment", ["No mass."])))
FORMS = {
    "chexprompt in JSON": form("chexprompt", check_rating, parse_rating,
                               json.dumps(rating(3)), json.dumps(rating(1)), rating(1)),
    "chexprompt in words": form("chexprompt", check_rating, parse_rating,
                                in_words(3), in_words(1), rating(1)),
    "radfact phrases": form("radfact.phrases", check_phrases, parse_phrases,
                            '{"phrases": ["A mass."]}', '{"phrases": ["No mass."]}',
                            {"phrases": ["No mass."]}),
    "radfact in JSON": form("radfact.entailment", entails, parse_entailment,
                            json.dumps(NO), json.dumps(YES), YES),
    "radfact in YAML": form("radfact.entailment", entails, parse_yaml,
                            "```yaml\nstatus: neutral\nevidence: []\n```",
                            "```yaml\nstatus: entailment\nevidence:\n- No mass.\n```", YES),
}  # fmt: skip
MARKS = {
    "think": ("<think>", "</think>"),
    "opened in the prompt": ("", "</think>"),
    "another tag": ("<reasoning>", "</reasoning>"),
    "magistral": ("[THINK]", "[/THINK]"),
    "kimi": ("◁think▷", "◁/think▷"),
    "cohere": ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    "gemma": ("<|channel>thought\n", "<channel|>"),
    "harmony": ("<|channel|>analysis<|message|>",
                "<|end|><|start|>assistant<|channel|>final<|message|>"),
}  # fmt: skip


class JudgeInFolder:
    """Live judges on one server that share one cache and one recording."""

    def __init__(self, folder: Path, server: ScriptedJudge) -> None:
        self.cache, self.record, self.server = folder / "cache", folder / "v.jsonl", server
        self.said: list[str] = []
        self.requests: list[Json] = []

    def ask(self, reply: Reply | str, *questions: Question, attempts: int = 3) -> list[Verdict]:
        self.server.reply = in_turn(reply)
        self.server.requests.clear()
        settings = JudgeSettings(
            kind="openai",
            model="m",
            base_url=self.server.base_url,
            record=self.record,
            attempts=attempts,
        )
        judge = LiveJudge(settings)
        judge.admit(Custody(DatasetCard("ours", "open"), self.cache, quiet, self.said.append))
        try:
            return judge.ask(questions, "ours")
        finally:
            judge.close()
            self.requests = [logged.json for logged in self.server.requests]


@pytest.fixture
def judge(tmp_path: Path) -> Iterator[JudgeInFolder]:
    with ScriptedJudge(in_turn("")) as server:
        yield JudgeInFolder(tmp_path, server)


@pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("one", FORMS.values(), ids=FORMS)
def test_what_stands_after_the_thoughts_is_the_verdict(
    one: Form, marks: tuple[str, str], judge: JudgeInFolder
) -> None:
    text = f"{marks[0]}Is it\n{one.draft}\nor not?{marks[1]}\n\n{one.answer}"
    assert judge.ask(text, one.question) == [Verdict(one.question.check(one.value))]
    assert len(judge.requests) == 1


@pytest.mark.parametrize("one", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("marks", [("<think>", "</think>"), ("[THINK]", "[/THINK]")])
def test_a_draft_before_a_refusal_or_alone_is_no_verdict(
    one: Form, marks: tuple[str, str], judge: JudgeInFolder
) -> None:
    opening, closing = marks
    refusal = f"{opening}{one.draft}{closing}I am sorry, I cannot rate this."
    (verdict,) = judge.ask(refusal, one.question)
    assert verdict.value is None
    alone = replace(one.question, texts={"report": "another"})
    cut = answer(f"{opening}{one.draft} or", "length")
    (verdict,) = judge.ask(cut, alone, attempts=2)
    assert verdict.reason == f"{ONLY_THOUGHTS}, cut by its limit of tokens (2 answers)"
    assert [r["max_tokens"] for r in judge.requests] == [512, 2048, 2048]  # more room comes first


@pytest.mark.parametrize(
    "message",
    [
        {"reasoning_content": in_words(3)},
        {"reasoning": in_words(3)},
        {"reasoning_details": [{"type": "reasoning.text", "text": in_words(3)}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": in_words(3)}]}]},
        {"content": [{"type": "reasoning", "text": in_words(3)}]},
    ],
)
def test_thoughts_in_fields_of_their_own_are_never_the_answer(
    message: Json, judge: JudgeInFolder
) -> None:
    question = FORMS["chexprompt in words"].question
    fields = {"content": None, **message}
    (verdict,) = judge.ask(answer(**fields), question)
    assert verdict == Verdict(reason=f"{ONLY_THOUGHTS} (3 answers)")
    said: Any = in_words(1)
    if isinstance(fields["content"], list):
        said = [*fields["content"], {"type": "text", "text": in_words(1)}]
    other = replace(question, texts={"report": "another"})
    assert judge.ask(answer(**{**fields, "content": said}), other) == [Verdict(rating(1))]


def test_what_was_mended_is_counted_recorded_and_replayed(
    judge: JudgeInFolder, tmp_path: Path
) -> None:
    question = FORMS["chexprompt in JSON"].question
    text = f"{json.dumps(rating(3))} No: {json.dumps(rating(1)).replace('}', ',}')}"
    wanted = Verdict(rating(1), repairs=("a trailing comma",), drafts=(rating(3),))
    for n_asked in (1, 0):  # the second time out of the cache
        assert judge.ask(text, question) == [wanted]
        assert len(judge.requests) == n_asked
        assert "; 1 mended (1 × a trailing comma); 1 with drafts" in judge.said[-1]
    line = json.loads(judge.record.read_text())
    assert line["significant"] == rating(1)["significant"]
    assert line["by"]["repairs"] == ["a trailing comma"]
    assert line["by"]["drafts"] == [rating(3)]
    again = tmp_path / "again.jsonl"
    settings = JudgeSettings(kind="recorded", verdicts=judge.record, record=again)
    assert RecordedJudge(settings).ask([question], "ours") == [wanted]
    assert again.read_text() == judge.record.read_text()
    # Lines of earlier versions say nothing of it, and hostile ones say nonsense.
    for by in ({"model": "m"}, {"model": "m", "repairs": "x", "drafts": [1]}):
        judge.record.write_text(json.dumps({**line, "by": by}) + "\n")
        assert RecordedJudge(settings).ask([question], "ours") == [Verdict(rating(1))]


def test_verdicts_of_an_earlier_reader_are_read_again_from_their_answers(
    judge: JudgeInFolder,
) -> None:
    thought = replace(FORMS["chexprompt in words"].question, texts={"report": "a"})
    broken = replace(FORMS["chexprompt in JSON"].question, texts={"report": "b"})
    mended = json.dumps(rating(1)).replace("}", ",}")
    judge.ask(f"<think>{in_words(3)}</think>{in_words(1)}", thought)
    judge.ask(mended, broken)
    # What the reader that took drafts for verdicts, and mended nothing, would have stored.
    with sqlite3.connect(judge.cache / "judge.sqlite") as db:
        for verdict, which in (
            ({"value": rating(3)}, "NOT LIKE"),
            ({"reason": "no JSON object (3 answers)", "answers": 3}, "LIKE"),
        ):
            update = f"UPDATE verdicts SET verdict = ? WHERE verdict {which} '%repairs%'"
            db.execute(update, (json.dumps(verdict),))
    db.close()
    assert judge.ask("down", thought, broken) == [
        Verdict(rating(1)),
        Verdict(rating(1), repairs=("a trailing comma",)),
    ]
    assert not judge.requests


def test_a_stored_verdict_that_was_a_thought_is_asked_again(judge: JudgeInFolder) -> None:
    question = FORMS["chexprompt in JSON"].question
    (verdict,) = judge.ask(f"<think>{json.dumps(rating(3))}", question, attempts=1)
    assert verdict.value is None
    with sqlite3.connect(judge.cache / "judge.sqlite") as db:
        db.execute("UPDATE verdicts SET verdict = ?", (json.dumps({"value": rating(3)}),))
    db.close()
    assert judge.ask(json.dumps(rating(1)), question) == [Verdict(rating(1))]
    assert len(judge.requests) == 1


THOUGHT = f"<think>{in_words(3)} no, wait."


@pytest.mark.parametrize(
    ("reply", "value", "reason"),
    [
        (f"{THOUGHT}</think>\nI am sorry, I cannot rate this.", None, "neither a JSON object"),
        (answer(f"<think>A first guess is {json.dumps(rating(3))} but", "length"), None,
         ONLY_THOUGHTS),
        (f"{THOUGHT}</think>\n{in_words(1)}", 1.0, None),
        (json.dumps(rating(1)).replace("}", ",}"), 1.0, None),
    ],
)  # fmt: skip
def test_evaluate_with_a_reasoning_judge(
    reply: Reply | str,
    value: float | None,
    reason: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REPORTCARD_CACHE", str(tmp_path / "cache"))
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "out.json"
    pair = {"study_id": "s1", "candidate": "No effusion.", "reference": "Small effusion."}
    pairs.write_text(json.dumps(pair) + "\n")
    with ScriptedJudge(in_turn(reply)) as server:
        judge = ["--judge", "vllm", "judge.model=m", f"judge.base_url={server.base_url}"]
        rest = ["--data-class", "open", "--json", str(out)]
        main(["evaluate", str(pairs), "--metrics", "chexprompt", *judge, *rest])
    result = json.loads(out.read_text())
    assert result["metrics"]["chexprompt.mean_significant"]["value"] == value
    unscored = result["unscored"].get("chexprompt", {})
    assert (unscored["s1"] if reason else "").startswith(reason or "")
