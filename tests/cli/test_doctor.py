"""`reportcard doctor`: the judge and what may be sent to it, a cohort's description, its sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from reportcard.api import (
    Box,
    DatasetCard,
    Image,
    Phrase,
    Report,
    ReportCardError,
    Request,
    Step,
    Study,
)
from reportcard.cli.machine_check import report
from reportcard.cli.main import main
from reportcard.config import compose as config
from reportcard.core import registry
from reportcard.data.cohort import Cohort
from reportcard.data.contact_sheet import FAILED, FIRST, SECOND, TEXT, TILE, write_contact_sheet
from tests.fixtures.folder import write_folder
from tests.fixtures.images import write_images

CREDENTIALED = """
from reportcard.api import DatasetCard, Selection

class Private:
    card = DatasetCard("Private reports", "credentialed", "agreement-1")

    def missing(self):
        return None

    def select(self):
        return Selection((), (), ())
"""


@pytest.fixture(autouse=True)
def own_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.datasets, "_offered", {})


def judge_lines(mini_data: Path, tmp_path: Path, overrides: Sequence[str]) -> dict[str, list[str]]:
    plugin = tmp_path / "private.py"
    plugin.write_text(CREDENTIALED)
    chosen = [f"plugin={plugin}", "dataset=openi_findings,private", f"data_dir={mini_data}"]
    lines, able = report(config.load([*chosen, "model=empty_report", "metrics=bleu", *overrides]))
    assert able  # the other metrics run without a judge
    return {area: [state, text] for area, state, text in lines if area.endswith("judge")}


def test_without_a_judge_it_says_how_to_choose_one(mini_data: Path, tmp_path: Path) -> None:
    [[area, [state, text]]] = judge_lines(mini_data, tmp_path, []).items()
    assert (area, state) == ("judge", "--")
    assert "make judge" in text


def test_a_local_judge_may_read_everything(mini_data: Path, tmp_path: Path) -> None:
    lines = judge_lines(
        mini_data, tmp_path, ["judge=local", "judge.base_url=http://127.0.0.1:9/v1"]
    )
    assert lines["judge"][0] == "ok"
    assert "text is sent to http://127.0.0.1:9" in lines["judge"][1]
    assert lines["openi_findings → judge"] == ["ok", "open data may go anywhere"]
    assert lines["private → judge"] == ["ok", "it stays on this machine"]


def test_a_judge_elsewhere_may_read_open_data_only(
    mini_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    address = "judge.base_url=https://192.0.2.1/v1"
    elsewhere = ["judge=openai", "judge.model=m", address]
    lines = judge_lines(mini_data, tmp_path, elsewhere)
    assert lines["judge"][0] == lines["openi_findings → judge"][0] == "ok"
    state, text = lines["private → judge"]
    assert state == "missing"
    assert "agreement-1" in text
    assert "egress.yaml" in text
    monkeypatch.delenv("OPENAI_API_KEY")
    state, text = judge_lines(mini_data, tmp_path, elsewhere)["judge"]
    assert state == "missing"
    assert "environment variable OPENAI_API_KEY" in text


def test_recorded_verdicts_need_their_file(mini_data: Path, tmp_path: Path) -> None:
    verdicts = tmp_path / "v.jsonl"
    recorded = ["judge=recorded", f"judge.verdicts={verdicts}"]
    assert judge_lines(mini_data, tmp_path, recorded)["judge"][0] == "missing"
    verdicts.touch()
    state, text = judge_lines(mini_data, tmp_path, recorded)["judge"]
    assert state == "ok"
    assert "no text is sent anywhere" in text


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["judge=openai"], "judge.model is not set"),
        (["judge=azure"], "judge.base_url is not set"),
        (["judge=recorded"], "no recorded verdicts given"),
        (["judge=local", "judge.budget_usd=3"], "judge.prices"),
    ],
)
def test_what_a_judge_still_needs_is_told(
    overrides: list[str], says: str, mini_data: Path, tmp_path: Path
) -> None:
    state, text = judge_lines(mini_data, tmp_path, overrides)["judge"]
    assert state == "missing"
    assert says in text
    assert "None" not in text


def test_the_judges_client_is_among_the_extras(mini_data: Path) -> None:
    lines, _ = report(config.load([f"data_dir={mini_data}", "metrics=bleu", "model=empty_report"]))
    assert "extra [judge]" in {area for area, _, _ in lines}


def test_an_address_that_is_none_is_told(mini_data: Path, tmp_path: Path) -> None:
    lines = judge_lines(mini_data, tmp_path, ["judge=local", "judge.base_url=127.0.0.1"])
    assert lines["judge"][0] == "missing"
    assert "http(s)://" in lines["judge"][1]


LOOKED_AT = """
from pathlib import Path

from reportcard.api import (
    Box, DatasetCard, Image, Phrase, Prior, Report, Request, Selection, Step, Study
)


class Looked:
    def __init__(self, root, data_class="open", repeated=False):
        self.card = DatasetCard("Looked at", data_class, "agreement-1", "CC0")
        self.root, self.repeated = Path(root), repeated

    def missing(self):
        return None

    def select(self):
        first, second = Box(0.1, 0.1, 0.4, 0.9), Box(0.6, 0.1, 0.9, 0.9)
        phrases = (Phrase("CANARY-1", (first,), (second,)),)
        studies = tuple(
            Study(
                Request(
                    "same" if self.repeated else f"CANARY-2-{n}",
                    (Image(name, "PA", self.root / name),),
                    Prior((Image("p", "AP", self.root / "grey.png"),)) if n == 0 else None,
                    indication="CANARY-3" if n else None,
                    provenance={"frontal_select": "all"},
                ),
                Report("CANARY-4 word " * (n + 1), None, phrases),
                f"patient {n // 2}",
            )
            for n, name in enumerate(["grey.png", "missing.png", "truncated.jpg", "constant.png"])
        )
        return Selection(studies, (), (Step("rows", 9, 7), Step("PA", 7, 4)), ("a paper has 5",))
"""


def looked_at(tmp_path: Path, *options: str) -> list[str]:
    """The overrides that choose a dataset of four images, of which two cannot be read."""
    (tmp_path / "looked.py").write_text(LOOKED_AT)
    write_images(tmp_path / "images")
    return [
        *(f"plugin={tmp_path / 'looked.py'}", "dataset=looked", "model=empty_report"),
        *(f"+dataset.root={tmp_path / 'images'}", "metrics=bleu", *options),
    ]


def test_doctor_of_a_dataset_says_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(path: Path) -> None:
        raise AssertionError(f"doctor decoded {path}")

    monkeypatch.setattr("reportcard.core.imaging.read.read_file", opened)
    lines, able = report(config.load(looked_at(tmp_path)), look_inside=True)
    assert able
    told = [(area.strip(), state, text) for area, state, text in lines if area[:2] == "  "]
    assert ("source", "ok", "Looked at; open; agreement-1; CC0") in told
    assert [text for area, _, text in told if area == "filter"] == [
        "7 kept, 2 dropped: rows",
        "4 kept, 3 dropped: PA",
    ]
    (test,) = (text for area, _, text in told if area == "test")
    assert "4 studies of 2 patients; no train part" in test
    assert ("images", "missing", "3 of 4 are here (PA 4)") in told
    assert ("priors", "ok", "1 studies have one; images: 1 of 1 are here (AP 1)") in told
    assert ("findings", "ok", "4 studies, 5 words (2 to 8)") in told
    assert ("impression", "ok", "none") in told
    assert ("indication", "ok", "3 studies, 1 words (1 to 1); 1 have none") in told
    assert ("phrases", "ok", "4, with 4 boxes") in told
    assert ("policies", "ok", "frontal_select=all (4)") in told
    assert ("note", "--", "a paper has 5") in told
    assert "CANARY" not in str(lines)


def test_doctor_without_a_dataset_named_stays_short(
    mini_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", f"data_dir={mini_data}", "model=empty_report", "metrics=bleu"]) == 0
    assert "findings not empty" not in capsys.readouterr().out
    named = ["doctor", "dataset=openi_findings", f"data_dir={mini_data}", "metrics=bleu"]
    assert main(named) == 0
    assert "findings not empty" in capsys.readouterr().out


def test_doctor_survives_a_cohort_that_cannot_be_selected(tmp_path: Path) -> None:
    chosen = looked_at(tmp_path, "+dataset.repeated=true")
    lines, able = report(config.load(chosen), look_inside=True)
    assert not able
    assert any(state == "missing" and "ids occur twice" in text for _, state, text in lines)


def test_a_contact_sheet_shows_images_boxes_and_failures(tmp_path: Path) -> None:
    sheet = tmp_path / "out" / "sheet.png"
    lines, able = report(config.load(looked_at(tmp_path)), contact_sheet=sheet)
    assert able
    (line,) = (line for line in lines if "contact sheet" in line[0])
    assert line[1:] == ("missing", f"{sheet}: images 1 missing, 3 read, 1 truncated, 1 constant")
    first = sheet.read_bytes()
    with PIL.Image.open(sheet) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    for colour in (FIRST, SECOND, FAILED):  # a reader's boxes, the other's, a broken image
        assert (pixels == colour).all(axis=-1).any()
    report(config.load(looked_at(tmp_path)), contact_sheet=sheet)
    assert sheet.read_bytes() == first


def test_a_box_is_drawn_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a black image: the outline's corners are at those fractions of the tile."""
    black = Image("i", "PA", read=lambda: np.zeros((200, 100), np.uint8))
    side = Image("j", "LATERAL", read=lambda: np.zeros((100, 100), np.uint8))
    phrase = Phrase("x", (Box(0.5, 0.25, 1, 0.75),))
    study = Study(Request("s", (side, black)), Report("x", None, (phrase,)), "p")
    cohort = Cohort("one", DatasetCard("One", "open"), (study,), (), (Step("all", 1, 1),))
    write_contact_sheet(cohort, tmp_path / "s.png")
    with PIL.Image.open(tmp_path / "s.png") as picture:
        drawn = (np.asarray(picture.convert("RGB")) == FIRST).all(axis=-1)
    rows, columns = np.nonzero(drawn)
    left = TEXT + (TILE + 8) + TILE // 4  # the second tile; the picture is half as wide as high
    assert columns.min() == pytest.approx(left + TILE / 4, abs=2)
    assert columns.max() == pytest.approx(left + TILE / 2, abs=2)
    assert rows.max() - rows.min() == pytest.approx(TILE / 2, abs=2)


def test_a_contact_sheet_of_closed_data_holds_no_id_and_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    draw = PIL.ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        PIL.ImageDraw.ImageDraw,
        "text",
        lambda self, place, text, **rest: (written.append(text), draw(self, place, text, **rest)),
    )
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(b"")
    sheet.chmod(0o644)
    report(config.load(looked_at(tmp_path, "+dataset.data_class=credentialed")), True, sheet)
    assert sheet.stat().st_mode & 0o777 == 0o600
    assert "study 1" in written
    assert any("agreement-1: not to be shared" in text for text in written)
    assert "findings: 4 words" in written
    assert "CANARY" not in str(written)


def test_a_contact_sheet_needs_one_dataset_and_a_png(tmp_path: Path) -> None:
    chosen = ["dataset=openi_findings,openi_r2gen_test", "model=empty_report", "metrics=bleu"]
    with pytest.raises(ReportCardError, match="dataset=NAME"):
        report(config.load(chosen), contact_sheet=tmp_path / "s.png")
    with pytest.raises(ReportCardError, match="a PNG"):
        report(config.load(looked_at(tmp_path)), contact_sheet=tmp_path / "s.jpg")


def test_doctor_does_not_count_an_image_whose_path_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder")
    chosen = ["dataset=folder", f"dataset.root={tmp_path / 'folder'}", "model=empty_report"]
    lines, _ = report(config.load([*chosen, "metrics=bleu"]), look_inside=True)
    (images,) = (text for area, _, text in lines if area.strip() == "images")
    assert images.startswith("3 of 5 are here")  # one is absent, one leaves the root
