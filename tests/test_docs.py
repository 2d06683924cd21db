"""The documentation is true: its example runs, its links lead somewhere, its commands exist."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml

from reportcard.analysis import check as checking
from reportcard.cli.main import main
from reportcard.cli.parser import command_names
from reportcard.config import paths
from reportcard.core import registry

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


PATH = re.compile(
    r"(?<![\w/.<>-])(?:harness|metrics|model_adapters|conf|benchmarks|tests|docs|results/published)"
    r"/[\w./*-]*[\w*]"
)
MODULE = re.compile(r"(?<![\w./-])reportcard(?:\.[a-z_]\w*)+")
# Names that begin with reportcard. and are no modules: entry points, tags of MLflow.
NO_MODULES = {
    *("reportcard.models", "reportcard.metrics", "reportcard.datasets", "reportcard.annotators"),
    *("reportcard.run", "reportcard.trace", "reportcard.invocation"),
}
# What readers are asked to make, and files of other repositories that have the same folder names.
ELSEWHERE = re.compile(
    r"my_|ward7|shouting|NAME|conf/local/|tests/metric$|metrics/meteor|docs/trl_rewards_benchmarks"
)


def missing_places(text: str) -> set[str]:
    """The paths and module names in a text that lead nowhere in this repository."""
    wrong = {p for p in PATH.findall(text) if not ELSEWHERE.search(p)}
    wrong = {p for p in wrong if not [*ROOT.glob(f"{p}*".replace("**", "*"))]}
    for name in set(MODULE.findall(text)) - NO_MODULES:
        first, *rest = name.split(".")[1:]
        place = ROOT / "reportcard" / first
        while rest and (place / rest[0]).is_dir():
            place /= rest.pop(0)
        inner = place / rest[0] if rest and place.is_dir() else place
        # The last part may be a name in a module or a package: reportcard.api.ModelCard.
        known = inner.is_dir() or inner.with_suffix(".py").is_file()
        if not (known or (place.is_dir() and rest and rest[0][0].isupper())):
            wrong.add(name)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_paths_and_modules_in_the_pages_exist(page: Path) -> None:
    assert missing_places(page.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize("folder", ["harness", "metrics", "model_adapters", "conf", "benchmarks"])
def test_paths_and_modules_in_comments_exist(folder: str) -> None:
    """A comment or docstring that names a file of this repository names one that is there."""
    kinds = {".py", ".yaml", ".txt", ".js", ".j2"}
    files = [path for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    wrong = {str(f.relative_to(ROOT)): missing_places(f.read_text("utf-8")) for f in files}
    assert {name: places for name, places in wrong.items() if places} == {}


def toy_of_the_page() -> str:
    """The first Python block of the page; the others are excerpts."""
    return code_blocks(ROOT / "docs" / "adding-a-model.md", "python")[0]


def test_the_toy_model_of_adding_a_model_passes_its_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.models, "_offered", {})
    (tmp_path / "shouting.py").write_text(toy_of_the_page(), encoding="utf-8")
    words = ["check", f"plugin={tmp_path / 'shouting.py'}", "model=shouting", "--studies", "2"]
    assert main([*words, f"results_dir={tmp_path / 'r'}"]) == 0
    assert "text only: its card names no image" in capsys.readouterr().out


def test_the_page_explains_every_check() -> None:
    page = (ROOT / "docs" / "adding-a-model.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `([a-z ]+)` \|", page, re.MULTILINE))
    names = {name for name, _ in checking.CHECKS} | {"asked again", "vision use"}
    assert names <= explained


def test_excerpts_of_adding_a_model_are_python_and_yaml() -> None:
    page = ROOT / "docs" / "adding-a-model.md"
    for block in code_blocks(page, "python"):
        compile(block, str(page), "exec")
    for block in code_blocks(page, "yaml"):
        assert {"plugin", "defaults"} & yaml.safe_load(block).keys()


def test_the_toy_model_of_adding_a_model_runs(
    tmp_path: Path,
    mini_data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry.models, "_offered", {})
    (tmp_path / "shouting.py").write_text(toy_of_the_page(), encoding="utf-8")
    arguments = [
        *("run", f"plugin={tmp_path / 'shouting.py'}", "model=shouting", "+model.suffix=?"),
        *("dataset=openi_findings", f"data_dir={mini_data}", f"results_dir={tmp_path / 'r'}"),
        "tracking=none",
    ]
    assert main(arguments) == 0
    assert "shouting" in capsys.readouterr().out
    lines = next((tmp_path / "r").glob("predictions/*/shouting@*/predictions.jsonl")).read_text()
    assert '"findings":"COUGH?"' in lines


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_commands_in_the_pages_exist(page: Path) -> None:
    """Each `reportcard VERB` and `make TARGET` in a shell block is a real one."""
    verbs = {*command_names(), "--help"}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for block in code_blocks(page, "sh"):
        for verb in re.findall(r"reportcard (\S+)", block):
            assert verb in verbs, f"{page}: {verb}"
        for target in re.findall(r"^make (\S+)", block, re.MULTILINE):
            assert target in targets, f"{page}: {target}"


def test_the_readme_scores_a_file_of_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command as it stands there, but for the labeler, which needs an extra."""
    (block, *_) = (b for b in code_blocks(ROOT / "README.md", "sh") if "evaluate" in b)
    words = block.replace(",f1_chexpert_rules", "").split()
    monkeypatch.chdir(tmp_path)
    pair = {"study_id": "s1", "candidate": "No effusion.", "reference": "No effusion."}
    Path("pairs.jsonl").write_text(json.dumps(pair), encoding="utf-8")
    assert words[0] == ".venv/bin/reportcard"
    assert main(words[1:]) == 0
    assert "rouge.rouge_l" in Path("out.json").read_text(encoding="utf-8")


def test_words_of_the_readme_are_names_that_exist() -> None:
    """MODEL=…, DATASET=…, SUITE=…, model=…, dataset=… of its commands; my_… are the reader's."""
    for block in code_blocks(ROOT / "README.md", "sh"):
        for group, given in re.findall(r"\b(model|dataset|suite)=(\w+)", block, re.IGNORECASE):
            if not given.startswith("my_"):
                assert given in paths.names(group.lower()), f"{group}={given}"


def test_the_page_of_commands_is_that_of_the_command_line() -> None:
    spec = importlib.util.spec_from_file_location("commands", ROOT / "docs" / "commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == module.page(), "write it again: python docs/commands.py"


def test_the_site_lists_every_page() -> None:
    """`make docs` is strict; this needs no mkdocs."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    listed = set(re.findall(r"[\w/-]+\.md", nav))
    pages = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    assert listed == {*pages, "index.md"}


def test_every_metric_and_dataset_has_a_page() -> None:
    text = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs").rglob("*.md"))
    for group in ("metrics", "dataset", "protocol"):
        for name in paths.names(group):
            assert f"`{name}`" in text, f"{group}/{name} is not documented"


def test_changelog_has_the_two_headings_that_users_look_for() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "### Changes scores" in text
    assert "### Does not change scores" in text
