"""A release holds what may be published and no more, and `verify` finds every altered number."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reportcard.api import ReportCardError
from reportcard.cli.main import main
from reportcard.core import registry
from reportcard.core.files import file_digest
from reportcard.publish.release.export import export
from reportcard.publish.release.pseudonyms import Scrub
from reportcard.publish.release.verify import verify
from reportcard.score.rows_file import load_rows
from tests.mini_openi import write_mini_openi
from tests.test_canaries import CANARY, places

PLACE = "placecanary"  # a folder of this machine
CLOSED = f'''
from reportcard.api import DatasetCard, Key, MetricSpec, ModelCard, Prediction, Report, Request
from reportcard.api import Selection, Step, Study
import numpy as np


class Closed:
    card = DatasetCard("Closed reports", "credentialed", "some-agreement")

    def missing(self):
        return None

    def select(self):
        studies = tuple(
            Study(
                Request(f"case7canary{{i}}", indication="{CANARY} indication"),
                Report(f"{CANARY} reference {{i}} shows a small effusion."),
                f"patient9001{{i // 2}}",
            )
            for i in range(6)
        )
        return Selection(studies, (), (Step("studies", 6, 6),))
'''
MODEL = f'''
from reportcard.api import ModelCard, Prediction, Report


class Leaky:
    card = ModelCard("leaky", weights="/home/somebody/{PLACE}/model.safetensors")

    def __init__(self, folder="", api_key="", base_url=""):
        pass

    def generate(self, requests):
        for request in requests:
            if request.study_id.endswith("3"):
                raise RuntimeError("/home/somebody/{PLACE}/x.png: {CANARY}")
        texts = [f"{CANARY} candidate of {{r.study_id}} small effusion" for r in requests]
        return [
            Prediction(r.study_id, Report(t), raw=t) for r, t in zip(requests, texts)
        ]
'''
METRIC = '''
from reportcard.api import Key, MetricSpec
import numpy as np


class Odd:
    """Leaves a study without a score, and names it."""

    spec = MetricSpec("1", {"words": Key(high=100.0)}, "words")

    def rows(self, pairs):
        found = np.array([[len(p.candidate.split()), 1.0] for p in pairs])
        found[1] = np.nan
        return found

    def scores(self, total):
        return {"words": total[..., 0] / total[..., 1]}

    def extremes(self, rows):
        return np.array([[0.0, 1.0], [100.0, 1.0]])
'''


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:
    """Open rows of the mini Open-I and rows of closed data in one results folder, and the plugins
    that a verifier needs."""
    root = tmp_path_factory.mktemp("made") / PLACE
    with pytest.MonkeyPatch.context() as patch:
        for kind in registry.KINDS:
            patch.setattr(kind, "_offered", {})
        patch.setenv("REPORTCARD_CACHE", str(root / "cache"))
        write_mini_openi(root / "data" / "openi")
        for name, source in {"closed": CLOSED, "leaky": MODEL, "odd": METRIC}.items():
            (root / f"{name}.py").write_text(source, encoding="utf-8")
        where = [f"results_dir={root / 'r'}", "tracking=none", "stats.resamples=60"]
        open_data = ["dataset=openi_findings", f"data_dir={root / 'data'}", "metrics=bleu,rouge"]
        models = "model=fixed_normal_report,indication_retrieval"
        assert main(["run", *where, *open_data, models]) == 0
        plugins = ",".join(str(root / f"{name}.py") for name in ("closed", "leaky", "odd"))
        options = [f"+model.folder={root / 'images'}", "+model.api_key=sk-secretcanary"]
        options += ["+model.base_url=http://gpu7.internalcanary:8000/v1"]
        closed = ["dataset=closed", "model=leaky", "metrics=bleu,odd,f1_chexbert", *options]
        assert main(["run", *where, f"plugin={plugins}", *closed]) == 0
        yield root / "r", [f"plugin={root / 'odd.py'}"]


@pytest.fixture(scope="module")
def exported(
    results: tuple[Path, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    target = tmp_path_factory.mktemp("out") / "release"
    export(results[0], target)
    return results[0], target


@pytest.fixture
def release(exported: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy to alter."""
    shutil.copytree(exported[1], tmp_path / "copy")
    return tmp_path / "copy"


def test_no_text_id_path_or_secret_of_closed_data_leaves(exported: tuple[Path, Path]) -> None:
    source, target = exported
    assert places(source, CANARY)  # there was text to lose
    assert places(source, PLACE)
    for word in (CANARY, "case7canary", "patient9001", PLACE, "secretcanary", "internalcanary"):
        assert places(target, word) == set(), word
    assert not any(PLACE in p.name or "case7canary" in p.name for p in target.rglob("*"))
    assert places(target, str(Path.home()) + "/") == set()
    assert not [*target.glob("predictions/closed@*/*/predictions.jsonl")]
    assert len([*target.glob("predictions/openi_findings@*/*/predictions.jsonl")]) == 2
    assert not (target / "release-salt").exists()
    assert stat.S_IMODE((source / "release-salt").stat().st_mode) == 0o600


def test_pseudonyms_agree_over_files_and_keep_the_order(exported: tuple[Path, Path]) -> None:
    source, target = exported
    (cohort,) = target.glob("cohorts/closed@*.json")
    names = [study[0] for study in json.loads(cohort.read_text())["studies"]]
    assert len(set(names)) == 6
    for path in target.glob("scores/closed@*/*/*/*/rows.npz"):
        ids, rows, clusters = load_rows(path.parent)
        assert ids == names
        before = load_rows(source / path.parent.relative_to(target))
        np.testing.assert_array_equal(rows, before[1])
        np.testing.assert_array_equal(clusters, before[2])
    (odd,) = target.glob("scores/closed@*/*/*/odd/scores.json")
    assert list(json.loads(odd.read_text())["unscored"]) == [names[1]]


def test_the_same_results_give_the_same_release(
    exported: tuple[Path, Path], tmp_path: Path
) -> None:
    source, target = exported
    export(source, tmp_path / "again")
    files = [p.relative_to(target) for p in target.rglob("*") if p.is_file()]
    assert files
    assert all((tmp_path / "again" / f).read_bytes() == (target / f).read_bytes() for f in files)
    with pytest.raises(ReportCardError, match="not empty"):
        export(source, tmp_path / "again")


def test_a_release_verifies_without_data_and_names_the_metric_it_lacks(
    results: tuple[Path, list[str]],
    exported: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["leaderboard", "verify", str(exported[1])]
    assert main([*words, *results[1]]) == 0
    out = capsys.readouterr().out
    assert "all as released" in out
    assert file_digest(exported[1] / "MANIFEST.json") in out
    with pytest.MonkeyPatch.context() as patch:
        for kind in registry.KINDS:
            patch.setattr(kind, "_offered", {})
        assert main(words) == 2
    assert "odd cannot be verified: Unknown metric 'odd'" in capsys.readouterr().out
    assert main(["leaderboard", "verify", str(results[0])]) == 2
    assert main(["leaderboard", "publish", "x"]) == 2


def edit(path: Path, change: Callable[[Any], None]) -> None:
    saved = json.loads(path.read_text())
    change(saved)
    path.write_text(json.dumps(saved, indent=2, ensure_ascii=False) + "\n")


def sign_again(release: Path) -> None:
    """What a forger would do: a manifest that fits the altered files."""

    def change(saved: Any) -> None:
        for name, about in saved["files"].items():
            about["sha256"] = file_digest(release / name)

    edit(release / "MANIFEST.json", change)


def rouge(release: Path) -> Path:
    return next(release.glob("scores/openi*/fixed*/*/rouge/scores.json"))


@pytest.mark.parametrize("field", ["value", "ci_low", "ci_high", "n", "unscored"])
def test_an_altered_number_is_found_even_with_a_new_manifest(release: Path, field: str) -> None:
    def change(saved: Any) -> None:
        saved["keys"]["rouge.rouge_l"][field] += 1

    edit(rouge(release), change)
    sign_again(release)
    problems = verify(release).problems
    assert any(f"rouge_l {field} is" in p and "the rows give" in p for p in problems)
    assert not any("was changed" in p for p in problems)


def test_altered_bounds_rows_order_pairs_and_table_are_found(
    release: Path, results: tuple[Path, list[str]]
) -> None:
    board = release / "leaderboard" / "leaderboard.json"

    def change(saved: Any) -> None:
        shown = next(b for b in saved["boards"] if b["id"].startswith("openi"))
        shown["rows"][0]["cells"]["rouge.rouge_l"]["value"] = 0.999
        shown["pairs"][0]["p_holm"] = 0.0001

    assert not [p for p in verify(release).problems if "odd" not in p]
    edit(board, change)
    sign_again(release)
    problems = "\n".join(verify(release).problems)
    assert "rouge.rouge_l value is 0.999" in problems
    assert "leaderboard.csv does not say" in problems
    edit(board, lambda saved: [b["rows"].reverse() for b in saved["boards"]])
    assert "or their order" in "\n".join(verify(release).problems)


def test_files_changed_gone_and_added_are_named(release: Path) -> None:
    card = next(release.glob("predictions/openi*/fixed*/card.json"))
    card.write_text(card.read_text() + " ")
    (release / "signatures.txt").unlink()
    (release / "extra.txt").write_text("\x1b[31mred")
    problems = verify(release).problems
    assert any(p.startswith("predictions/") and "was changed" in p for p in problems)
    assert "signatures.txt is gone" in problems
    assert any(p.startswith("extra.txt was added") for p in problems)


def swap_rows(release: Path, data: bytes) -> str:
    path = rouge(release).with_name("rows.npz")
    path.write_bytes(data)
    return "\n".join(verify(release).problems)


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def test_rows_that_would_run_code_or_fill_memory_are_refused(release: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (os.system, (f"touch {release}/pwned",))

    trap = np.array([Bomb()] * 5, dtype=object)
    assert "type object" in swap_rows(release, npz(ids=trap, rows=np.ones((1, 5, 4))))
    assert not (release / "pwned").exists()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (1, 2**40, 4)}
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("rows.npy", header.getvalue())
        plain = io.BytesIO()
        np.save(plain, np.array(["a"]))
        archive.writestr("ids.npy", plain.getvalue())
    assert "larger than it is" in swap_rows(release, buffer.getvalue())
    ids = np.array(list("abcde"))
    assert "do not fit" in swap_rows(release, npz(ids=ids[:2], rows=np.ones((1, 5, 4))))
    assert "infinite" in swap_rows(release, npz(ids=ids, rows=np.full((1, 5, 4), np.inf)))
    assert "cannot be read" in swap_rows(release, b"PK no zip")
    assert "not of the form" in swap_rows(release, npz(ids=ids, rows=np.ones((1, 5, 2))))


def test_a_release_leads_nowhere_else(release: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text("{}")

    def change(saved: Any) -> None:
        for name in ("../outside.json", str(outside), "a/../../outside.json", "a\\b", ""):
            saved["files"][name] = {"sha256": file_digest(outside), "bytes": 2}

    edit(release / "MANIFEST.json", change)
    problems = verify(release).problems
    assert sum("no place inside the release" in p for p in problems) == 5
    link = rouge(release)
    link.unlink()
    link.symlink_to(outside)
    assert any("rouge/scores.json is a link" in p for p in verify(release).problems)
    link.unlink()
    os.mkfifo(link)
    assert any("is no plain file" in p for p in verify(release).problems)


@pytest.mark.parametrize(
    "stats",
    [{"resamples": 10**12}, {"seed": -1}, {"recipe": "other"}, {"confidence": 7}, {"centre": "?"}],
)
def test_a_hostile_recipe_is_not_followed(release: Path, stats: dict[str, Any]) -> None:
    edit(rouge(release), lambda saved: saved["stats"].update(stats))
    assert any("rouge: not of the form" in p for p in verify(release).problems)


def test_json_of_the_wrong_shape_is_one_finding(release: Path) -> None:
    rouge(release).write_text("[" * 100_000)
    (release / "current.json").write_text('{"runs": [{"cohort": "..", "model": 3}]}')
    problems = verify(release).problems
    assert any("rouge" in p and "not of the form" in p for p in problems)
    assert any(p.startswith("leaderboard:") for p in problems)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("No weights at /home/me/w/x.pt, see https://host/a/b", "No weights at <path>, see https://host/a/b"),
        ("rouge|v1|f1_chexbert:3/6550703c|text:none", "rouge|v1|f1_chexbert:3/6550703c|text:none"),
        ("and/or 1/2 a/b/c", "and/or 1/2 a/b/c"),
        ("~/x/y and C:\\Users\\me\\z", "<path> and <path>"),
        ('"file:///srv/data/a.png"', '"<path>"'),
        ("case7canary: case7canary.", "x1: x1."),
    ],
)  # fmt: skip
def test_paths_go_and_words_stay(text: str, left: str, tmp_path: Path) -> None:
    assert Scrub(tmp_path, {"case7canary": "x1"}).text(text) == left
