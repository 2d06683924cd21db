"""`reportcard check`: an honest toy passes, and each check catches an adapter made to fail it."""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportcard.analysis import check as checking
from reportcard.analysis.check import examine
from reportcard.analysis.check import vision_use as vision
from reportcard.analysis.check.inputs import holds_reference, prompt_problem
from reportcard.analysis.check.under_test import Check, ModelUnderTest, drawn, make_ready, varied
from reportcard.analysis.check.vision_use import changed_words
from reportcard.api import (
    Box,
    ImageError,
    ModelCard,
    Phrase,
    Prediction,
    Report,
    ReportCardError,
    Request,
    Study,
)
from reportcard.cli.main import main
from reportcard.config.settings import Plugin
from reportcard.core import registry
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.models.staged import Completion, Prepared, Prompt, StagedAdapter
from reportcard.models.views import frontal_of
from reportcard.predict.system import System

CARD = ModelCard("Toy", inputs=("frontal",), licence="none", trained_on=("nothing",))


@dataclass
class Toy:
    """Tells the mean grey of the frontal image: the honest adapter that the bad ones change."""

    card: ModelCard = CARD

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        return [self.answer(request) for request in requests]

    def answer(self, request: Request) -> Prediction:
        text = self.text(request)
        status = "ok" if text else "empty"
        return Prediction(
            request.study_id, Report(text), text, status, self.card.inputs, draw=request.draw
        )

    def text(self, request: Request) -> str:
        return f"The mean is {frontal_of(request).pixels().mean():.4f} today."


@pytest.fixture(scope="module")
def phantom() -> Cohort:
    return load_cohort(Plugin("phantom", "phantom", {"test": 16, "train": 8, "size": 64}))


@pytest.fixture(scope="module")
def studies(phantom: Cohort) -> tuple[Study, ...]:
    return tuple(drawn(study) for study in varied(phantom.test, 6))


@pytest.fixture
def check(phantom: Cohort, studies: tuple[Study, ...]) -> Any:
    """Adapter → name of a check → what it said."""

    def checked(adapter: Any) -> dict[str, Check]:
        system = System("toy", Plugin("toy", "toy"), adapter, "f" * 64)
        make_ready(adapter, phantom)
        found, _ = examine(ModelUnderTest(system, phantom, studies, studies, batch_size=4))
        return {check.name: check for check in found}

    return checked


def failures(found: Mapping[str, Check]) -> set[str]:
    return {name for name, check in found.items() if check.failed}


def test_an_honest_adapter_passes_every_check(check: Any) -> None:
    found = check(Toy())
    assert failures(found) == set()
    assert "image missing" in found["one bad image"].reason
    assert "image truncated" in found["one bad image"].reason
    assert "with another patient's image" in found["vision use"].reason


class Position(Toy):
    """Numbers its answers within the batch."""

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        answers = super().generate(requests)
        return [
            replace(a, report=Report(f"{n} {a.report.findings}")) for n, a in enumerate(answers)
        ]


class Memory(Toy):
    """Repeats the answer before."""

    last = ""

    def text(self, request: Request) -> str:
        told, self.last = self.last, super().text(request)
        return f"Before: {told} Now: {self.last}"


class Swapped(Toy):
    """Answers a batch in reversed order."""

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        return super().generate(requests)[::-1]


class Alone(Toy):
    """Cannot take two at once; the engine would hide it."""

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        if len(requests) > 1:
            raise ValueError("one at a time")
        return super().generate(requests)


def test_answers_that_follow_the_batch_or_the_order_are_found(check: Any) -> None:
    assert (
        "answers differ from those of single studies: in pairs"
        in check(Position())["batches and order"].reason
    )
    assert check(Memory())["batches and order"].failed
    assert "not deterministic" in check(Memory())["asked again"].reason
    assert "and answered" in check(Swapped())["valid answers"].reason
    assert (
        "a batch of 4 raised: ValueError: one at a time" in check(Alone())["valid answers"].reason
    )


class Half(StagedAdapter):
    """In bfloat16 on CUDA, by its options."""

    card = CARD
    identity: Mapping[str, Any] = {}

    def missing(self) -> str | None:
        return None

    def prompt(self, request: Request) -> Prompt:
        return Prompt("<image> Describe.", (frontal_of(request),), 50, used=("frontal",))

    def pixels(self, grey: Any) -> Any:
        return grey.mean()

    def load(self) -> None: ...

    def complete(self, batch: Sequence[Prepared]) -> list[Completion]:
        return [Completion(f"{p.pixels[0]:.3f} in {len(batch)}") for p in batch]


def test_batches_in_half_precision_on_cuda_are_told_and_not_judged(check: Any) -> None:
    there = check(Half(device="cuda:0", dtype="bfloat16"))["batches and order"]
    assert (there.state, "half precision on CUDA, not judged" in there.reason) == ("info", True)
    assert check(Half(device="cpu"))["batches and order"].failed


class Spy(Toy):
    """Looks for the references in the memory of the process."""

    def text(self, request: Request) -> str:
        found = {
            o.reference.text()
            for o in gc.get_objects()
            if isinstance(o, Study) and o.study_id == request.study_id
        }
        return super().text(request) + " ".join(sorted(found))


class Peeker(Toy):
    """Draws the phantom again and copies its reports."""

    def __init__(self) -> None:
        super().__init__()
        drawn_again = load_cohort(Plugin("phantom", "p", {"test": 16, "train": 8, "size": 64}))
        self.reports = {s.study_id: s.reference.text() for s in drawn_again.test}

    def text(self, request: Request) -> str:
        return self.reports[request.study_id]


class Declared(Toy):
    """Is shown the references, and declares it."""

    def see_references(self, test: Sequence[Study]) -> None:
        self.reports = {study.study_id: study.reference.text() for study in test}

    def text(self, request: Request) -> str:
        return self.reports[request.study_id]


def test_adapters_that_reach_for_the_references_are_found(check: Any) -> None:
    assert "answers changed" in check(Spy())["no references"].reason
    assert "word for word" in check(Peeker())["no references"].reason
    declared = check(Declared(replace(CARD, kind="ceiling", inputs=(), sees_references=True)))
    assert declared["no references"].reason == "declared: sees references"
    assert failures(declared) == set()


def test_a_request_that_holds_its_reference_is_found(studies: tuple[Study, ...]) -> None:
    study = next(s for s in studies if s.request.prior is None)
    assert not holds_reference(study.request, study)
    told = f"Radiologist: {study.reference.findings}"
    assert holds_reference(replace(study.request, indication=told), study)


class Patched(Toy):
    """Takes an image that cannot be read for a black one."""

    def text(self, request: Request) -> str:
        try:
            return super().text(request)
        except ImageError:
            return "The mean is 0."


class Untyped(Toy):
    def text(self, request: Request) -> str:
        try:
            return super().text(request)
        except ImageError:
            raise KeyError("pixels") from None


class Infectious(Toy):
    """After one bad image nothing is as before."""

    ill = ""

    def text(self, request: Request) -> str:
        try:
            return super().text(request) + self.ill
        except ImageError:
            self.ill = " sick"
            raise


def test_a_bad_image_must_cost_its_own_study_and_say_so(check: Any) -> None:
    assert "as if it could be read" in check(Patched())["one bad image"].reason
    assert "raised no ImageError but: KeyError" in check(Untyped())["one bad image"].reason
    assert "the answer of another study" in check(Infectious())["one bad image"].reason


class Fragile(Toy):
    """Breaks on what `bad` says of the request."""

    def __init__(self, bad: Any, error: Exception) -> None:
        super().__init__()
        self.bad, self.error = bad, error

    def text(self, request: Request) -> str:
        if self.bad(request):
            raise self.error
        return super().text(request)


def test_odd_context_must_not_crash_a_model(check: Any) -> None:
    crash = AttributeError("no strip")
    for what, bad in {
        "no context": lambda r: r.indication is None,
        "empty context": lambda r: r.indication == "",
        "blank context": lambda r: r.technique and r.technique.isspace(),
        "a huge indication": lambda r: len(r.indication or "") > 50_000,
        "strange characters": lambda r: "\x00" in (r.comparison or ""),
    }.items():
        found = check(Fragile(bad, crash))["odd context"]
        assert found.failed
        assert found.reason.startswith(f"{what}: AttributeError: no strip")
    long = Fragile(lambda r: len(r.indication or "") > 50_000, ReportCardError("Too long."))
    assert check(long)["odd context"].reason == "a huge indication is refused: Too long."
    empty = Fragile(lambda r: r.indication is None, ReportCardError("No indication."))
    assert check(empty)["odd context"].reason == "no context: no answer: No indication."


def _with(**changes: Any) -> Toy:
    class Changed(Toy):
        def answer(self, request: Request) -> Prediction:
            return replace(super().answer(request), **changes)

    return Changed()


def _unchecked_box() -> Box:
    box = Box(0, 0, 1, 1)
    object.__setattr__(box, "x_max", 1.5)
    return box


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "fine"}, "status 'fine' is not one of"),
        ({"report": Report(findings=7)}, "a report is text or None, not int"),  # type: ignore[arg-type]
        ({"report": Report("")}, "status is ok but the report has no text"),
        ({"status": "empty"}, "status is empty but the report has text"),
        ({"raw": b"bytes"}, "a report is text or None, not bytes"),
        ({"report": Report("A.", phrases=(Phrase("A.", (_unchecked_box(),)),))}, "a box is not"),
        ({"used": (1,)}, "used must hold names"),
        ({"study_id": "another"}, "was asked for"),
        ({"report": Report("half \ud83e of an emoji")}, "it cannot be stored"),
        ({"status": "failed", "error": None}, "no reason given"),
    ],
)
def test_invalid_answers_are_found(check: Any, changes: dict[str, Any], reason: str) -> None:
    found = check(_with(**changes))["valid answers"]
    assert found.failed
    assert reason in found.reason


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (replace(CARD, description=" "), "no description"),
        (replace(CARD, licence=None), "no licence"),
        (replace(CARD, trained_on=()), "no trained_on"),
    ],
)
def test_a_card_with_a_gap_is_found(check: Any, card: ModelCard, reason: str) -> None:
    assert reason in check(Toy(card))["card"].reason


def test_a_card_that_does_not_say_what_is_used_is_found(check: Any) -> None:
    assert "used technique" in check(_with(used=("frontal", "technique")))["card"].reason
    silent = check(_with(used=()))["card"]
    assert "declares frontal, but no answer lists it" in silent.reason
    assert not check(Toy(replace(CARD, inputs=("images",))))["card"].failed


class Blind(Toy):
    """Opens its image and does not look at it."""

    def text(self, request: Request) -> str:
        super().text(request)
        return f"The lungs are clear. {request.indication}"


def test_a_model_that_ignores_its_image_is_flagged(check: Any) -> None:
    assert check(Blind())["vision use"].reason.startswith("ignores its image: 0.00 of the words")
    text_only = check(Blind(replace(CARD, inputs=())))["vision use"]
    assert (text_only.state, "text only" in text_only.reason) == ("info", True)
    hidden = check(Toy(replace(CARD, inputs=())))["vision use"]
    assert "the card names no image, but the text changes with the image" in hidden.reason


def test_the_probe_gives_blank_images_and_those_of_other_patients(
    phantom: Cohort, studies: tuple[Study, ...]
) -> None:
    subject = ModelUnderTest(
        System("toy", Plugin("toy", "toy"), Toy(), "f" * 64), phantom, studies, studies, 4
    )
    patient_of = {i.image_id: s.patient_id for s in phantom.test for i in s.request.images}
    strangers = vision.OtherPatients(subject)
    for study in studies:
        other = strangers.instead(study)
        for own, image in zip(study.request.images, other.images, strict=True):
            assert own.view == image.view
            assert patient_of[image.image_id.removesuffix("-instead")] != study.patient_id
            grey = vision.blank(own)
            assert grey.image_id != own.image_id  # features may be kept by image
            assert np.unique(grey.pixels()).tolist() == [round(float(own.pixels().mean()))]


def test_words_that_changed() -> None:
    assert changed_words("a b c d", "a b c d") == 0
    assert changed_words("a b c d", "w x y z") == 1
    assert changed_words("a b c d", "a b x d") == 0.25
    assert changed_words("", "") == 0


class Crashing(Toy):
    def text(self, request: Request) -> str:
        raise RuntimeError("boom")


def test_one_check_that_crashes_does_not_hide_the_others(
    check: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(subject: ModelUnderTest) -> Check:
        raise ZeroDivisionError("in the check")

    names = set(check(Toy()))
    broken = [(n, crash if n == "card" else c) for n, c in checking.CHECKS]
    monkeypatch.setattr("reportcard.analysis.check.CHECKS", broken)
    found = check(Toy())
    assert set(found) == names
    assert failures(found) == {"card"}
    assert "ZeroDivisionError" in found["card"].reason
    crashed = check(Crashing())
    assert set(crashed) == names - {"asked again"}  # one line where the probe has no answer
    assert {"valid answers", "vision use"} <= failures(crashed)
    assert "boom" in crashed["valid answers"].reason


# The prompt of a model in stages, which needs no weights.


class Leaky(Half):
    told = ""

    def prompt(self, request: Request) -> Prompt:
        return replace(super().prompt(request), text=f"<image> {self.told}")


def test_bad_prompts_are_found(studies: tuple[Study, ...]) -> None:
    study = next(s for s in studies if s.request.prior is None and s.request.indication)
    assert prompt_problem(Half(), [study]) is None

    leaky = Leaky()
    leaky.told = str(study.reference.findings)
    assert "the prompt contains the reference" in str(prompt_problem(leaky, [study]))

    class Random(Half):
        count = 0

        def prompt(self, request: Request) -> Prompt:
            self.count += 1
            return replace(super().prompt(request), text=f"<image> {self.count}")

    assert "gave two different prompts" in str(prompt_problem(Random(), [study]))

    class Deaf(Half):
        card = replace(CARD, inputs=("frontal", "indication"))

    assert "declares the indication, but the prompt lacks it" in str(
        prompt_problem(Deaf(), [study])
    )

    class Words(Half):
        def prompt(self, request: Request) -> Prompt:
            return replace(super().prompt(request), used=("frontal", "horoscope"))

    assert "used names unknown inputs: horoscope" in str(prompt_problem(Words(), [study]))

    class Imagines(Half):
        def prompt(self, request: Request) -> Prompt:
            return Prompt("Describe.", request.images[:1], 50, used=("frontal",))

    assert "prepared as if it had one" in str(prompt_problem(Imagines(), [study]))

    class Stumbles(Half):
        def prompt(self, request: Request) -> Prompt:
            return Prompt("Describe.", (request.images[0],), 50, used=("frontal",))

    assert "raises IndexError, not an ImageError" in str(prompt_problem(Stumbles(), [study]))


# The command.

HONEST = """
from reportcard.api import ModelCard, Prediction, Report
from reportcard.models.views import frontal_of


class Honest:
    card = ModelCard("T", inputs=("frontal",), licence="none", trained_on=("nothing",))

    def generate(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        mean = frontal_of(request).pixels().mean()
        report = Report(f"Mean {mean:.3f}.")
        return Prediction(request.study_id, report, used=("frontal",), draw=request.draw)
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(registry.models, "_offered", {})
    (tmp_path / "honest.py").write_text(HONEST, encoding="utf-8")
    blind = HONEST.replace("frontal_of(request).pixels().mean()", "len(str(frontal_of(request)))")
    (tmp_path / "blind.py").write_text(blind.replace("Mean {mean:.3f}", "Clear"), encoding="utf-8")
    return tmp_path


def test_check_prints_a_table_and_writes_the_same_bytes_each_time(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *("check", f"plugin={files / 'honest.py'}", "model=honest", "--studies", "3"),
        f"results_dir={files / 'r'}",
    ]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "vision use" in printed
    assert "FAIL" not in printed
    (path,) = (files / "r" / "checks").glob("honest@*/check.json")
    first = path.read_bytes()
    saved = json.loads(first)
    assert saved["passed"] is True
    assert saved["signature"].endswith(f"n:3|{saved['model_fingerprint'][:8]}")
    assert path.parent.name == f"honest@{saved['model_fingerprint'][:8]}"
    assert saved["vision"]["other"]["texts"] == 1
    assert main(words) == 0
    assert path.read_bytes() == first


def test_check_fails_with_code_2_and_says_why(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", f"plugin={files / 'blind.py'}", f"results_dir={files / 'r'}"]
    assert main([*words, "model=blind", "--studies", "2"]) == 2
    printed = capsys.readouterr().out
    assert "ignores its image" in printed
    assert "as if it could be read" in printed
    assert main([*words, "model=blind", "--studies", "1"]) == 2
    assert "--studies must be 2 to 1000" in capsys.readouterr().err


def test_a_model_that_cannot_run_is_told_and_the_next_one_checked(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = HONEST.replace("Honest", "Absent") + (
        "\n    def missing(self):\n        return 'no weights given: model.weights=FOLDER'\n"
    )
    (files / "absent.py").write_text(absent, encoding="utf-8")
    words = ["check", "--studies", "2", f"results_dir={files / 'r'}", "model=absent,honest"]
    paths = ",".join(str(files / name) for name in ("absent.py", "honest.py"))
    assert main([*words, f"plugin=[{paths}]"]) == 2
    printed = capsys.readouterr().out
    assert "absent: no weights given: model.weights=FOLDER" in printed
    assert "vision use" in printed
