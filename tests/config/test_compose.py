"""Configuration: every file composes, and a wrong word gets a sentence with the right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from reportcard.api import ReportCardError
from reportcard.config import compose as config
from reportcard.config import paths

GROUPS = ("model", "dataset", "metrics", "protocol", "suite", "engine", "tracking")
FILES = [(g, name) for g in GROUPS for name in paths.names(g)]
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
    root = paths.conf_dir()
    known = {root / g / f"{n}.yaml" for g, n in FILES} | {root / "config.yaml"}
    known |= {root / "local" / "default.yaml", root / "egress.yaml", root / "systems.yaml"}
    groups_of_later_stages = {"annotator", "judge", "marks"}
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
        ("model.label=a/b", "a label names folders"),
        ("model.label=..", "a label names folders"),
        ("model.label=a@b", "a label names folders"),
        ("model.label=<b>", "a label names folders"),
        ("model.label=[/x]", "a label names folders"),
        ("model=", "is empty"),
        ("engine.batch_size=0", "engine.batch_size must be"),
        ("engine.batch_size=abc", "engine.batch_size must be"),
    ],
)
def test_bad_words_get_a_sentence(override: str, message: str) -> None:
    with pytest.raises(ReportCardError, match=message):
        config.load([override])


def test_run_config_is_frozen() -> None:
    run = config.load([])
    with pytest.raises(AttributeError):
        run.limit = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "value", ["résultats", "a b/c", "a,b.jsonl", "p q=1 (x)[y].csv", "it's", "C:\\x", "~/x"]
)
def test_any_path_is_a_value(value: str) -> None:
    run = config.load([f"results_dir={value}", "model=replay", f"model.predictions={value}"])
    assert str(run.results_dir) == value
    assert run.models[0].options["predictions"] == value


def test_an_option_goes_to_the_models_that_have_it() -> None:
    run = config.load(["model=replay,random_train_report,empty_report", "model.predictions=x",
                       "model.seed=4"])  # fmt: skip
    assert run.models[0].options == {"predictions": "x"}
    assert run.models[1].options["seed"] == 4
    assert run.models[2].options == {}


def test_plugins_may_be_given_one_by_one(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text("class A:\n    def generate(self, requests): ...\n")
    run = config.load([f"plugin={tmp_path}/one.py", f"plugin={tmp_path}/two.py", "model=one,two"])
    assert [m.plugin for m in run.models] == ["one", "two"]


def test_annotators_and_the_judge_are_composed_with_the_rest() -> None:
    run = config.load(
        [
            *("metrics=bleu", "weights.chexbert=/w", "annotator.chexbert.device=cpu"),
            *("judge=recorded", "judge.verdicts=v.jsonl", "judge.record=out.jsonl"),
        ]
    )
    assert set(run.annotators) >= set(paths.names("annotator"))
    assert run.annotators["chexbert"].options == {
        **{"weights": "/w", "device": "cpu"},
        "vocab": None,
    }
    assert run.judge["kind"] == "recorded"
    assert run.annotators["radfact"].options["judge"] == run.judge
    assert run.annotators == config.load_annotators(
        [
            *("weights.chexbert=/w", "annotator.chexbert.device=cpu"),
            *("judge=recorded", "judge.verdicts=v.jsonl", "judge.record=out.jsonl"),
        ]
    )


def test_an_option_goes_to_the_annotators_that_have_it() -> None:
    found = config.load_annotators(["annotator.device=cpu", "annotator.temperature=0.5"])
    assert found["chexbert"].options["device"] == "cpu"
    assert found["chexprompt"].options["temperature"] == 0.5
    assert "device" not in found["chexprompt"].options
    with pytest.raises(ReportCardError, match=r"'chexbret'.* Did you mean chexbert"):
        config.load_annotators(["annotator.chexbret.device=cpu"])


def test_who_looks_at_a_run_records_no_verdicts() -> None:
    run = config.load(["judge=local", "judge.record=out.jsonl"])
    assert run.records_verdicts
    silent = run.without_recording()
    assert not silent.records_verdicts
    assert silent.annotators["radfact"].options["judge"] == silent.judge
    assert silent.judge == {**run.judge, "record": None}
    assert silent.annotators["chexbert"] == run.annotators["chexbert"]


def test_an_annotator_that_nobody_knows_gets_a_sentence() -> None:
    from reportcard.config.settings import Plugin
    from reportcard.score.scorer import open_metrics

    with pytest.raises(ReportCardError, match=r"Unknown annotator 'chexbert'"):
        open_metrics([Plugin("f1_chexbert", "f1_chexbert")], {})


def test_documented_option_of_an_annotator_composes() -> None:
    found = config.load_annotators(["annotator.special_tokens=true"])
    assert found["modern_radgraph_xl"].options["special_tokens"] is True
