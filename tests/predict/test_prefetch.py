"""Decoding ahead of the model: the same pixels and errors, bounded memory, nothing left behind."""

from __future__ import annotations

import json
import os
import pickle
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportcard.api import Image, ImageError, ModelCard, Prediction, Prior, Report, Request
from reportcard.cli.main import main
from reportcard.core import registry
from reportcard.core.imaging.read import LOOKUPS
from reportcard.predict.engines.local import generate
from reportcard.predict.engines.prefetch import ImagePrefetcher, prefetch_images
from tests.fixtures.images import write_images

DECODED: Counter[int] = Counter()
WHERE: dict[int, str] = {}
WAIT = 20  # seconds after which a test that waits has failed


def picture(number: int) -> np.ndarray[Any, Any]:
    """What image `number` shows; counts how often and where it is made."""
    DECODED[number] += 1
    WHERE[number] = threading.current_thread().name
    if number == 13:
        raise ImageError("truncated", "Image 13 ends early")
    return np.full((4, 5), number, np.uint8)


def image(number: int, view: str = "PA", read: Callable[[], Any] | None = None) -> Image:
    return Image(f"im{number}", view, read=read or partial(picture, number))


def requests(n: int, views: Sequence[str] = ("PA",)) -> list[Request]:
    return [
        Request(f"s{i}", tuple(image(i * len(views) + k, v) for k, v in enumerate(views)))
        for i in range(n)
    ]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    DECODED.clear()
    WHERE.clear()
    yield
    assert not LOOKUPS
    assert not [t for t in threading.enumerate() if t.name.startswith("decode-")]


def until(ahead: ImagePrefetcher, condition: Callable[[], bool]) -> None:
    """Wait for the threads to reach a state; a test fails that waits in vain."""
    with ahead._change:
        assert ahead._change.wait_for(condition, WAIT)


def settled(ahead: ImagePrefetcher) -> Callable[[], bool]:
    return lambda: all(job.state != "decoding" for job in ahead._queue)


class Reader:
    """A model that writes down what it saw of each study."""

    def __init__(self, pick: Callable[[Request], Sequence[Image]] = lambda r: r.images) -> None:
        self.card = ModelCard("reads pixels", needs_pixels=True)
        self.pick = pick

    def generate(self, batch: Sequence[Request]) -> list[Prediction]:
        return [
            Prediction(r.study_id, Report(" ".join(str(i.pixels()[0, 0]) for i in self.pick(r))))
            for r in batch
        ]


def test_every_image_is_decoded_once_in_a_thread_and_the_answers_are_the_same() -> None:
    asked = requests(9, ("PA", "LATERAL"))[:6]
    answers = [a for batch in generate(Reader(), asked, 2, True) for a in batch]
    assert [a.report.findings for a in answers] == [f"{2 * i} {2 * i + 1}" for i in range(6)]
    assert Counter(range(12)) == DECODED


def test_what_was_decoded_ahead_is_handed_over_without_decoding_again() -> None:
    asked = requests(3)
    with prefetch_images(asked, threads=2) as ahead:
        until(ahead, lambda: ahead.held == 3 and settled(ahead)())
        assert [r.images[0].pixels()[0, 0] for r in asked] == [0, 1, 2]
        assert all(WHERE[n].startswith("decode-") for n in range(3))
        assert Counter(range(3)) == DECODED
        assert ahead.held == ahead.bytes == 0


def test_a_prior_image_is_decoded_ahead_too() -> None:
    asked = [Request("s", (image(0),), Prior((image(1),)))]
    with prefetch_images(asked, threads=1) as ahead:
        until(ahead, lambda: ahead.held == 2 and settled(ahead)())
    assert WHERE[1].startswith("decode-")


def test_an_error_is_raised_where_the_image_is_asked_for() -> None:
    asked = requests(15)
    with prefetch_images(asked, threads=2) as ahead:
        until(ahead, lambda: ahead.held == 15 and settled(ahead)())
        for request in asked[:13]:
            request.images[0].pixels()
        with pytest.raises(ImageError) as caught:
            asked[13].images[0].pixels()
        assert caught.value.kind == "truncated"
        assert asked[14].images[0].pixels()[0, 0] == 14


def test_a_broken_image_costs_its_study_only() -> None:
    answers = [a for batch in generate(Reader(), requests(16), 4, True) for a in batch]
    assert [a.study_id for a in answers if a.status == "failed"] == ["s13"]
    assert answers[13].error == "image truncated: Image 13 ends early"
    assert answers[14].report.findings == "14"


@pytest.mark.parametrize(("images", "size"), [(3, 2**30), (100, 50)])
def test_memory_is_bounded_by_count_and_by_bytes(images: int, size: int) -> None:
    asked = requests(13)
    with prefetch_images(asked, threads=1, images=images, size=size) as ahead:
        until(ahead, lambda: ahead.held == 3 and settled(ahead)())
        assert ahead.bytes <= size + 20  # one image of 20 bytes per thread on top
        assert len(DECODED) == 3
        for request in asked:
            request.images[0].pixels()
            ahead.release(1)
    assert ahead.most == 3


def test_a_full_buffer_never_stops_the_model() -> None:
    """It asks for the last image first, which no thread can have begun."""
    asked = requests(12)
    with prefetch_images(asked, threads=1, images=2) as ahead:
        until(ahead, lambda: ahead.held == 2 and settled(ahead)())
        assert [r.images[0].pixels()[0, 0] for r in reversed(asked)] == list(range(11, -1, -1))


def test_the_model_waits_for_an_image_that_is_being_decoded() -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow() -> np.ndarray[Any, Any]:
        began.set()
        assert go_on.wait(WAIT)
        return picture(7)

    asked = [Request("s", (image(7, read=slow),))]
    with prefetch_images(asked, threads=1):
        assert began.wait(WAIT)
        threading.Timer(0.01, go_on.set).start()
        assert asked[0].images[0].pixels()[0, 0] == 7
    assert DECODED[7] == 1


def test_what_a_batch_did_not_use_is_let_go_and_its_view_no_longer_decoded() -> None:
    asked = requests(12, ("PA", "LATERAL"))[:6]
    with prefetch_images(asked, threads=1, images=2) as ahead:
        for request in asked:
            until(ahead, lambda: ahead.held == 2 or ahead._next == len(ahead._queue))
            until(ahead, settled(ahead))
            request.images[0].pixels()
            ahead.release(1)
        assert ahead.held == 0
    assert DECODED[1] == 1  # before anybody knew
    assert not [n for n in range(3, 12, 2) if DECODED[n]]
    assert all(DECODED[n] == 1 for n in range(0, 12, 2))


def test_a_view_that_is_asked_for_again_is_decoded_ahead_again() -> None:
    asked = requests(6, ("PA", "LATERAL"))
    with prefetch_images(asked, threads=1, images=2) as ahead:
        asked[0].images[0].pixels()
        ahead.release(1)
        for request in asked[1:3]:
            assert [i.pixels()[0, 0] for i in request.images]
            ahead.release(1)
        until(ahead, lambda: ahead.held == 2 and settled(ahead)())
        assert {role for job in ahead._queue if job.state == "decoded" for role in [job.role]} == {
            ("present", "PA"),
            ("present", "LATERAL"),
        }


def test_an_equal_image_with_another_renderer_is_not_mistaken() -> None:
    asked = [Request("s", (image(3),))]
    other = image(3, read=lambda: np.full((2, 2), 99, np.uint8))
    assert other == asked[0].images[0]
    with prefetch_images(asked):
        assert other.pixels()[0, 0] == 99


def test_a_pickled_request_reads_for_itself() -> None:
    asked = requests(2)
    with prefetch_images(asked):
        copy = pickle.loads(pickle.dumps(asked[1]))
        assert copy.images[0].pixels()[0, 0] == 1


def test_a_forked_data_loader_reads_for_itself() -> None:
    """In the child there are no threads to wait for, and the lock may be held by one of them."""
    asked = requests(1)
    with prefetch_images(asked) as ahead:
        until(ahead, lambda: ahead.held == 1 and settled(ahead)())
        child = os.fork()
        if child == 0:
            os._exit(int(asked[0].images[0].pixels()[0, 0] != 0 or DECODED[0] != 2))
        assert os.waitpid(child, 0)[1] == 0


def test_an_array_is_the_models_to_change() -> None:
    asked = requests(1)
    with prefetch_images(asked):
        asked[0].images[0].pixels()[:] = 200
        assert asked[0].images[0].pixels()[0, 0] == 0


def test_a_model_without_pixels_decodes_nothing() -> None:
    reader = Reader(pick=lambda request: ())
    reader.card = ModelCard("reads nothing")
    assert len([a for batch in generate(reader, requests(5), 2, True) for a in batch]) == 5
    assert not DECODED


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stopped_run_leaves_no_thread(stop: type[BaseException]) -> None:
    def give_up(request: Request) -> Sequence[Image]:
        raise stop

    with pytest.raises(stop):
        next(generate(Reader(give_up), requests(20), 2, True))


def test_a_run_that_is_left_half_way_leaves_no_thread() -> None:
    batches = generate(Reader(), requests(200), 1, True)
    next(batches)
    assert any(t.name.startswith("decode-") for t in threading.enumerate())
    batches.close()


DATASET = """
from pathlib import Path

from reportcard.api import DatasetCard, Image, Report, Request, Selection, Step, Study


class Folder:
    "One study per file of a folder, and one for a file that is not there."

    card = DatasetCard("A folder of images", "credentialed", "agreement-1")

    def __init__(self, root):
        self.root = Path(root)

    def missing(self):
        return None

    def select(self):
        names = sorted(["missing.png", *(path.name for path in self.root.iterdir())])
        studies = tuple(
            Study(
                Request(name, (Image(name, "PA", self.root / name),)),
                Report("CANARY-1 Clear lungs."),
                name,
            )
            for name in names
        )
        return Selection(studies, (), (Step("files", len(studies), len(studies)),))
"""

MODEL = """
from reportcard.api import ModelCard, Prediction, Report


class Bright:
    card = ModelCard("tells the mean grey", needs_pixels=True)

    def generate(self, requests):
        return [
            Prediction(r.study_id, Report(f"Grey {r.images[0].pixels().mean():.0f}."), draw=r.draw)
            for r in requests
        ]
"""


def test_a_renderer_that_exits_raises_it_where_the_image_is_asked_for() -> None:
    def leaves() -> Any:
        raise SystemExit(3)

    asked = Image("x", "PA", read=leaves)
    with prefetch_images([Request("s", (asked,))], threads=1) as ahead:
        while not ahead.held:
            time.sleep(0.001)
        with pytest.raises(SystemExit):
            ahead.take(asked)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_run_over_broken_images_goes_on_and_counts_them_by_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in registry.KINDS:
        monkeypatch.setattr(kind, "_offered", {})
    write_images(tmp_path / "images")
    (tmp_path / "broken.py").write_text(DATASET)
    (tmp_path / "bright.py").write_text(MODEL)
    results = tmp_path / "r"
    arguments = [
        *("run", f"plugin={tmp_path / 'broken.py'},{tmp_path / 'bright.py'}", "model=bright"),
        *("dataset=broken", f"+dataset.root={tmp_path / 'images'}", "metrics=rouge"),
        *(f"results_dir={results}", "tracking=none", "stats.resamples=20", "engine.batch_size=4"),
    ]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    kinds = {"bomb": 2, "empty": 1, "empty_frame": 1, "missing": 1, "truncated": 2, "unreadable": 2}
    assert "9 studies failed for an image: " in told
    assert ", ".join(f"{count} {kind}" for kind, count in kinds.items()) in told
    done = json.loads(next(results.glob("predictions/*/*/DONE")).read_text())
    assert done["image_failures"] == kinds
    assert done["status"] == {"failed": 9, "ok": 12}
    counts = json.loads(next(results.glob("scores/*/*/*/rouge/scores.json")).read_text())["counts"]
    assert counts["failed"] == 9
    assert {k: v for k, v in counts.items() if k.startswith("failed_image_")} == {
        f"failed_image_{kind}": count for kind, count in kinds.items()
    }
    lines = next(results.glob("predictions/*/*/predictions.jsonl")).read_text()
    assert '"error":"image truncated: Image truncated.jpg (' in lines
    assert "CANARY" not in lines
    assert main(arguments) == 0
    assert "up to date" in capsys.readouterr().out
