"""Models in stages: which requests share a batch, what is prepared ahead, what a failure costs."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from reportcard.api import (
    Image,
    ModelCard,
    Phrase,
    Prediction,
    Report,
    ReportCardError,
    Request,
)
from reportcard.config.compose import load
from reportcard.config.settings import Plugin
from reportcard.core import registry
from reportcard.data.cohort import load_cohort
from reportcard.models.staged import Completion, Prepared, StagedAdapter, answered
from reportcard.pipeline import run
from reportcard.predict.engines import local
from reportcard.predict.engines.job import Worker
from reportcard.predict.system import open_model
from tests.toy_staged import ToyStaged

TOY = Path(__file__).parents[1] / "toy_staged.py"


def request(number: int, indication: str = "Cough.", images: int = 1, **fields: object) -> Request:
    own = tuple(
        Image(f"{number}-{n}", "PA", read=partial(np.full, (4, 4), number, np.uint8))
        for n in range(images)
    )
    return Request(f"s{number}", own, indication=indication, **fields)  # type: ignore[arg-type]


def answers(
    adapter: ToyStaged, requests: list[Request], exact: bool = False, batch_size: int = 4
) -> dict[str, Prediction]:
    adapter.plan(requests)
    batches = local.generate(adapter, requests, batch_size, quote_errors=True, exact=exact)
    return {answer.study_id: answer for batch in batches for answer in batch}


def sixteen() -> list[Request]:
    """Prompts of many lengths, one or two images, in no order."""
    return [request(n, "x" * (7 * n % 16), images=1 + n % 2) for n in range(16)]


def no_threads() -> bool:
    return not any(t.name.startswith("prepare") for t in threading.enumerate())


def test_the_dearest_come_first_and_a_batch_has_one_number_of_images_and_new_tokens() -> None:
    toy = ToyStaged()
    requests = [*sixteen(), replace(request(90), task="phrase_grounding", phrase="Effusion.")]
    found = answers(toy, requests)
    by_id = {r.study_id: r for r in requests}
    order = [toy.cost(by_id[name]) for batch in toy.batches for name in batch]
    assert order == sorted(order, reverse=True)
    for batch in toy.batches:
        assert len(batch) <= 4
        assert len({toy.cost(by_id[name])[:2] for name in batch}) == 1
    assert toy.batches[-1] == ["s90"]  # 20 new tokens at most, where findings have 60
    assert found["s3"].report.findings == "Grey 3.00/3.00. xxxxx"
    assert Counter(toy.prepares) == dict.fromkeys(by_id, 1)


def test_exact_buckets_share_a_batch_only_at_equal_length() -> None:
    requests = [request(n, "x" * (1 + n % 3)) for n in range(9)]
    padded, exact = ToyStaged(), ToyStaged()
    answers(padded, requests)
    answers(exact, requests, exact=True)
    assert [len(batch) for batch in padded.batches] == [4, 4, 1]
    assert [len(batch) for batch in exact.batches] == [3, 3, 3]
    assert exact.batches[0] == ["s2", "s5", "s8"]


@pytest.mark.parametrize("done", [1, 5, 6, 15])
def test_a_resumed_run_has_the_batch_mates_of_one_that_was_not_stopped(done: int) -> None:
    requests = sixteen()
    whole = answers(ToyStaged(mates=True), requests)
    before = dict(list(whole.items())[:done])
    toy = ToyStaged(mates=True)
    toy.plan(requests)
    keys = {(name, 0) for name in before}
    rest = [a for b in local.generate(toy, requests, 4, True, keys) for a in b]
    assert not before.keys() & {a.study_id for a in rest}
    resumed = {**before, **{a.study_id: a for a in rest}}
    assert {k: a.report for k, a in resumed.items()} == {k: a.report for k, a in whole.items()}


def test_want_of_memory_halves_the_batches_of_that_kind_and_is_remembered() -> None:
    requests = [request(n, images=1 + (n < 8)) for n in range(24)]
    toy = ToyStaged(fits=2)
    found = answers(toy, requests, batch_size=8)
    assert {a.status for a in found.values()} == {"ok"}
    # Two images: 8, then 4, fail once; one image is another kind and finds its size for itself.
    assert [len(b) for b in toy.batches] == [8, 4, 2, 2, 2, 2, 8, 4, *[2] * 8]


@pytest.mark.parametrize("size", range(2, 20))
@pytest.mark.parametrize("fits", [1, 2, 3, 4])
def test_a_batch_ends_in_the_same_parts_whether_its_size_was_found_in_it_or_known(
    size: int, fits: int
) -> None:
    batch = [request(n) for n in range(size)]
    first, second = (ToyStaged(fits=fits, mates=True) for _ in range(2))
    found = Worker(first, quote_errors=True).answers(batch)
    worker = Worker(second, quote_errors=True)
    worker.answers([request(100 + n) for n in range(size)])
    known = worker.answers(batch)
    assert [a.report for a in found] == [a.report for a in known]


def test_a_study_too_large_alone_fails_and_the_rest_go_on() -> None:
    toy = ToyStaged(fits=0)
    found = answers(toy, [request(n) for n in range(3)])
    assert {a.status for a in found.values()} == {"failed"}
    assert "OutOfMemoryError: CUDA out of memory" in (found["s0"].error or "")

    class Small(ToyStaged):
        def complete(self, batch):  # type: ignore[no-untyped-def]
            self.fits = 0 if any(p.request.study_id == "s1" for p in batch) else 9
            return super().complete(batch)

    found = answers(Small(), [request(n) for n in range(3)])
    assert {k: a.status for k, a in found.items()} == {"s0": "ok", "s1": "failed", "s2": "ok"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bad": "s2"}, "RuntimeError: a bad study"),
        ({"bad_prepare": "s2"}, "image truncated: s2 ends early"),
        ({"bad_prompt": "s2"}, "TypeError: not a ReportCardError"),
    ],
)
def test_a_study_that_raises_at_any_stage_costs_its_own_answer(
    options: dict[str, str], says: str
) -> None:
    found = answers(ToyStaged(**options), [request(n) for n in range(6)])  # type: ignore[arg-type]
    assert [k for k, a in found.items() if a.status != "ok"] == ["s2"]
    assert (found["s2"].error or "").startswith(says)
    assert no_threads()


def test_coming_requests_are_prepared_in_threads_and_no_more_than_two_batches_ahead() -> None:
    toy = ToyStaged(seconds=0.05)
    requests = [request(n) for n in range(24)]
    toy.plan(requests)
    batches = local.generate(toy, requests, 2, quote_errors=True)
    next(batches)
    deadline = time.monotonic() + 5
    while len(toy.prepares) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    # Two are answered; the next batch and two more are prepared, although nobody asked yet.
    assert len(toy.prepares) == 2 + 3 * 2
    batches.close()
    assert all(name.startswith("prepare") for name in toy.threads)
    assert no_threads()


def test_preparing_overlaps_with_the_forward_pass() -> None:
    class Slow(ToyStaged):
        working = False
        overlaps = 0

        def prepare(self, request):  # type: ignore[no-untyped-def]
            time.sleep(0.01)
            self.overlaps += self.working
            return super().prepare(request)

        def complete(self, batch):  # type: ignore[no-untyped-def]
            self.working = True
            time.sleep(0.05)
            self.working = False
            return super().complete(batch)

    toy = Slow()
    answers(toy, [request(n) for n in range(12)], batch_size=2)
    assert toy.overlaps >= 4


def test_nothing_is_prepared_ahead_when_it_is_switched_off() -> None:
    toy = ToyStaged()
    list(local.generate(toy, [request(n) for n in range(4)], 2, True, ahead=False))
    assert toy.threads == {"MainThread"}


def test_an_interrupt_leaves_no_threads() -> None:
    class Interrupted(ToyStaged):
        def complete(self, batch):  # type: ignore[no-untyped-def]
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().complete(batch)

    toy = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        answers(toy, [request(n) for n in range(40)])
    assert no_threads()
    assert len(toy.prepares) < 40
    assert toy.prepared == toy.prepare  # its own again, for whoever asks next


def test_an_image_of_several_requests_is_encoded_once_and_then_let_go() -> None:
    shared = request(1).images[0]
    requests = [replace(request(n), images=(shared, *request(n).images)) for n in range(6)]
    toy = ToyStaged()
    answers(toy, requests, batch_size=2)
    assert toy.encoded == {"1-0": 1, **{f"{n}-0": 1 for n in range(6)}}
    assert toy._features == {}


def test_status_says_empty_and_truncated() -> None:
    toy = ToyStaged(max_new_tokens=10)
    found = answers(toy, [request(1), request(2, "silence"), request(3, "")])
    assert found["s1"].status == "truncated"
    assert found["s1"].report.findings == "Grey 1.00."
    assert found["s1"].tokens_out == 10
    assert found["s2"].status == "empty"
    assert ToyStaged(max_new_tokens=90).generate([request(3, "")])[0].status == "ok"


def weights(folder: Path, letters: str = "abc") -> str:
    folder.mkdir(exist_ok=True)
    (folder / "letters.txt").write_text(letters)
    (folder / "config.json").write_text("{}")
    return str(folder)


@pytest.fixture
def toy_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.models, "_offered", {})
    registry.offer(TOY)


def fingerprint(**options: object) -> str:
    return open_model(Plugin("toy_staged", "toy", options)).fingerprint


class WithBaseCard(ToyStaged):
    """It says what is the same for any weights, and inherits `card`."""

    base_card = ModelCard("A toy", inputs=("frontal",), licence="none")
    card = StagedAdapter.card


def test_the_card_adds_weights_commit_and_draws_to_what_the_adapter_says(tmp_path: Path) -> None:
    commit = "0" * 40
    assert WithBaseCard().card == WithBaseCard.base_card
    card = WithBaseCard(weights=f"org/name@{commit}", sampling={"temperature": 1, "draws": 3}).card
    assert (card.weights, card.revision, card.draws) == (f"org/name@{commit}", commit, 3)
    assert (card.description, card.inputs, card.licence) == ("A toy", ("frontal",), "none")
    moved = [WithBaseCard(weights=weights(tmp_path / name)).card for name in ("here", "there")]
    assert moved[0] == moved[1]
    assert str(moved[0].weights).startswith("sha256:")


@pytest.mark.usefixtures("toy_plugin")
def test_the_fingerprint_is_of_what_decides_the_answers(tmp_path: Path) -> None:
    folder = weights(tmp_path / "w")
    before = fingerprint(weights=folder)
    assert before == fingerprint(weights=folder, batch_size=1)
    assert before == fingerprint(weights=folder, dtype="float32")  # what auto means on a CPU
    assert before == fingerprint(weights=weights(tmp_path / "moved"))
    others = [
        {"dtype": "bfloat16"},
        {"greeting": "Report"},
        {"max_new_tokens": 7},
        {"sampling": {"temperature": 0.5}},
        {"sampling": {"temperature": 0.5, "seed": 1}},
    ]
    found = [fingerprint(weights=folder, **options) for options in others]
    assert len({before, *found}) == 6
    weights(tmp_path / "w", "abd")
    assert fingerprint(weights=folder) != before


@pytest.mark.usefixtures("toy_plugin")
def test_a_device_is_not_part_of_the_fingerprint_but_what_it_computes_in_is() -> None:
    half = {"dtype": "bfloat16"}
    assert fingerprint(device="cpu", **half) == fingerprint(device="cuda:1", **half)
    assert fingerprint(device="cpu") != fingerprint(device="cuda")  # float32, bfloat16


@pytest.mark.usefixtures("toy_plugin")
def test_preflight_names_every_model_that_cannot_run_before_anything_is_loaded(
    tmp_path: Path,
) -> None:
    half = tmp_path / "half"
    half.mkdir()
    (half / "letters.txt").write_text("abc")
    config = load(
        [
            *(f"plugin={TOY}", "model=toy_staged,indication_retrieval", "dataset=phantom"),
            *(f"+model.weights={half}", f"results_dir={tmp_path / 'r'}", "tracking=none"),
            *("dataset.test=2", "dataset.train=0"),
        ]
    )
    models = [replace(m, options={}) if m.plugin != "toy_staged" else m for m in config.models]
    config = replace(config, models=tuple(models))
    with pytest.raises(ReportCardError) as error:
        run(config, frozenset({"predict"}), fetch=False, say=lambda text: None)
    assert f"{half} lacks config.json; there is letters.txt" in str(error.value)
    assert "indication_retrieval is fitted on a train part" in str(error.value)
    assert not (tmp_path / "r" / "predictions").exists()


@pytest.mark.usefixtures("toy_plugin")
def test_a_run_over_a_cohort_stands_in_its_order_whatever_the_batches(tmp_path: Path) -> None:
    overrides = [
        *(f"plugin={TOY}", "model=toy_staged", "dataset=phantom", "dataset.test=5"),
        *("dataset.train=0", "dataset.size=64", f"results_dir={tmp_path}", "tracking=none"),
    ]
    config = load(overrides)
    run(config, frozenset({"predict"}), fetch=False, say=lambda text: None)
    text = next(tmp_path.glob("predictions/*/*/predictions.jsonl")).read_text()
    ids = [line.split('"study_id":"')[1].split('"')[0] for line in text.splitlines()]
    assert ids == [study.study_id for study in load_cohort(config.datasets[0]).test]
    assert "token_ids" not in text


def test_half_a_surrogate_pair_in_an_answer_survives_the_reordering(tmp_path: Path) -> None:
    """Batches are out of order, so every file of a model in stages is written again at the end."""
    from reportcard.core.files import jsonl

    assert jsonl([{"raw": "a\ud83e"}]) == b'{"raw":"a\\ud83e"}\n'


class Thinker(ToyStaged):
    """Says what the indication says."""

    def _completion(self, prepared: Prepared, names: list[str]) -> Completion:
        return Completion(prepared.request.indication or "", finished=prepared.request.draw == 0)


@pytest.mark.parametrize(
    ("text", "draw", "findings", "status"),
    [
        ("<think>An effusion?</think>Clear.", 0, "Clear.", "ok"),
        ("[unused16]An effusion?[unused17]Clear", 1, "Clear", "truncated"),
        ("<unused94>thought\nAn effusion?", 1, "", "empty"),
        ("<seed:think>An effusion?</seed:think>\n", 0, "", "empty"),
        (" Clear. ", 0, "Clear.", "ok"),
    ],
)
def test_thoughts_are_no_part_of_any_staged_models_report(
    text: str, draw: int, findings: str, status: str
) -> None:
    (found,) = Thinker().generate([replace(request(1, text), draw=draw)])
    assert (found.report.findings, found.status, found.raw) == (findings, status, text)


def test_a_phrase_that_was_only_thought_about_is_not_answered() -> None:
    report = Report(phrases=(Phrase("small effusion"),))
    assert answered(report, "It is not there.")
    assert not answered(report, "<think>It is not there.")
