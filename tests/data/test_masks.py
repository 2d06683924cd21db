"""Set of marks: what is drawn where, what a run is called then, and masks that do not fit."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from reportcard.api import Box, Image, ImageError, Request
from reportcard.cli.main import main
from reportcard.config import compose as config
from reportcard.config.settings import Marks, Plugin
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.data.masks import FIGURES, VIEW, Marking
from reportcard.predict.system import open_model

SIZE = 64
OPTIONS = {"test": 6, "train": 6, "size": SIZE}
SMALL = [f"dataset.{k}={v}" for k, v in OPTIONS.items()] + ["tracking=none", "stats.resamples=20"]


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return load_cohort(Plugin("phantom", "phantom", OPTIONS))


def write(folder: Path, image_id: str, structure: str, box: Box, size: int = SIZE) -> Path:
    mask = np.zeros((size, size), np.uint8)
    edges = [round(v * size) for v in (box.y_min, box.y_max, box.x_min, box.x_max)]
    mask[edges[0] : edges[1], edges[2] : edges[3]] = 255
    path = folder / image_id / f"{structure}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(mask).save(path)
    return path


@pytest.fixture
def masks(tmp_path: Path, cohort: Cohort) -> Path:
    """Masks for the frontal images of two studies, from the boxes of their references."""
    folder = tmp_path / "masks"
    boxed = [s for s in cohort.test if any(p.boxes for p in s.reference.phrases)][:2]
    for study in boxed:
        box = next(b for p in study.reference.phrases for b in p.boxes)
        write(folder, study.request.images[0].image_id, "finding", box)
        write(folder, study.request.images[0].image_id, "left_lung", Box(0.55, 0.2, 0.9, 0.8))
    return folder


def marked(cohort: Cohort, settings: Marks) -> list[tuple[Request, Request]]:
    """(plain, marked) of the studies that have masks."""
    requests = [study.request for study in cohort.test]
    marking = Marking.of(settings, requests)
    both = [(request, marking.request(request)) for request in requests]
    return [(plain, seen) for plain, seen in both if seen.marks]


def test_overlay_changes_pixels_at_the_marks_alone(cohort: Cohort, masks: Path) -> None:
    pairs = marked(cohort, Marks(masks, numbers=False))
    assert len(pairs) == 2
    for plain, seen in pairs:
        assert seen.marks == ("1 finding", "2 left lung")
        before, after = plain.images[0].pixels(), seen.images[0].pixels()
        inside = np.zeros_like(before, dtype=bool)
        for path in (masks / plain.images[0].image_id).iterdir():
            inside |= np.asarray(PIL.Image.open(path)) != 0
        changed = before != after
        assert changed.any()
        assert not (changed & ~inside).any()
        assert (after[changed] == 255).all()
        assert not changed[30:34, 44:48].any()  # an outline: the middle of the lung is as it was
        assert seen.images[0].view == plain.images[0].view
        assert seen.images[0].path is None
        assert seen.images[0].image_id != plain.images[0].image_id
        again = pickle.loads(pickle.dumps(seen.images[0].read))
        assert np.array_equal(again(), after)
        assert seen.images[1:] == plain.images[1:]


def test_numbers_stand_at_the_middle(tmp_path: Path) -> None:
    def grey() -> np.ndarray:
        return np.full((170, 170), 100, np.uint8)

    write(tmp_path, "i", "lung", Box(0.25, 0.25, 0.75, 0.75), 170)
    request = Request("s", (Image("i", "PA", read=grey),))
    picture = Marking.of(Marks(tmp_path), [request]).request(request).images[0].pixels()
    figure = picture[82:87, 83:86] == 255
    assert "".join(".x"[int(v)] for v in figure.ravel()) == FIGURES[1]


def test_append_puts_the_masks_behind_their_image(cohort: Cohort, masks: Path) -> None:
    for plain, seen in marked(cohort, Marks(masks, mode="append", numbers=False)):
        assert seen.images[0] == plain.images[0]
        picture = seen.images[1]
        assert picture.view == VIEW
        assert not picture.frontal
        assert not picture.lateral
        assert {0, 95} <= set(np.unique(picture.pixels())) <= {0, 95, 255}
        assert len(seen.images) == len(plain.images) + 1


def test_the_fingerprint_follows_options_and_masks(cohort: Cohort, masks: Path) -> None:
    plugin = config.load(["model=pixel_retrieval"]).models[0]
    settings = Marks(masks)
    plain, one = open_model(plugin, cohort), open_model(plugin, cohort, settings)
    assert (plain.label, one.label) == ("pixel_retrieval", "pixel_retrieval+marks")
    other = open_model(plugin, cohort, Marks(masks, mode="append"))
    image = next(masks.iterdir())
    write(masks, image.name, "finding", Box(0.1, 0.1, 0.3, 0.3))
    changed = open_model(plugin, cohort, settings)
    assert len({s.fingerprint for s in (plain, one, other, changed)}) == 4
    blind = config.load(["model=empty_report"]).models[0]
    assert open_model(blind, cohort, settings).fingerprint == open_model(blind, cohort).fingerprint


def test_a_marked_run_stands_beside_the_plain_one(
    tmp_path: Path, masks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["dataset=phantom", "model=pixel_retrieval,empty_report", "metrics=rouge", *SMALL]
    where.append(f"results_dir={tmp_path / 'r'}")
    assert main(["run", *where]) == 0
    capsys.readouterr()
    on = ["marks=masks", f"marks.folder={masks}"]
    assert main(["run", *where, *on]) == 0
    assert "marks: 2 of" in capsys.readouterr().out
    model = json.loads((tmp_path / "r" / "leaderboard" / "leaderboard.json").read_text())
    labels = {row["label"] for row in model["boards"][0]["rows"]}
    assert labels == {"pixel_retrieval", "pixel_retrieval+marks", "empty_report"}
    (card,) = (tmp_path / "r").glob("predictions/*/pixel_retrieval+marks@*/card.json")
    assert json.loads(card.read_text())["marks"]["marked"] == 2
    # Half of the answers gone: the run goes on where it was and gives the same bytes.
    path = card.with_name("predictions.jsonl")
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[:3]))
    card.with_name("DONE").unlink()
    assert main(["predict", *where, *on]) == 0
    assert path.read_text() == whole


def test_a_mask_of_another_size_costs_its_study_and_is_named(
    tmp_path: Path, cohort: Cohort, capsys: pytest.CaptureFixture[str]
) -> None:
    image_id = cohort.test[0].request.images[0].image_id
    path = write(tmp_path / "m", image_id, "heart", Box(0.2, 0.2, 0.8, 0.8), 50)
    ((_, seen),) = marked(cohort, Marks(tmp_path / "m"))
    with pytest.raises(ImageError, match=f"{path} is 50 × 50 pixels and image {image_id} is 64"):
        seen.images[0].pixels()
    path.write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"heart\.png: neither PNG"):
        seen.images[0].pixels()
    options = ["predict", "dataset=phantom", "model=pixel_retrieval", *SMALL]
    on = ["marks=masks", f"marks.folder={tmp_path / 'm'}", f"results_dir={tmp_path / 'r'}"]
    assert main([*options, *on]) == 0
    assert "1 studies failed for an image: 1 mask" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["marks=masks"], "marks.folder is required"),
        (["marks=mask"], "Unknown marks 'mask'"),
        (["marks=masks", "marks.folder=/nowhere"], "marks.folder=/nowhere is not a folder"),
        (["marks=masks", "marks.folder={}", "marks.mode=paint"], "marks.mode is overlay or append"),
        (["marks=masks", "marks.folder={}", "marks.outline=2"], r"marks.outline must be in"),
        (["marks=masks", "marks.folder={}"], "no mask of any of its"),
    ],
)
def test_settings_that_cannot_work_are_named(
    overrides: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [o.format(tmp_path) for o in overrides]
    asked = ["predict", "dataset=phantom", "model=pixel_retrieval", *SMALL, *given]
    assert main([*asked, f"results_dir={tmp_path / 'r'}"]) == 2
    assert message in capsys.readouterr().err


def test_masks_stay_under_their_folder(tmp_path: Path) -> None:
    from reportcard.api import ReportCardError

    outside = write(tmp_path / "outside", "x", "lung", Box(0, 0, 1, 1))
    folder = tmp_path / "masks"
    (folder / "i").mkdir(parents=True)
    (folder / "i" / "lung.png").symlink_to(outside)
    for image_id, why in (("i", "leaves the data root"), ("../outside/x", "leaves the data root")):
        with pytest.raises(ReportCardError, match=why):
            Marking.of(Marks(folder), [Request("s", (Image(image_id, "PA"),))])
    (folder / "j").mkdir()
    (folder / "j" / f"{'a' * 80}.png").write_bytes(b"")
    with pytest.raises(ReportCardError, match="named after its structure"):
        Marking.of(Marks(folder), [Request("s", (Image("j", "PA"),))])
