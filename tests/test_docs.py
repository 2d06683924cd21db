"""The documentation is true: its example runs, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import config, registry
from harness.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_toy_model_of_adding_a_model_runs(
    tmp_path: Path,
    mini_data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry.models, "_files", {})
    (source,) = code_blocks(ROOT / "docs" / "adding-a-model.md", "python")
    (tmp_path / "shouting.py").write_text(source, encoding="utf-8")
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
    verbs = {"run", "predict", "score", "leaderboard", "evaluate", "compare", "fetch", "list"}
    verbs |= {"doctor", "dashboard", "--help", "audit", "validate", "judge", "sections"}
    verbs |= {"generate", "prompt", "check", "new-model", "predict"}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for block in code_blocks(page, "sh"):
        for verb in re.findall(r"reportcard (\S+)", block):
            assert verb in verbs, f"{page}: {verb}"
        for target in re.findall(r"^make (\S+)", block, re.MULTILINE):
            assert target in targets, f"{page}: {target}"


def test_every_metric_and_dataset_has_a_page() -> None:
    text = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs").rglob("*.md"))
    for group in ("metrics", "dataset", "protocol"):
        for name in config.names(group):
            assert f"`{name}`" in text, f"{group}/{name} is not documented"


def test_changelog_has_the_two_headings_that_users_look_for() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "### Changes scores" in text
    assert "### Does not change scores" in text
