"""Models behind an endpoint: the real client against a scripted server, fault by fault."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import socket
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("openai", reason="the judge extra")

from reportcard.api import DatasetCard, Json, Prior, ReportCardError, StopRunError
from reportcard.config.settings import Plugin
from reportcard.core.layout import Results
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.llm.client import backoff as patience
from reportcard.predict.prediction_stage import predict
from reportcard.predict.system import open_model
from tests import scripted_judge as scripted
from tests.scripted_judge import Reply, Script, ScriptedJudge, answer

CANARY = "canary-51e7"  # stands in what is asked and in what is answered
KEY = "sk-very-secret-0001"
MIMIC = DatasetCard("MIMIC", "credentialed", "physionet-mimic-cxr")
N = 12

connects: list[Any] = []
sys.addaudithook(
    lambda event, args: connects.append(args[1]) if event == "socket.connect" else None
)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "BACKOFF_S", 0.01)
    monkeypatch.setattr(patience, "BACKOFF_MAX_S", 0.05)
    monkeypatch.setattr(patience, "MIN_PAUSE_S", 0.01)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """Studies of the phantom, each with an indication that names it."""
    whole = load_cohort(Plugin("phantom", "phantom", {}), N)
    test = tuple(
        dataclasses.replace(
            study,
            request=dataclasses.replace(
                study.request, indication=f"{CANARY} of {study.study_id}.", prior=Prior()
            ),
        )
        for study in whole.test
    )
    return dataclasses.replace(whole, test=test)


def plain(batches: Iterable[Any], total: int, label: str) -> Iterable[Any]:
    return batches


class Runner:
    """`reportcard predict` with one model on one cohort, any number of times."""

    def __init__(self, results: Path, cohort: Cohort, server: ScriptedJudge | None = None) -> None:
        self.results, self.cohort = results, cohort
        self.url = server.base_url if server else ""

    def run(self, **options: Any) -> list[Json]:
        given = {
            **{"model": "m", "base_url": self.url, "instruction": "Write the findings."},
            **{"context": ["Indication: {indication}"], "system": "Be brief.", "images": []},
            **{"timeout_s": 5.0, "patience_s": 1.0, "concurrency": 4, **options},
        }
        system = open_model(Plugin("openai_chat", "chat", given), self.cohort)
        self.folder = Results(self.results).predictions(self.cohort.folder, system.folder).path
        predict(self.results, self.cohort, system, 64, plain)
        return self.rows()

    def rows(self) -> list[Json]:
        path = self.folder / "predictions.jsonl"
        return [json.loads(line) for line in path.open()] if path.exists() else []

    @property
    def card(self) -> Json:
        return json.loads((self.folder / "card.json").read_text())


def asked(request: Json) -> str:
    """The text of the user's turn."""
    content = request["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def study_of(request: Json) -> str:
    return asked(request).split(" of ")[1].split(".")[0]


def say(request: Json) -> str:
    return f"Lungs of {study_of(request)} are clear."


def for_study(study: str, reply: Reply | Callable[[], Reply]) -> Script:
    """That study gets the reply, every other an answer."""

    def script(request: Json) -> Reply | str:
        if CANARY not in asked(request) or study_of(request) != study:
            return say(request) if CANARY in asked(request) else "OK"
        return reply if isinstance(reply, Reply) else reply()

    return script


def test_every_study_is_answered_and_the_card_tells_by_whom(tmp_path: Path, cohort: Cohort) -> None:
    def script(request: Json) -> Reply:
        body = json.loads(answer(say(request), model="m-2026-01-01").body)
        return Reply(json.dumps({**body, "system_fingerprint": "fp_1"}).encode())

    with ScriptedJudge(script) as server:
        runner = Runner(tmp_path, cohort, server)
        rows = runner.run(prices={"input": 10.0, "output": 20.0}, seed=7)
        sent = server.requests
    for row, study in zip(rows, cohort.test, strict=True):
        assert row["findings"] == f"Lungs of {study.study_id} are clear."
        assert (row["status"], row["used"]) == ("ok", ["indication"])
        assert (row["tokens_in"], row["tokens_out"]) == (100, 10)
        assert row["answered_by"] == "m-2026-01-01 fp_1"
    assert len(sent) == N
    assert sent[0].json["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": f"Indication: {CANARY} of {study_of(sent[0].json)}.\nWrite the findings.",
        },
    ]
    assert {"temperature": 0.0, "seed": 7, "max_tokens": 512}.items() <= sent[0].json.items()
    assert "response_format" not in sent[0].json
    # 12 × 100 tokens at $10 and 12 × 10 at $20 per million
    assert runner.card["notes"] == [
        "answered by m-2026-01-01 fp_1",
        "1,200 tokens in, 120 out: $0.0144 without discounts or repeated requests",
    ]


def test_images_arrive_without_loss_and_references_do_not(tmp_path: Path, cohort: Cohort) -> None:
    with ScriptedJudge(say) as server:
        rows = Runner(tmp_path, cohort, server).run(images=["frontal", "lateral"])
        sent = {study_of(logged.json): logged.json for logged in server.requests}
    for row, study in zip(rows, cohort.test, strict=True):
        *parts, text = sent[study.study_id]["messages"][-1]["content"]
        assert text["type"] == "text"
        frontal = next(image for image in study.request.images if image.frontal)
        arrived = decoded(parts[0])
        assert np.array_equal(arrived, frontal.pixels())
        assert arrived.dtype == np.uint8
        shown = [i for i in study.request.images if i.frontal][:1]
        shown += [i for i in study.request.images if i.lateral][:1]
        assert len(parts) == len(shown)
        assert row["used"][: len(parts)] == ["frontal", "lateral"][: len(parts)]
    everything = json.dumps(list(sent.values()), ensure_ascii=False)
    for study in cohort.test:
        assert study.reference.findings
        assert study.reference.findings not in everything


def decoded(part: Json) -> Any:
    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(data))))


def test_images_are_brought_down_to_a_limit_only_when_asked(tmp_path: Path, cohort: Cohort) -> None:
    with ScriptedJudge(say) as server:
        Runner(tmp_path, cohort, server).run(images=["frontal"], image_side=100)
        shapes = [decoded(r.json["messages"][-1]["content"][0]).shape for r in server.requests]
    assert {max(shape) for shape in shapes} == {100}


def test_an_image_that_cannot_be_read_costs_its_study(tmp_path: Path, cohort: Cohort) -> None:
    bad = cohort.test[3]
    gone = tuple(
        dataclasses.replace(image, read=None, path=tmp_path / "gone.png")
        for image in bad.request.images
    )
    studies = list(cohort.test)
    studies[3] = dataclasses.replace(bad, request=dataclasses.replace(bad.request, images=gone))
    with ScriptedJudge(say) as server:
        runner = Runner(tmp_path, dataclasses.replace(cohort, test=tuple(studies)), server)
        rows = runner.run(images=["frontal"])
    assert [row["status"] for row in rows].count("ok") == N - 1
    assert rows[3]["error"].startswith("image missing: ")
    assert json.loads((runner.folder / "DONE").read_text())["image_failures"] == {"missing": 1}


@pytest.mark.parametrize(
    ("reply", "status", "reason"),
    [
        (answer("Lungs are clear", "length"), "truncated", None),
        (scripted.filtered_answer(), "refused", "content filter"),
        (answer(f"Half of {CANARY}", "content_filter"), "refused", "content filter"),
        (scripted.filtered_prompt(), "refused", "content filter"),
        (answer(None, refusal=f"I cannot read {CANARY}"), "refused", "the model refuses to answer"),
        (answer("  \n"), "empty", None),
        (answer(None, "length"), "empty", "no text within 512 tokens"),
        (answer("<think>Half of it"), "empty", "only thoughts, and no answer"),
        (answer("[THINK]Half of it[/THINK]\n"), "empty", "only thoughts, and no answer"),
        (
            answer("◁think▷Half of it", "length"),
            "empty",
            "no answer after the thoughts within 512 tokens",
        ),
        (answer(None, reasoning_content="Half"), "empty", "only thoughts, and no answer"),
        (
            answer("", "length", reasoning="Half"),
            "empty",
            "no answer after the thoughts within 512 tokens",
        ),
        (answer("<think>An effusion?</think>Lungs are clear", "length"), "truncated", None),
        (answer("x" * 200_000), "failed", "an answer of more than 100,000 characters"),
        (Reply(b"x" * 2_000_000), "failed", "an answer too long to read"),
        (scripted.context_overflow(), "failed", "too long for the model's context"),
        (
            scripted.error(400, "invalid_request_error", f"cannot read {CANARY}"),
            "failed",
            "the endpoint refuses the request (HTTP 400 invalid_request_error)",
        ),
    ],
)
def test_what_an_answer_counts_as(
    tmp_path: Path, cohort: Cohort, reply: Reply, status: str, reason: str | None
) -> None:
    study = cohort.test[5].study_id
    with ScriptedJudge(for_study(study, reply)) as server:
        rows = Runner(tmp_path, cohort, server).run()
        asked_for = [study_of(logged.json) for logged in server.requests]
    row = rows[5]
    assert (row["status"], row.get("error")) == (status, reason)
    assert row.get("findings") == ("Lungs are clear" if status == "truncated" else None)
    assert {r["status"] for r in rows if r is not row} == {"ok"}
    assert asked_for.count(study) == 1  # such answers stand


THINKS = (
    "<think>A mass at [0.1, 0.1, 0.2, 0.2]?</think>",
    "<|START_THINKING|>A mass?<|END_THINKING|>",
)


@pytest.mark.parametrize("thoughts", THINKS)
@pytest.mark.parametrize("kind", ["plain", "reasoned", "boxed", "findings_impression"])
def test_thoughts_are_in_the_raw_answer_and_not_in_the_report(
    kind: str, thoughts: str, tmp_path: Path, cohort: Cohort
) -> None:
    with ScriptedJudge(lambda request: f"{thoughts}\n{say(request)}") as server:
        rows = Runner(tmp_path, cohort, server).run(answer=kind)
    for row, study in zip(rows, cohort.test, strict=True):
        said = f"Lungs of {study.study_id} are clear."
        assert (row["status"], row["findings"]) == ("ok", said)
        assert row["raw"] == f"{thoughts}\n{said}"


@pytest.mark.parametrize(
    "fault",
    [
        scripted.rate_limited("0"),
        scripted.rate_limited(),
        scripted.error(500, "server_error"),
        scripted.error(503),
        scripted.reset(),
        scripted.half_body(),
        scripted.half_json(),
        Reply(b"<html>a proxy's page</html>"),
        Reply(b'{"choices": []}'),
        scripted.hang(60),
    ],
    ids=lambda reply: f"{reply.status}-{len(reply.body)}-{reply.hang_s:g}",
)
def test_what_passes_is_asked_again(tmp_path: Path, cohort: Cohort, fault: Reply) -> None:
    hit: set[str] = set()

    def script(request: Json) -> Reply | str:
        study = study_of(request)
        if study not in hit and len(hit) < 3:
            hit.add(study)
            return fault
        return say(request)

    with ScriptedJudge(script) as server:
        rows = Runner(tmp_path, cohort, server).run(timeout_s=0.5)
        assert len(server.requests) == N + 3
    assert [row["status"] for row in rows] == ["ok"] * N


def test_retry_after_is_heeded(tmp_path: Path, cohort: Cohort) -> None:
    with ScriptedJudge(scripted.in_turn(scripted.rate_limited("0.4"), "Clear.")) as server:
        Runner(tmp_path, cohort, server).run(concurrency=1)
        first, second = server.requests[0].at, server.requests[1].at
    assert second - first >= 0.4


def test_batches_and_references_change_no_answer(tmp_path: Path, cohort: Cohort) -> None:
    other = tuple(
        dataclasses.replace(s, reference=dataclasses.replace(s.reference, findings="Changed."))
        for s in cohort.test
    )
    with ScriptedJudge(say) as server:
        together = Runner(tmp_path / "a", cohort, server).run()
        changed = dataclasses.replace(cohort, test=other)
        assert Runner(tmp_path / "b", changed, server).run(batch_size=1) == together


def test_requests_are_in_flight_together(tmp_path: Path, cohort: Cohort) -> None:
    with ScriptedJudge(say, latency_s=0.05) as server:
        Runner(tmp_path, cohort, server).run(concurrency=6)
        assert server.most_in_flight == 6


@pytest.mark.parametrize("broken", [scripted.error(500), scripted.reset(), Reply(b"garbage")])
def test_a_study_that_breaks_the_server_fails_and_the_run_ends(
    tmp_path: Path, cohort: Cohort, broken: Reply
) -> None:
    """Also when it is the last: the endpoint is down for nobody else."""
    study = cohort.test[-1].study_id
    with ScriptedJudge(for_study(study, broken)) as server:
        rows = Runner(tmp_path, cohort, server).run(patience_s=0.2, concurrency=1)
    assert [row["status"] for row in rows] == ["ok"] * (N - 1) + ["failed"]
    assert "though the endpoint answers others" in rows[-1]["error"]


def test_a_server_that_breaks_on_every_study_stops_the_run(tmp_path: Path, cohort: Cohort) -> None:
    """It answers a word and breaks on images, say; that is no reason to fail the cohort."""

    def script(request: Json) -> Reply | str:
        return scripted.error(500) if CANARY in asked(request) else "OK"

    with ScriptedJudge(script) as server:
        runner = Runner(tmp_path, cohort, server)
        with pytest.raises(StopRunError, match="model unreachable: HTTP 500"):
            runner.run(patience_s=0.1)
        assert runner.rows() == []
        server.reply = for_study(cohort.test[0].study_id, scripted.error(500))
        rows = runner.run(patience_s=0.2, concurrency=1)
    assert [row["status"] for row in rows] == ["failed"] + ["ok"] * (N - 1)


def test_refusals_of_some_studies_do_not_stop_a_run_that_has_answers(
    tmp_path: Path, cohort: Cohort
) -> None:
    bad = {study.study_id for study in cohort.test[4:9]}

    def script(request: Json) -> Reply | str:
        return scripted.error(400) if study_of(request) in bad else say(request)

    with ScriptedJudge(script) as server:
        rows = Runner(tmp_path, cohort, server).run(batch_size=4, concurrency=4)
    assert [row["status"] for row in rows] == ["ok"] * 4 + ["failed"] * 5 + ["ok"] * 3


def test_a_server_that_takes_no_such_request_stops_the_run(tmp_path: Path, cohort: Cohort) -> None:
    with ScriptedJudge(lambda request: scripted.error(400, "invalid_request_error")) as server:
        runner = Runner(tmp_path, cohort, server)
        with pytest.raises(StopRunError, match="HTTP 400 invalid_request_error"):
            runner.run(concurrency=1)
        assert len(server.requests) == 3
    assert runner.rows() == []


def undisturbed(tmp_path: Path, cohort: Cohort, server: ScriptedJudge) -> dict[str, bytes]:
    runner = Runner(tmp_path / "undisturbed", cohort, server)
    runner.run()
    return files(runner)


def files(runner: Runner) -> dict[str, bytes]:
    names = ("predictions.jsonl", "card.json", "DONE")
    card = json.loads((runner.folder / "card.json").read_text())
    card["environment"] = None
    return {name: (runner.folder / name).read_bytes() for name in (names[0], names[2])} | {
        "card.json": json.dumps(card).encode()
    }


def test_a_server_that_goes_down_stops_the_run_which_goes_on_later(
    tmp_path: Path, cohort: Cohort
) -> None:
    with ScriptedJudge(say) as server:
        expected = undisturbed(tmp_path, cohort, server)
        server.requests.clear()
        count = 0

        def dying(request: Json) -> Reply | str:
            nonlocal count
            count += 1
            return say(request) if count <= 5 else scripted.error(503)

        server.reply = dying
        runner = Runner(tmp_path / "stopped", cohort, server)
        with pytest.raises(StopRunError, match="model unreachable: HTTP 503"):
            runner.run(patience_s=0.2, concurrency=2)
        assert not (runner.folder / "DONE").exists()
        before = runner.rows()
        assert [row["status"] for row in before] == ["ok"] * 5

        server.die()
        with pytest.raises(StopRunError, match="model unreachable: no connection"):
            runner.run(patience_s=0.2)
        assert runner.rows() == before

        server.revive()
        server.reply = say
        server.requests.clear()
        runner.run()
        assert len(server.requests) == N - 5  # nothing is asked, or paid, twice
        assert files(runner) == expected


def test_another_model_behind_the_same_name_stops_the_run_and_the_resumed_run(
    tmp_path: Path, cohort: Cohort
) -> None:
    count = 0

    def script(request: Json) -> Reply:
        nonlocal count
        count += 1
        return answer(say(request), model="m-1" if count <= 5 else "m-2")

    with ScriptedJudge(script) as server:
        runner = Runner(tmp_path, cohort, server)
        for _ in range(2):
            with pytest.raises(StopRunError, match="answers as m-2 where m-1 answered before"):
                runner.run(concurrency=1)
            assert [row["answered_by"] for row in runner.rows()] == ["m-1"] * 5


def test_a_budget_stops_before_it_is_passed_and_keeps_what_was_paid(
    tmp_path: Path, cohort: Cohort
) -> None:
    money = {"prices": {"input": 1000.0, "output": 1000.0}, "budget_usd": 1.2}  # $0.11 an answer
    with ScriptedJudge(say) as server:
        runner = Runner(tmp_path, cohort, server)
        with pytest.raises(StopRunError, match=r"budget of \$1\.2 reached.*\$0\.[0-9]+"):
            runner.run(concurrency=3, **money)
        first = len(runner.rows())
        assert 0 < first < N
        assert first == len(server.requests)
        assert first * 0.11 < 1.2
        assert len(runner.run(**{**money, "budget_usd": 9.0})) == N
        assert len(server.requests) == N


def test_a_refused_key_stops_the_run_and_no_file_holds_it(
    tmp_path: Path, cohort: Cohort, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setenv("CHAT_KEY", KEY)
    caplog.set_level("DEBUG")
    with ScriptedJudge(lambda request: scripted.error(401, "invalid_api_key", KEY)) as server:
        runner = Runner(tmp_path, cohort, server)
        with pytest.raises(StopRunError, match="look at CHAT_KEY") as stopped:
            runner.run(api_key_env="CHAT_KEY")
        server.reply = say
        runner.run(api_key_env="CHAT_KEY")
        assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(stopped.value)
    assert KEY not in caplog.text
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_a_server_that_echoes_puts_nothing_into_errors_and_logs(
    tmp_path: Path, cohort: Cohort, caplog: Any
) -> None:
    caplog.set_level("DEBUG")

    def echo(request: Json) -> Reply:
        body = json.loads(answer("Clear.", model=CANARY).body)
        return Reply(json.dumps({**body, "system_fingerprint": CANARY}).encode())

    with ScriptedJudge(lambda r: scripted.error(400, CANARY, CANARY)) as server:
        runner = Runner(tmp_path, cohort, server)
        with pytest.raises(StopRunError) as stopped:
            runner.run(concurrency=1)
        server.reply = echo
        rows = runner.run()
    assert CANARY not in str(stopped.value)
    assert CANARY not in caplog.text
    assert CANARY not in json.dumps(rows)
    assert CANARY not in json.dumps(runner.card)


def closed(cohort: Cohort) -> Cohort:
    return dataclasses.replace(cohort, card=MIMIC)


@pytest.mark.parametrize("url", ["https://api.openai.com/v1", "http://192.0.2.1:8000/v1"])
def test_credentialed_data_does_not_leave_the_machine(
    tmp_path: Path, cohort: Cohort, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    connects.clear()
    runner = Runner(tmp_path, closed(cohort))
    with pytest.raises(ReportCardError, match=r"Text of 'MIMIC' .* may not go to"):
        runner.run(base_url=url, images=["frontal"])
    assert connects == []
    assert runner.rows() == []


def test_credentialed_data_goes_to_loopback_and_follows_no_redirect(
    tmp_path: Path, cohort: Cohort
) -> None:
    connects.clear()
    with ScriptedJudge(say) as server:
        runner = Runner(tmp_path / "a", closed(cohort), server)
        assert len(runner.run()) == N
        server.reply = lambda request: scripted.redirect("http://192.0.2.1/v1/chat/completions")
        other = Runner(tmp_path / "b", closed(cohort), server)
        with pytest.raises(StopRunError, match="redirect"):
            other.run()
        assert other.rows() == []
        there = {address for address in connects if isinstance(address, tuple)}
        assert there == {("127.0.0.1", server.port)}


def test_a_model_that_is_not_told_whose_data_it_is_sends_nothing(cohort: Cohort) -> None:
    with ScriptedJudge(say) as server:
        options = {"model": "m", "base_url": server.base_url, "instruction": "Write."}
        adapter: Any = open_model(Plugin("openai_chat", "chat", options), cohort).adapter
        with pytest.raises(StopRunError, match="admit"):
            adapter.generate([study.request for study in cohort.test])
        assert server.connections == 0


def test_the_place_of_the_server_is_not_part_of_the_model(tmp_path: Path, cohort: Cohort) -> None:
    def fingerprint(**options: Any) -> str:
        given = {"model": "m", "instruction": "Write.", "base_url": "http://127.0.0.1:1/v1"}
        return open_model(Plugin("openai_chat", "x", {**given, **options}), cohort).fingerprint

    same = [{}, {"base_url": "http://127.0.0.1:2/v1"}, {"concurrency": 3}, {"batch_size": 5}]
    assert len({fingerprint(**options) for options in same}) == 1
    others: list[dict[str, Any]] = [
        *({"model": "n"}, {"system": "Be brief."}, {"temperature": 0.5}, {"image_side": 512}),
        *({"revision": "q4"}, {"images": []}, {"max_new_tokens": 64}, {"answer": "boxed"}),
    ]
    assert len({fingerprint(**options) for options in [{}, *others]}) == len(others) + 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": None}, "model.model is not set"),
        ({"base_url": None}, "model.base_url is not set"),
        ({"kind": "azure"}, "model.api_version is not set"),
        ({"api_key_env": "NO_SUCH_KEY"}, "environment variable NO_SUCH_KEY"),
        ({"instruction": "", "context": []}, "model.instruction is not set"),
        ({"budget_usd": 1.0}, "model.budget_usd needs model.prices.m"),
        ({"kind": "recorded"}, "model.kind 'recorded'"),
        ({"images": ["sideways"]}, "not 'sideways'"),
        ({"answer": "verse"}, "not 'verse'"),
        ({"concurrency": 0}, "model.concurrency must be a number above 0"),
        ({"max_new_tokens": 1.5}, "model.max_new_tokens must be a whole number"),
        ({"prices": "cheap"}, "model.prices must be"),
    ],
)
def test_preflight_says_what_is_missing(
    tmp_path: Path, cohort: Cohort, options: Json, said: str
) -> None:
    with pytest.raises(ReportCardError, match=said):
        Runner(tmp_path, cohort).run(**{"base_url": "http://127.0.0.1:9/v1", **options})


def test_azure_is_asked_by_deployment_and_version(
    tmp_path: Path, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT_KEY", KEY)
    azure = {"kind": "azure", "api_version": "2024-10-21", "api_key_env": "CHAT_KEY"}
    with ScriptedJudge(say) as server:
        root = server.base_url.removesuffix("/v1")
        rows = Runner(tmp_path, cohort, server).run(**azure, base_url=root, images=["frontal"])
        sent = server.requests[0]
    assert [row["status"] for row in rows] == ["ok"] * N
    assert sent.path == "/openai/deployments/m/chat/completions?api-version=2024-10-21"
    assert sent.headers["api-key"] == KEY


@pytest.mark.slow
def test_a_real_server_from_the_command_line(
    judge_gguf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """llama.cpp with SmolLM2, which sees no image and knows no medicine, from run to table."""
    from reportcard.cli.main import main
    from reportcard.llm.judge.local_server import running

    command = ["run", "dataset=phantom", "limit=2", "model=llama_cpp", f"results_dir={tmp_path}"]
    command += ["tracking=none", "model.max_new_tokens=24", "metrics=[bleu]"]
    with running(judge_gguf) as url:
        assert main([*command, f"model.base_url={url}"]) == 0
    (done,) = tmp_path.rglob("predictions/*/*/DONE")
    rows = [json.loads(line) for line in (done.parent / "predictions.jsonl").open()]
    assert len(rows) == 2
    for row in rows:
        assert row["findings"].strip()
        assert row["status"] in ("ok", "truncated")
        assert row["tokens_in"] > 20
        assert 0 < row["tokens_out"] <= 24
        assert row["answered_by"].startswith(judge_gguf.stem)
    first = (done.parent / "predictions.jsonl").read_bytes()
    assert main([*command, "model.base_url=http://127.0.0.1:9/v1"]) == 0  # all there: none is asked
    assert (done.parent / "predictions.jsonl").read_bytes() == first
