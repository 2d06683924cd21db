"""Compose the command line and the YAML files of conf/ into one frozen RunConfig.

This is the only module that uses Hydra. Models and datasets are looped over in our own code
(harness/pipeline.py): Hydra's --multirun keeps no state and could not resume. So a comma list in
`model=` or `dataset=` is composed once per name. Annotators are composed all at once, whichever
metrics are chosen, so that no word of the command line has to be kept for later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from reportcard.api import Json, ReportCardError
from reportcard.config.hydra_errors import explain_hydra
from reportcard.config.paths import conf_dir, names
from reportcard.config.settings import (
    EngineSettings,
    Marks,
    Plugin,
    Protocol,
    RunConfig,
    Shard,
    Stats,
    Tracking,
)
from reportcard.core import registry

RESERVED = ("plugin", "name", "label")
SAFE_LABEL = re.compile(r"[^\W_][\w .+()-]{0,79}")
# What Hydra's grammar reads as a plain word; other values (blanks, commas, accents) are quoted.
PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:@%+?\\-]*")


def load(overrides: Sequence[str] = ()) -> RunConfig:
    """Compose the configuration of one invocation.

    overrides: words `key=value`; `model`, `dataset` and `metrics` may be comma lists.
    Raises ReportCardError with a suggestion for an unknown name, key or value.
    """
    chosen, rest = _split_lists(overrides)
    base = [o for o in rest if not any(belongs(o, g) for g in ("model", "dataset", "annotator"))]
    node = _compose(base)
    for path in node["plugins"]:
        registry.offer(path)
    suite = node["suite"]
    protocol = _protocol(_last_choice(rest, "protocol", "reportcard"), node["protocol"])
    wanted = {
        group: chosen.get(group) or list(suite[f"{group.removesuffix('s')}s"])
        for group in ("model", "dataset", "metrics")
    }
    plugins = _plugins(wanted, rest)
    labels = [model.label for model in plugins["model"]]
    if len(set(labels)) < len(labels):
        raise ReportCardError(f"Two models share one label: {', '.join(labels)}. Set model.label=…")
    return RunConfig(
        models=plugins["model"],
        datasets=plugins["dataset"],
        metrics=_with_protocol(plugins["metrics"], protocol),
        annotators=_annotators(rest),
        judge=node["judge"],
        protocol=protocol,
        stats=Stats.from_options(node["stats"]),
        results_dir=Path(node["results_dir"]),
        engine=EngineSettings(**node["engine"]),
        limit=None if node["limit"] is None else _whole("limit", node["limit"]),
        shard=None if node["shard"] is None else Shard.parse(str(node["shard"])),
        tracking=Tracking(**node["tracking"]),
        suite=_last_choice(rest, "suite", "default"),
        marks=Marks.from_options(node["marks"]),
        models_named="model" in chosen,
        datasets_named="dataset" in chosen,
        text=_text(node["text"]),
    )


def load_protocol(name: str) -> Protocol:
    """Compose a protocol of conf/protocol."""
    return _protocol(name, _compose([f"protocol={name}"])["protocol"])


def load_metrics(wanted: Sequence[str], protocol: Protocol) -> tuple[Plugin, ...]:
    """Compose metrics by name, with the options that the protocol fixes."""
    return _with_protocol(_plugins({"metrics": wanted}, ())["metrics"], protocol)


def load_annotators(overrides: Sequence[str] = ()) -> dict[str, Plugin]:
    """Compose every annotator, with the `weights.…`, `annotator.…` and `judge.…` of the words."""
    return _annotators([with_quotes(o) for o in overrides])


def is_of_annotators(override: str) -> bool:
    """Whether a word `key=value` is about annotators, their weights or their judge."""
    groups = ("weights", "annotator", "judge")
    return override.startswith("judge=") or any(belongs(override, group) for group in groups)


def belongs(override: str, group: str) -> bool:
    """Whether a word sets an option of a group, as `model.seed=1` does of `model`."""
    return override.lstrip("+~").startswith(f"{group}.")


def with_quotes(override: str) -> str:
    """Quote the value of `key=value` where Hydra's grammar would misread it."""
    key, _, value = override.partition("=")
    if key.lstrip("+") == "judge.prices" and value[:1] == "{":
        return f"judge.prices={quoted(value)}"  # as text: JudgeSettings.from_options reads it
    if PLAIN_VALUE.fullmatch(value) or value[:1] in "[{'\"":
        return override
    return f"{key}={quoted(value)}"


def quoted(value: str) -> str:
    """Write a string of Hydra's grammar, in which quotes inside are escaped."""
    return "'" + value.replace("'", r"\'") + "'"


def _split_lists(overrides: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Take `model=a,b`, `dataset=…`, `metrics=…` out of the words, as lists of names."""
    chosen: dict[str, list[str]] = {}
    rest, plugins = [], []
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ReportCardError(f"'{override}' is not an override; write key=value.")
        if key in ("model", "dataset", "metrics"):
            parts = value.strip("[]").replace(" ", "").split(",")
            chosen[key] = [part for part in parts if part]
            if not chosen[key]:
                raise ReportCardError(f"{key}= is empty; name one or more (reportcard list).")
        elif key in ("plugin", "plugins"):
            plugins += [quoted(path) for path in value.strip("[]").split(",")]
        else:
            rest.append(with_quotes(override))
    if plugins:
        rest.append(f"plugins=[{','.join(plugins)}]")
    return chosen, rest


def _last_choice(rest: Sequence[str], group: str, default: str) -> str:
    picked = [o.split("=", 1)[1] for o in rest if o.startswith(f"{group}=")]
    return picked[-1] if picked else default


def _annotators(rest: Sequence[str]) -> dict[str, Plugin]:
    """Compose every annotator by name, in a composition that other words leave alone."""
    wanted = sorted({*names("annotator"), *registry.annotators.names()})
    about = [o for o in rest if is_of_annotators(o)]
    return dict(zip(wanted, _plugins({"annotator": wanted}, about)["annotator"], strict=True))


def _with_protocol(metrics: Sequence[Plugin], protocol: Protocol) -> tuple[Plugin, ...]:
    return tuple(
        replace(m, options={**m.options, **protocol.metrics.get(m.label, {})}) for m in metrics
    )


def _protocol(name: str, node: Json) -> Protocol:
    """Build a protocol; the metrics that its intervals name become plugins with their options."""
    made = Protocol.from_options(name, node)
    of = [metric for metric in made.intervals if metric != "default"]
    metrics = dict(zip(of, load_metrics(of, made), strict=True)) if of else {}
    intervals = {k: replace(v, of=metrics.get(k)) for k, v in made.intervals.items()}
    return replace(made, intervals=intervals)


def _plugins(
    wanted: Mapping[str, Sequence[str]], rest: Sequence[str]
) -> dict[str, tuple[Plugin, ...]]:
    """Compose every chosen option of the groups at once, each under a package of its own.

    `model.x=1` reaches each chosen model as `_model.<name>.x=1`.
    """
    shared = ("weights", "judge")
    overrides = [
        o
        for o in rest
        if o.startswith(("data_dir=", "judge=")) or any(belongs(o, group) for group in shared)
    ]
    for group, members in wanted.items():
        for name in dict.fromkeys(members):
            _check_known(group, name)
            overrides.append(f"+{group}@_{group}.{name}={name}")
    named = any(belongs(o, group) for o in rest for group in wanted)
    nodes = _compose(overrides, whole=False) if named else {}
    for group, members in wanted.items():
        for override in (o for o in rest if belongs(o, group)):
            overrides += _addressed(override, group, {m: nodes[f"_{group}"][m] for m in members})
    node = _compose(overrides)
    return {
        group: tuple(_plugin(name, node[f"_{group}"][name]) for name in dict.fromkeys(members))
        for group, members in wanted.items()
    }


def _addressed(override: str, group: str, nodes: Mapping[str, Json]) -> list[str]:
    """Address `model.x=1` as `_model.<name>.x=1` to each member of the group with the option x.

    `annotator.chexbert.device=cpu` is for that member alone. A label is legal for all,
    `+model.x=1` adds the option to all, and an option that no member has goes to the first, so
    that the error names it. Annotators are composed whether a metric reads them or not, so there
    `+annotator.x=1` also reaches those that have the option already.
    """
    words = override.lstrip("+~")
    option = words.removeprefix(f"{group}.").partition("=")[0].split(".")[0]
    takers = [name for name, node in nodes.items() if option in node]
    if option in nodes and not takers:
        return [override.replace(f"{group}.", f"_{group}.", 1)]
    sign = "++" if option == "label" else override[: len(override) - len(words)]
    if group == "annotator":
        sign = "++" if sign == "+" else sign
        if not takers and not sign:
            raise ReportCardError(
                f"No annotator has the name or the option '{option}'."
                f"{registry.did_you_mean(option, nodes)} (conf/annotator lists them)"
            )
    if sign and not (takers and sign == "~"):
        takers = list(nodes)
    found = words.replace(f"{group}.", "", 1)
    return [f"{sign}_{group}.{name}.{found}" for name in takers or list(nodes)[:1]]


def _plugin(name: str, node: Json) -> Plugin:
    options = {k: v for k, v in node.items() if k not in RESERVED}
    label = node.get("label") or node.get("name", name)
    if not isinstance(label, str) or not SAFE_LABEL.fullmatch(label):
        raise ReportCardError(
            f"label {label!r}: a label names folders, so it is made of letters, digits, blanks and"
            " . _ - + ( ), at most 80, and starts with a letter or digit."
        )
    return Plugin(node.get("plugin", name), label, options)


def _check_known(group: str, name: str) -> None:
    """Accept a YAML file of the group, or a plugin, which alone has no options."""
    kind = group.removesuffix("s")
    found: registry.Registry = getattr(registry, f"{kind}s")
    if name in names(group):
        return
    if name not in found.names():
        known = {*names(group), *found.names()}
        raise ReportCardError(
            f"Unknown {kind} '{name}'.{registry.did_you_mean(name, known)}"
            f" (reportcard list {kind}s)"
        )
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(group=group, name=name, node={"plugin": name})


def _compose(overrides: Sequence[str], whole: bool = True) -> Json:
    """Compose with Hydra. whole: a required value that is not set is an error."""
    return _compose_cached(tuple(overrides), whole)


@cache
def _compose_cached(overrides: tuple[str, ...], whole: bool) -> Json:
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        try:
            config = compose("config", overrides=list(overrides))
            value = OmegaConf.to_container(config, resolve=True, throw_on_missing=whole)
        except (HydraException, OmegaConfBaseException) as error:
            raise ReportCardError(explain_hydra(error)) from None
    assert isinstance(value, dict)
    return {str(k): v for k, v in value.items()}


def _text(value: object) -> Literal["open", "on", "off"]:
    # YAML reads a bare on and off as true and false.
    known: dict[object, Literal["open", "on", "off"]] = {
        **{"open": "open", "on": "on", "off": "off"},
        **{True: "on", False: "off"},
    }
    if value not in known:
        raise ReportCardError(f"text is open, on or off, not {value!r}.")
    return known[value]


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ReportCardError(f"{name} must be a whole number from 1 up, not {value!r}.")
    return value
