"""Configuration: every file composes, and a wrong word gets a sentence with the right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import config
from harness.api import ReportCardError

GROUPS = ("model", "dataset", "metrics", "protocol", "suite", "engine", "tracking")
FILES = [(g, name) for g in GROUPS for name in config.names(g)]
REQUIRED = {"replay": "model.predictions=x.jsonl"}


@pytest.mark.parametrize(("group", "name"), FILES, ids=[f"{g}/{n}" for g, n in FILES])
def test_every_file_composes(group: str, name: str) -> None:
    overrides = [f"{group}={name}"]
    if name in REQUIRED:
        overrides.append(REQUIRED[name])
    run = config.load(overrides)
    assert run.models
    assert run.datasets
    assert run.metrics


def test_every_file_is_in_a_known_group() -> None:
    root = config.conf_dir()
    known = {root / g / f"{n}.yaml" for g, n in FILES} | {root / "config.yaml"}
    known |= {root / "local" / "default.yaml"}
    groups_of_later_stages = {"annotator"}
    stray = [
        p
        for p in root.rglob("*.yaml")
        if p not in known and p.parent.name not in groups_of_later_stages
    ]
    assert stray == []


def test_documented_example_composes() -> None:
    run = config.load(
        [
            *("dataset=openi", "model=indication_retrieval", "results_dir=DIR"),
            *("limit=200", "stats.resamples=1000"),
        ]
    )
    assert [d.label for d in run.datasets] == ["openi_findings"]
    assert (run.limit, run.stats.resamples, run.results_dir) == (200, 1000, Path("DIR"))


def test_comma_lists_and_options() -> None:
    run = config.load(
        [
            *("model=random_train_report,shuffled_reference", "model.seed=7"),
            *("dataset=openi_findings,openi_r2gen_test", "metrics=rouge", "data_dir=/elsewhere"),
        ]
    )
    assert [m.options["seed"] for m in run.models] == [7, 7]
    assert [d.options["root"] for d in run.datasets] == ["/elsewhere/openi"] * 2
    assert [m.label for m in run.metrics] == ["rouge"]


def test_protocol_chooses_the_variant_of_bleu_and_leaves_named_variants_alone() -> None:
    run = config.load(["protocol=r2gen", "metrics=bleu,bleu_sacre,rouge"])
    assert [m.options["variant"] for m in run.metrics] == ["coco", "sacre", "coco"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model=emty_report", r"Unknown model 'emty_report'\. Did you mean empty_report\?"),
        ("dataset=opni", r"Unknown dataset 'opni'\. Did you mean openi\?"),
        ("metrics=ruge", r"Unknown metric 'ruge'\. Did you mean rouge\?"),
        ("suite=defualt", r"Unknown suite 'defualt'\. Did you mean default\?"),
        ("protocol=r2gn", r"Unknown protocol 'r2gn'\. Did you mean r2gen\?"),
        ("tracking=mlfow", r"Unknown tracking 'mlfow'\. Did you mean mlflow\?"),
        ("limt=3", r"Unknown setting 'limt'\. Did you mean limit\?"),
        ("stats.resample=3", r"Unknown setting 'stats\.resample'\. Did you mean stats\.resamples"),
        ("model.sed=3", "model reference_oracle has no option 'sed'"),
        ("model=replay", "model.predictions is required"),
        ("limit=0", "limit must be"),
        ("limit=few", "limit must be"),
        ("stats.resamples=0", "resamples must be at least 1"),
        ("stats.confidence=95", "confidence must be in"),
        ("stats.seed=abc", "stats"),
        ("nonsense", "write key=value"),
        ("plugin=nowhere.py", "No plugin file at nowhere.py"),
    ],
)
def test_bad_words_get_a_sentence(override: str, message: str) -> None:
    with pytest.raises(ReportCardError, match=message):
        config.load([override])


def test_run_config_is_frozen() -> None:
    run = config.load([])
    with pytest.raises(AttributeError):
        run.limit = 3  # type: ignore[misc]
