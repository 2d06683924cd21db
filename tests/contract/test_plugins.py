"""Every registered model, metric and dataset keeps the contract, whoever wrote it."""

from __future__ import annotations

import dataclasses
import inspect
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from reportcard.analysis.check.inputs import prompt_problem
from reportcard.analysis.check.under_test import drawn, varied
from reportcard.api import (
    Box,
    Dataset,
    ModelAdapter,
    ModelCard,
    Pair,
    Phrase,
    ReportCardError,
    Request,
)
from reportcard.config import compose as config
from reportcard.config import paths
from reportcard.config.settings import Plugin
from reportcard.core import registry
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.models.staged import Completion, Prepared, Prompt, StagedAdapter
from reportcard.models.views import frontal_of
from reportcard.predict.engines.job import ModelJob
from reportcard.predict.system import open_model
from reportcard.score.scorer import open_metrics

MODELS = paths.names("model")
METRICS = [
    scorer
    for scorer in open_metrics(
        config.load_metrics(paths.names("metrics"), config.load_protocol("reportcard"))
    )
    if not scorer.metric.spec.annotators
]
PLACES = [(Phrase("Effusion.", (Box(x, 0.1, x + 0.2, 0.4),)),) for x in (0.1, 0.2, 0.3)]
TEXTS = [
    Pair("1", "The lungs are clear.", "Lungs are clear."),
    Pair("2", "Small left effusion.", "Small right effusion."),
    Pair("3", "", "Heart size is normal."),
    Pair("4", "XXXX ___ 🫁 \x07", "A  b\nc ."),
    Pair("5", "The lungs are clear.", "The lungs are clear."),
]
GROUNDED = [
    (PLACES[0], PLACES[1]),
    (PLACES[0], PLACES[2]),
    ((), PLACES[0]),
    ((), ()),
    (PLACES[2],) * 2,
]
PAIRS = [
    dataclasses.replace(pair, candidate_phrases=candidate, reference_phrases=reference)
    for pair, (candidate, reference) in zip(TEXTS, GROUNDED, strict=True)
]


def plugin_or_skip(name: str) -> Plugin:
    """The model of a YAML file; one that must be told something first (a file) is skipped."""
    try:
        return config.load([f"model={name}"]).models[0]
    except ReportCardError as error:
        if "is required and not set" in str(error):
            pytest.skip(str(error))
        raise


def why_not_here(adapter: ModelAdapter) -> str | None:
    """What this machine lacks to run the model: weights, an endpoint, an environment."""
    missing = getattr(adapter, "missing", None)
    return missing() if missing is not None else None


def runnable(name: str) -> Plugin:
    """As plugin_or_skip; a model that needs weights which are not here is skipped too."""
    plugin = plugin_or_skip(name)
    adapter = registry.models.build(plugin.plugin, plugin.options, name)
    if reason := why_not_here(adapter):
        pytest.skip(reason)
    if hasattr(adapter, "admit"):
        pytest.skip("its requests leave this process: tested where somebody answers them")
    return plugin


@pytest.mark.parametrize("name", MODELS)
def test_models_answer_each_request_alike_in_any_batch(name: str, mini_cohort: Cohort) -> None:
    plugin = runnable(name)
    system = open_model(plugin, mini_cohort)
    if system.adapter.card.needs_pixels:
        pytest.skip("needs pixels; the miniature Open-I has none")
    if hasattr(system.adapter, "admit"):
        pytest.skip("asks an endpoint: tests/model_adapters/test_openai_chat.py")
    requests = [study.request for study in mini_cohort.test]
    ModelJob(system.adapter, requests, mini_cohort.train, mini_cohort.test).make_ready()
    together = list(system.adapter.generate(requests))
    assert [p.study_id for p in together] == [r.study_id for r in requests]
    alone = [system.adapter.generate([r])[0] for r in reversed(requests)][::-1]
    assert alone == together
    assert list(system.adapter.generate([])) == []


@pytest.mark.parametrize("name", MODELS)
def test_no_reference_reaches_a_model_that_does_not_declare_it(
    name: str, mini_cohort: Cohort
) -> None:
    """With every test reference changed, the answers of an honest model stay the same."""
    plugin = runnable(name)
    system = open_model(plugin, mini_cohort)
    if system.adapter.card.sees_references or system.adapter.card.needs_pixels:
        pytest.skip("declares that it sees references, or needs pixels")
    if hasattr(system.adapter, "admit"):
        pytest.skip("asks an endpoint: tests/model_adapters/test_openai_chat.py")
    requests = [study.request for study in mini_cohort.test]
    ModelJob(system.adapter, requests, mini_cohort.train, mini_cohort.test).make_ready()
    before = list(system.adapter.generate(requests))
    changed = tuple(
        dataclasses.replace(s, reference=dataclasses.replace(s.reference, findings="Changed."))
        for s in mini_cohort.test
    )
    other = open_model(plugin, mini_cohort)
    ModelJob(other.adapter, requests, mini_cohort.train, changed).make_ready()
    assert list(other.adapter.generate(requests)) == before


@pytest.fixture(scope="module")
def phantoms() -> Cohort:
    return load_cohort(Plugin("phantom", "phantom", {"test": 8, "train": 0, "size": 64}))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_a_card_without_weights(name: str) -> None:
    plugin = plugin_or_skip(name)
    adapter = registry.models.build(plugin.plugin, plugin.options, name)
    assert isinstance(adapter.card, ModelCard)
    assert adapter.card.description
    reason = why_not_here(adapter)
    assert reason is None or len(reason.split()) > 2  # a sentence


@pytest.mark.parametrize("name", MODELS)
def test_prompts_of_models_in_stages_need_no_weights(name: str, phantoms: Cohort) -> None:
    """The same each time, no reference text, the indication where the card names it, inputs in
    known words, and a typed error for a study without images."""
    plugin = plugin_or_skip(name)
    adapter = registry.models.build(plugin.plugin, plugin.options, name)
    if not callable(getattr(adapter, "prompt", None)):
        pytest.skip("not a model in stages: it shows no prompt")
    studies, lacking = [], []
    for study in map(drawn, varied(phantoms.test, 6)):
        try:
            adapter.prompt(study.request)
            studies.append(study)
        except ReportCardError as error:  # a second view, or a file that the user brings
            lacking.append(str(error))
    if not studies:
        pytest.skip(lacking[0])
    assert prompt_problem(adapter, studies) is None


class WithoutWeights(StagedAdapter):
    """Toy: what a model with weights looks like on a machine that lacks them."""

    card = ModelCard("Toy", inputs=("frontal", "indication"), needs_pixels=True)
    identity: Mapping[str, Any] = {}
    question = "Indication: {indication}. Findings?"

    def missing(self) -> str | None:
        return "no weights given: model.weights=FOLDER"

    def prompt(self, request: Request) -> Prompt:
        text = self.question.format(indication=request.indication)
        return Prompt(text, (frontal_of(request),), 50, used=("frontal", "indication"))

    def pixels(self, grey: Any) -> Any:
        return grey

    def load(self) -> None:
        raise ReportCardError("no weights")

    def complete(self, batch: Sequence[Prepared]) -> list[Completion]:
        raise AssertionError("the contract loads nothing")


def test_the_prompts_of_a_model_without_weights_are_tested_all_the_same(phantoms: Cohort) -> None:
    studies = [drawn(study) for study in varied(phantoms.test, 6)]
    toy = WithoutWeights()
    assert why_not_here(toy) == "no weights given: model.weights=FOLDER"
    assert prompt_problem(toy, studies) is None
    toy.question = "Findings?"
    assert "declares the indication" in str(prompt_problem(toy, studies))


def test_a_request_has_no_field_for_a_reference() -> None:
    assert "reference" not in {field.name for field in dataclasses.fields(Request)}


@pytest.mark.parametrize("scorer", METRICS, ids=[s.label for s in METRICS])
def test_metrics_are_functions_of_sums(scorer: object) -> None:
    metric = scorer.metric  # type: ignore[attr-defined]
    rows = metric.rows(PAIRS)
    assert rows.dtype == np.float64
    assert len(rows) == len(PAIRS)
    assert np.array_equal(rows, metric.rows(PAIRS), equal_nan=True)
    split = np.concatenate([metric.rows(PAIRS[:2]), metric.rows(PAIRS[2:])])
    if not metric.spec.whole_corpus:
        assert np.array_equal(rows, split, equal_nan=True)
    total = np.nan_to_num(rows).sum(axis=0)
    scores = metric.scores(total)
    assert set(scores) == set(metric.spec.keys)
    stacked = metric.scores(np.stack([total, total * 2, np.zeros_like(total)]).reshape(3, 1, -1))
    for name, key in metric.spec.keys.items():
        assert stacked[name].shape == (3, 1)
        assert stacked[name][0, 0] == pytest.approx(float(scores[name]))
        low = -np.inf if key.low is None else key.low
        high = np.inf if key.high is None else key.high
        assert low - 1e-9 <= float(scores[name]) <= high + 1e-9
        assert key.direction in ("higher", "lower")


@pytest.mark.parametrize("scorer", METRICS, ids=[s.label for s in METRICS])
def test_metrics_put_the_reference_first(scorer: object) -> None:
    """No candidate scores better than the reference itself."""
    metric = scorer.metric  # type: ignore[attr-defined]
    perfect = [
        dataclasses.replace(p, candidate=p.reference, candidate_phrases=p.reference_phrases)
        for p in PAIRS
    ]
    best = metric.scores(metric.rows(perfect).sum(axis=0))
    other = metric.scores(metric.rows(PAIRS).sum(axis=0))
    for name, key in metric.spec.keys.items():
        sign = 1 if key.direction == "higher" else -1
        assert sign * best[name] >= sign * other[name] - 1e-9


@pytest.mark.parametrize("name", registry.datasets.names())
def test_datasets_say_what_is_missing(name: str, tmp_path: Path) -> None:
    kind = registry.datasets.get(name)
    # A dataset that reads nothing from disk has no root.
    options = {"root": str(tmp_path)} if "root" in inspect.signature(kind).parameters else {}
    dataset: Dataset = kind(**options)
    problem = dataset.missing()
    assert problem is None or str(tmp_path) in problem
    assert dataset.card.data_class in ("open", "registered", "credentialed")


def test_every_yaml_names_a_plugin_that_exists() -> None:
    for group, kind in (("model", registry.models), ("metrics", registry.metrics)):
        for name in paths.names(group):
            path = paths.conf_dir() / group / f"{name}.yaml"
            saved = yaml.safe_load(path.read_text("utf-8"))
            if "???" in saved.values():  # to be set first: replay's file
                assert kind.get(saved.get("plugin", name))
                continue
            run = config.load([f"{group}={name}"])
            plugins: tuple[Plugin, ...] = run.models if group == "model" else run.metrics
            assert kind.get(plugins[0].plugin)


PLUGIN_FILES = [
    path
    for folder in ("metrics", "model_adapters")
    for path in sorted((paths.conf_dir().parent / folder).rglob("*.py"))
]


def modules_for_plugins() -> set[str]:
    """The modules of harness/ that the import rule in pyproject.toml leaves to plugins."""
    root = paths.conf_dir().parent
    rules = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    (rule,) = (c for c in rules["contracts"] if c["name"] == "plugins know only the contract")
    forbidden = tuple(rule["forbidden_modules"])
    below = tuple(f"{name}." for name in forbidden)
    found = set()
    for path in (root / "harness").rglob("*.py"):
        parts = path.relative_to(root / "harness").with_suffix("").parts
        name = ".".join(("reportcard", *parts)).removesuffix(".__init__")
        mixed = any(other.startswith(f"{name}.") for other in forbidden)
        if not mixed and name not in forbidden and not name.startswith(below):
            found.add(name)
    return found


def test_the_import_rule_leaves_the_contract_to_plugins() -> None:
    """A new module of core or of the judge is not for plugins unless somebody says so here."""
    whole = ("reportcard.api", "reportcard.models")
    assert {name for name in modules_for_plugins() if not name.startswith(whole)} == {
        "reportcard.llm.judge.contract",
        "reportcard.core.files",
        "reportcard.core.model_answer",
        "reportcard.core.user_files",
        "reportcard.core.weights",
    }


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=[p.name for p in PLUGIN_FILES])
def test_plugins_know_only_the_contract(path: Path) -> None:
    """Besides its own package, a plugin imports whole modules, none of which is forbidden to it."""
    imported = re.findall(r"^\s*(?:from|import) (reportcard[\w.]*)", path.read_text(), re.MULTILINE)
    own = ("reportcard.metrics", "reportcard.model_adapters")
    assert {name for name in imported if not name.startswith(own)} <= modules_for_plugins()


def test_the_harness_names_no_plugin_module() -> None:
    pattern = r"^\s*(?:from|import) (?:reportcard\.)?(?:metrics|model_adapters)\b"
    for path in (paths.conf_dir().parent / "harness").rglob("*.py"):
        assert not re.search(pattern, path.read_text("utf-8"), re.MULTILINE), path
