"""The audit: what the edits change, and tables that are known for judges whose skill is known."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportcard.analysis.audit.edited_pairs import (
    FAITHFUL,
    KINDS,
    TYPES,
    EditedPair,
    edited_pairs,
    pairs_id,
)
from reportcard.analysis.audit.judge_audit import RepeatingJudge, _flagged
from reportcard.analysis.audit.metrics import audit_metrics
from reportcard.api import Array, Custody, Json, Key, MetricSpec, Pair, ReportCardError
from reportcard.cli.main import main
from reportcard.config import paths
from reportcard.core import registry
from reportcard.llm.judge import NoJudge
from reportcard.llm.judge.contract import Message, Question, Verdict
from reportcard.score.scorer import Scorer

SIDES = {"left", "right"}
SEVERITY = {
    *("minimal", "mild", "mildly", "moderate", "moderately", "severe", "severely"),
    *("small", "large", "extensive", "partial", "complete"),
}
COMPARISON = re.compile(r"\b(since|than) (on )?the (previous|prior|earlier) \w+")
DENIAL = re.compile(r"^(no|there is no)\b|\bnot\b", re.IGNORECASE)
BASES = {p.base: p.reference for p in edited_pairs()}


def of_kind(kind: str) -> list[EditedPair]:
    return [pair for pair in edited_pairs() if pair.kind == kind]


def sentences(text: str) -> list[str]:
    return re.findall(r"[^.]+\.", text.replace(". ", ".\n").replace("\n", " ").strip())


def changed(pair: EditedPair) -> tuple[list[str], list[str]]:
    """The sentences that only the reference has, and those that only the candidate has."""
    a, b = ([s.strip() for s in sentences(t)] for t in (pair.reference, pair.candidate))
    return [s for s in a if s not in b], [s for s in b if s not in a]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def swapped(before: str, after: str) -> tuple[list[str], list[str]]:
    a, b = words(before), words(after)
    gone, come = [], []
    for what, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if what != "equal":
            gone += a[i:j]
            come += b[k:m]
    return gone, come


def test_there_are_enough_different_pairs_of_every_kind() -> None:
    pairs = edited_pairs()
    assert len(pairs) >= 120
    assert len({p.id for p in pairs}) == len({(p.reference, p.candidate) for p in pairs})
    assert len({p.id for p in pairs}) == len(pairs)
    kinds = Counter(p.kind for p in pairs)
    assert set(kinds) == set(KINDS)
    assert min(kinds.values()) >= 12
    assert {p.total for p in pairs} == {0, 1, 2, 3, 4}
    for letter in TYPES:
        assert sum(p.truth[letter] > 0 for p in pairs) >= 12
    for kind in FAITHFUL:
        assert sorted(p.base for p in of_kind(kind)) == sorted(BASES)
        assert all(p.total == 0 for p in of_kind(kind))


def test_every_text_is_a_findings_section_of_whole_sentences() -> None:
    for text in {p.candidate for p in edited_pairs()}:
        found = [s.strip() for s in sentences(text)]
        assert " ".join(found) == text
        assert 3 <= len(found) <= 7
        assert all(re.fullmatch(r"[A-Z][A-Za-z0-9 ,-]*\.", s) for s in found), text
        assert len(set(found)) == len(found), text


def test_the_pairs_have_one_spelling_and_a_digest() -> None:
    assert re.fullmatch(rf"{len(edited_pairs())} pairs 1@[0-9a-f]{{8}}", pairs_id())
    page = Path(__file__).parents[2] / "docs" / "metrics" / "audit.md"
    assert pairs_id() in page.read_text(encoding="utf-8"), "make the tables of audit.md again"


def test_identity_and_paraphrase() -> None:
    assert all(p.candidate == p.reference for p in of_kind("identity"))
    for pair in of_kind("paraphrase"):
        a, b = sentences(pair.reference), sentences(pair.candidate)
        assert len(a) == len(b)
        assert not set(a) & set(b)
        for said, again in zip(a, b, strict=True):  # sides and comparisons stay as they were
            assert bool(COMPARISON.search(said)) == bool(COMPARISON.search(again))
            assert [w for w in words(said) if w in SIDES] == [w for w in words(again) if w in SIDES]


def test_added_and_omitted_findings() -> None:
    for pair in of_kind("finding_added"):
        gone, come = changed(pair)
        assert (len(gone), len(come)) == (0, 1)
        assert not DENIAL.search(come[0])
        assert pair.truth["A"] == pair.total == 1
    for pair in of_kind("finding_omitted"):
        gone, come = changed(pair)
        assert (len(gone), len(come)) == (1, 0)
        assert not DENIAL.search(gone[0])
        assert not COMPARISON.search(gone[0]), "it would be an omitted comparison as well"
        assert pair.truth["B"] == pair.total == 1


@pytest.mark.parametrize(
    ("kind", "letter", "vocabulary"),
    [("side_flipped", "C", SIDES), ("severity_changed", "D", SEVERITY)],
)
def test_one_word_is_exchanged(kind: str, letter: str, vocabulary: set[str]) -> None:
    for pair in of_kind(kind):
        (before,), (after,) = changed(pair)
        gone, come = swapped(before, after)
        assert (len(gone), len(come)) == (1, 1), pair.id
        assert {*gone, *come} <= vocabulary, pair.id
        assert pair.truth[letter] == pair.total == 1


def test_comparisons() -> None:
    for pair in of_kind("comparison_added"):
        (before,), (after,) = changed(pair)
        assert COMPARISON.search(after)
        assert not COMPARISON.search(before)
        gone, come = swapped(before, after)
        assert not gone, pair.id
        assert not {*come} & SIDES
        assert pair.truth["E"] == pair.total == 1
    for pair in of_kind("comparison_dropped"):
        (before,), (after,) = changed(pair)
        assert COMPARISON.search(before)
        assert not COMPARISON.search(after)
        keep = SIDES | SEVERITY
        assert keep & set(words(before)) == keep & set(words(after)), pair.id
        assert pair.truth["F"] == pair.total == 1


def test_negations() -> None:
    for pair in of_kind("negation_flipped"):
        (before,), (after,) = changed(pair)
        assert not COMPARISON.search(before)
        denied = bool(DENIAL.search(before))
        assert bool(DENIAL.search(after)) is not denied, pair.id
        assert pair.truth["A" if denied else "B"] == pair.total == 1


def test_several_errors_are_those_of_single_edits() -> None:
    """Each changed sentence is one that a single edit of the same report makes."""
    single: dict[str, list[EditedPair]] = {base: [] for base in BASES}
    for pair in edited_pairs():
        if pair.total == 1:
            single[pair.base].append(pair)
    for pair in of_kind("several_errors"):
        gone, come = (set(part) for part in changed(pair))
        parts = []
        for one in single[pair.base]:
            lost, new = (set(part) for part in changed(one))
            if lost <= gone and new <= come and (new or not _rewritten(lost, come, one, single)):
                parts.append(one)
        truth = {letter: sum(p.truth[letter] for p in parts) for letter in TYPES}
        assert pair.total >= 2
        assert truth == dict(pair.truth), pair.id


def _rewritten(
    lost: set[str], come: set[str], one: EditedPair, single: dict[str, list[EditedPair]]
) -> bool:
    """Whether the sentence that `one` leaves out is there in another form instead."""
    others = (changed(p) for p in single[one.base] if p is not one)
    return any(lost <= set(gone) and set(new) <= come and new for gone, new in others)


# --- judges of known skill ------------------------------------------------------------------------

ANNOTATOR = """
from reportcard.llm.judge.contract import Message, Question

class Counter:
    id, scope, weights = "error_counter", "pair", None
    def __init__(self, judge):
        self.judge, self.caveat = judge, judge.caveat
    @property
    def version(self):
        return "1|prompt:ours@1|judge:" + self.judge.identity
    def missing(self):
        return self.judge.missing()
    def admit(self, custody):
        assert custody.data.data_class == "open"
        self.judge.admit(custody)
    def annotate(self, items):
        ask = [
            Question("chexprompt", {"reference": r, "candidate": c}, (Message("user", r + c),),
                     "ours@1", dict)
            for c, r in items
        ]
        answers = self.judge.ask(ask, "counting")
        return [{"unscored": v.reason} if v.value is None else v.value for v in answers]
    def close(self):
        self.judge.close()
"""
METRIC = '''
import numpy as np
from reportcard.api import Key, MetricSpec

class ErrorCounts:
    """Total errors counted; lower is better."""
    def __init__(self):
        self.spec = MetricSpec("1", {"total": Key("lower", 0.0, None)}, "test",
                               annotators=("error_counter",), headline=("total",))
    def rows(self, pairs):
        notes = [pair.notes["error_counter"][0] for pair in pairs]
        return np.array([
            [np.nan, np.nan] if "unscored" in n
            else [sum(n["significant"].values()) + sum(n["insignificant"].values()), 1]
            for n in notes
        ], dtype=float)
    def scores(self, total):
        return {"total": total[..., 0] / total[..., 1]}
'''

Answer = Callable[[EditedPair, int], "dict[str, int] | str"]


class FakeJudge(NoJudge):
    """Answers from the pair that it recognises; a text instead of counts is a reason."""

    identity = "fake-model"
    caveat = "an invented judge"

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.known = {(p.reference, p.candidate): p for p in edited_pairs()}
        self.admitted: list[Custody] = []

    def missing(self) -> str | None:
        return None

    def admit(self, custody: Custody) -> None:
        self.admitted.append(custody)

    def ask(self, questions: Sequence[Question], label: str) -> list[Verdict]:
        assert self.admitted
        verdicts = []
        for q in questions:
            if q.kind.startswith("radfact"):
                verdicts.append(Verdict(literal(q)))
                continue
            pair = self.known[(str(q.texts["reference"]), str(q.texts["candidate"]))]
            found = self.answer(pair, q.repeat)
            if isinstance(found, str):
                verdicts.append(Verdict(reason=found))
                continue
            # Errors are split between the two columns; only their sum is graded.
            odd = {k: v % 2 for k, v in found.items()}
            even = {k: v - odd[k] for k, v in found.items()}
            verdicts.append(Verdict({"significant": odd, "insignificant": even}))
        return verdicts


def literal(question: Question) -> Json:
    """Verdicts of RadFact by exact match: a sentence is entailed if the other report has it."""
    texts = question.texts
    if question.kind == "radfact.phrases":
        return {"phrases": [s.strip() for s in sentences(str(texts["report"]))]}
    premises, hypothesis = list(texts["premises"]), str(texts["hypothesis"])
    if hypothesis in premises:
        return {"status": "entailment", "evidence": [hypothesis]}
    return {"status": "not_entailment", "evidence": []}


Audit = Callable[..., Json]


@pytest.fixture
def audit_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Audit:
    """`reportcard audit judge` of a fake judge through the command line → its JSON."""
    for name in ("metrics", "annotators"):
        monkeypatch.setattr(getattr(registry, name), "_offered", {})
    monkeypatch.setenv("REPORTCARD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "error_counter.py").write_text(ANNOTATOR, encoding="utf-8")
    (tmp_path / "error_counts.py").write_text(METRIC, encoding="utf-8")

    def run(
        answer: Answer, *more: str, what: str = "judge", metrics: str | None = "error_counts"
    ) -> Json:
        monkeypatch.setattr("reportcard.score.scorer.open_judge", lambda options: FakeJudge(answer))
        arguments = [
            *("audit", what, "--out", str(tmp_path / "out"), *more),
            *(("--metrics", metrics) if metrics else ()),
        ]
        if metrics == "error_counts":
            arguments += [f"plugin={tmp_path / name}.py" for name in ("error_counter", metrics)]
            arguments.append("+annotator.judge.kind=none")
        assert main(arguments) == 0, capsys.readouterr().err
        found: Json = json.loads((tmp_path / "out" / f"audit-{what}.json").read_text())
        return found

    return run


def perfect(pair: EditedPair, repeat: int) -> dict[str, int]:
    return dict(pair.truth)


def test_a_perfect_judge(
    audit_of: Audit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = audit_of(perfect)
    found = result["metrics"]["error_counts"]
    assert result["repeats"] == 2
    for entry in found["types"].values():
        assert (entry["recall"]["value"], entry["false_alarm"]["value"]) == (1, 0)
    for kind in FAITHFUL:
        assert found["false_alarms"][kind]["share"]["value"] == 0
        assert found["false_alarms"][kind]["mean"]["value"] == 0
        assert found["false_alarms"][kind]["share"]["n"] == len(BASES)
    for name in ("any_error", "exact_total", "exact_types", "tau_b"):
        assert found[name]["value"] == pytest.approx(1)
    assert found["retest"]["counts"]["value"] == found["retest"]["total"]["value"] == 1
    assert found["kinds"]["side_flipped"]["value"] == 1
    assert found["kinds"]["paraphrase"]["value"] == 0
    n = len(edited_pairs())
    assert found["coverage"] == {"n": n, "scored": n, "reasons": {}}
    for part in ("judge:fake-model", "prompt:ours@1", "repeats:2", pairs_id(), "by=base report"):
        assert part in found["signature"]
    printed = capsys.readouterr().out
    written = (tmp_path / "out" / "audit-judge.md").read_text(encoding="utf-8")
    for text in (printed, written):
        for part in ("an invented judge", "C incorrect location", "fake-model", "tau-b"):
            assert part in text


def test_a_blind_judge(audit_of: Audit, capsys: pytest.CaptureFixture[str]) -> None:
    found = audit_of(lambda pair, repeat: dict.fromkeys(TYPES, 0))["metrics"]["error_counts"]
    assert all(entry["recall"]["value"] == 0 for entry in found["types"].values())
    assert found["any_error"]["value"] == 0
    assert found["exact_total"]["value"] == pytest.approx(2 * len(BASES) / len(edited_pairs()))
    assert found["tau_b"] == {"value": None, "low": None, "high": None, "n": len(edited_pairs())}
    assert "nan" not in capsys.readouterr().out.lower()


def test_a_judge_that_sees_one_type_and_cries_wolf(audit_of: Audit) -> None:
    def answer(pair: EditedPair, repeat: int) -> dict[str, int]:
        seen = {**dict.fromkeys(TYPES, 0), "C": pair.truth["C"]}
        return {**seen, "A": 3} if pair.kind == "paraphrase" else seen

    found = audit_of(answer)["metrics"]["error_counts"]
    recall = {letter: entry["recall"]["value"] for letter, entry in found["types"].items()}
    assert recall == {"A": 0, "B": 0, "C": 1, "D": 0, "E": 0, "F": 0}
    assert found["false_alarms"]["paraphrase"]["share"]["value"] == 1
    assert found["false_alarms"]["paraphrase"]["mean"]["value"] == 3
    assert found["false_alarms"]["identity"]["share"]["value"] == 0
    any_error = found["any_error"]
    assert 0 < any_error["low"] < any_error["value"] < any_error["high"] < 1
    tau = found["tau_b"]
    assert -1 < tau["low"] < tau["value"] < tau["high"] < 1


def test_a_judge_of_two_minds(audit_of: Audit) -> None:
    """The second time, side errors are called severity errors and identities get one error."""

    def answer(pair: EditedPair, repeat: int) -> dict[str, int]:
        counts = dict(pair.truth)
        if repeat and pair.kind == "side_flipped":
            counts |= {"C": 0, "D": 1}
        if repeat and pair.kind == "identity":
            counts["A"] = 1
        return counts

    found = audit_of(answer)["metrics"]["error_counts"]
    n, sides, bases = len(edited_pairs()), len(of_kind("side_flipped")), len(BASES)
    assert found["retest"]["counts"]["value"] == pytest.approx(1 - (sides + bases) / n)
    assert found["retest"]["total"]["value"] == pytest.approx(1 - bases / n)
    assert found["types"]["C"]["recall"]["value"] == 1  # rates are of the first time
    once = audit_of(answer, "--repeats", "1")["metrics"]["error_counts"]
    assert once["retest"] == {"counts": None, "total": None}


def test_unscored_pairs_leave_the_rates_and_are_counted(audit_of: Audit) -> None:
    def answer(pair: EditedPair, repeat: int) -> dict[str, int] | str:
        return "the endpoint refused" if pair.truth["C"] else perfect(pair, repeat)

    found = audit_of(answer)["metrics"]["error_counts"]
    lost = sum(p.truth["C"] > 0 for p in edited_pairs())
    assert found["coverage"]["reasons"] == {"the endpoint refused": lost}
    assert found["coverage"]["scored"] == len(edited_pairs()) - lost
    assert found["types"]["C"]["recall"] == {"value": None, "low": None, "high": None, "n": 0}
    assert found["exact_types"]["value"] == 1


def test_a_judge_that_answers_only_once(audit_of: Audit) -> None:
    """A recording holds one verdict per pair: graded all the same, without a test–retest."""

    def answer(pair: EditedPair, repeat: int) -> dict[str, int] | str:
        return "not recorded" if repeat else perfect(pair, repeat)

    found = audit_of(answer)["metrics"]["error_counts"]
    assert found["exact_types"]["value"] == 1
    assert found["retest"]["counts"] == {"value": None, "low": None, "high": None, "n": 0}


def test_a_judge_that_is_down_is_no_result(audit_of: Audit, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"no pair was scored \(\d+ × no connection\)"):
        audit_of(lambda pair, repeat: "no connection")
    assert not (tmp_path / "out").exists()


def test_chexprompt_itself(audit_of: Audit) -> None:
    """The shipped metric and its question, without a plugin between."""
    if "chexprompt" not in paths.names("metrics"):
        pytest.skip("this checkout has no CheXprompt")
    found = audit_of(perfect, metrics=None)["metrics"]["chexprompt"]
    assert found["exact_types"]["value"] == 1
    assert found["retest"]["counts"]["value"] == 1
    assert "reportcard@" in found["prompts"][0]
    assert f"prompt:{found['prompts'][0]}" in found["signature"]


def test_radfact_is_graded_by_kind(audit_of: Audit) -> None:
    """The shipped RadFact: a sentence is entailed where the other report has it word for word."""
    if "radfact" not in paths.names("metrics"):
        pytest.skip("this checkout has no RadFact")
    found = audit_of(perfect, metrics="radfact")["metrics"]["radfact"]
    assert "types" not in found
    assert found["retest"]["row"]["value"] == 1
    assert found["kinds"]["identity"]["value"] == 0
    assert found["kinds"]["paraphrase"]["value"] == found["kinds"]["finding_added"]["value"] == 1


def test_every_repeat_is_a_new_question_and_one_judge_answers_all() -> None:
    asked: list[int] = []

    class Listening(FakeJudge):
        def ask(self, questions: Sequence[Question], label: str) -> list[Verdict]:
            asked.extend(q.repeat for q in questions)
            return [Verdict({}) for _ in questions]

    judge = RepeatingJudge(Listening(perfect))
    question = Question("chexprompt", {}, (Message("user", "?"),), "ours@1", dict)
    for judge.repeat in (0, 2):
        judge.ask([question, replace(question, prompt="theirs@2")], "")
    assert asked == [0, 0, 2, 2]
    assert judge.prompts == {"ours@1", "theirs@2"}
    assert (judge.identity, judge.caveat) == ("fake-model", "an invented judge")


def test_what_cannot_be_audited_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "judge", "--metrics", "bleu"]) == 2
    assert "bleu has no judge; use: reportcard audit metrics" in capsys.readouterr().err
    assert main(["audit", "judge", "--metrics", "bleu", "--repeats", "0"]) == 2
    assert main(["audit", "metrics", "--metrics", "bleu", "model=replay"]) == 2
    assert "model=replay" in capsys.readouterr().err


def test_a_judge_that_is_not_chosen_is_asked_for(
    audit_of: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nobody(FakeJudge):
        missing = NoJudge.missing

    monkeypatch.setattr(f"{__name__}.FakeJudge", Nobody)
    with pytest.raises(AssertionError, match="no judge chosen"):
        audit_of(perfect)
    assert not (tmp_path / "out").exists()


# --- metrics of known behaviour -------------------------------------------------------------------


class SideWords:
    """A metric that reads sides and the number of sentences: a report with as many "left" as its
    reference scores 1, else 0; one point less per sentence that is missing."""

    spec = MetricSpec("1", {"sides": Key(low=None)}, "test")

    def rows(self, pairs: Sequence[Pair]) -> Array:
        score = [
            (words(p.candidate).count("left") == words(p.reference).count("left"))
            - max(0, p.reference.count(".") - p.candidate.count("."))
            for p in pairs
        ]
        return np.column_stack([score, np.ones(len(pairs))]).astype(float)

    def scores(self, total: Array) -> dict[str, Array]:
        return {"sides": total[..., 0] / total[..., 1]}


class Backwards(SideWords):
    """Lower is better, and paraphrases are the worst there is."""

    spec = MetricSpec("1", {"distance": Key("lower", 0.0, None)}, "test")

    def rows(self, pairs: Sequence[Pair]) -> Array:
        faithful = {p.candidate for p in of_kind("paraphrase")}
        score = [9.0 * (p.candidate in faithful) + (p.candidate != p.reference) for p in pairs]
        return np.column_stack([score, np.ones(len(pairs))])

    def scores(self, total: Array) -> dict[str, Array]:
        return {"distance": total[..., 0] / total[..., 1]}


class Broken(SideWords):
    def rows(self, pairs: Sequence[Pair]) -> Array:
        raise ZeroDivisionError


class Half(SideWords):
    """Cannot score the first report's pairs."""

    def rows(self, pairs: Sequence[Pair]) -> Array:
        rows = super().rows(pairs)
        rows[[p.study_id.startswith("effusion.") for p in pairs]] = np.nan
        return rows


@pytest.fixture
def metric_audit(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], Json]:
    def run(metric: type) -> Json:
        monkeypatch.setattr(registry.metrics, "get", lambda name: metric)
        return audit_metrics(["bleu_radcliq"], [], None).to_json()  # type: ignore[arg-type]

    monkeypatch.setattr(
        registry.metrics, "build", lambda name, options, label: registry.metrics.get(name)()
    )
    return run


def test_a_metric_that_reads_sides_only(metric_audit: Callable[[type], Json]) -> None:
    (entry,) = metric_audit(SideWords)["keys"].values()
    kinds: Any = entry["kinds"]
    assert (kinds["side_flipped"]["seen"], kinds["side_flipped"]["change"]) == (1, -1)
    assert kinds["finding_omitted"]["seen"] == 1
    for kind in ("severity_changed", "comparison_added", "comparison_dropped", "paraphrase"):
        assert (kinds[kind]["seen"], kinds[kind]["missed"], kinds[kind]["change"]) == (0, 1, 0)
    assert all(kinds[kind]["wrong"] == 0 for kind in kinds if kind != "paraphrase")
    assert kinds["paraphrase"]["wrong"] is None
    assert entry["unscored"] == 0
    assert pairs_id() in entry["signature"]


def test_a_metric_that_prefers_every_error_to_a_paraphrase(
    metric_audit: Callable[[type], Json],
) -> None:
    (entry,) = metric_audit(Backwards)["keys"].values()
    for kind, found in entry["kinds"].items():
        assert found["seen"] == 1
        assert found["change"] == (10 if kind == "paraphrase" else 1)
        assert found["wrong"] == (None if kind == "paraphrase" else 1)


def test_a_broken_metric_says_why_and_unscored_pairs_are_counted(
    metric_audit: Callable[[type], Json],
) -> None:
    result = metric_audit(Broken)
    assert not result["keys"]
    assert result["not_run"] == {"bleu_radcliq": "ZeroDivisionError in the metric"}
    (entry,) = metric_audit(Half)["keys"].values()
    assert entry["unscored"] == sum(p.base == "effusion" for p in edited_pairs())
    assert entry["kinds"]["paraphrase"]["n"] == len(BASES) - 1


def test_audit_metrics_writes_tables_and_a_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    arguments = ["audit", "metrics", "--metrics", "bleu,cider", "--out"]
    for folder in ("a", "b"):
        assert main([*arguments, str(tmp_path / folder)]) == 0
    files = {path.name for path in (tmp_path / "a").iterdir()}
    assert files == {f"audit-metrics.{suffix}" for suffix in ("md", "json", "png")}
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / "audit-metrics.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    for part in ("bleu.bleu_4 ↑", "cider.cider_d ↑", "wrong way round", pairs_id()):
        assert part in printed
    found = json.loads((tmp_path / "a" / "audit-metrics.json").read_text())
    kinds = found["keys"]["bleu.bleu_4"]["kinds"]
    # BLEU counts words: it prefers a flipped side to a faithful paraphrase.
    assert kinds["side_flipped"]["wrong"] > 0.9
    assert kinds["finding_omitted"]["seen"] == 1


def test_without_matplotlib_the_tables_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "reportcard.analysis.audit.plot", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["audit", "metrics", "--metrics", "bleu", "--out", str(tmp_path)]) == 0
    assert not (tmp_path / "audit-metrics.png").exists()
    assert (tmp_path / "audit-metrics.md").exists()
    assert "pip install 'cxr-reportcard[plot]'" in capsys.readouterr().out


def test_a_judged_metric_stands_among_the_metrics(audit_of: Audit) -> None:
    found = audit_of(perfect, what="metrics")["keys"]["error_counts.total"]
    assert found["caveat"] == "an invented judge"
    for kind, entry in found["kinds"].items():
        assert entry["seen"] == (0 if kind == "paraphrase" else 1)


def test_a_metric_without_a_best_value_cannot_be_flagged() -> None:
    endless = SideWords()
    endless.spec = replace(endless.spec, keys={"sides": Key(low=None, high=None)})
    with pytest.raises(ReportCardError, match="no best value"):
        _flagged(Scorer("endless", endless, ""), np.ones((1, 2)))
