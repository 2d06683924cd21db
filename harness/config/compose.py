"""Hydra compose → one frozen RunConfig. The only module that knows Hydra and OmegaConf.

Models and datasets are looped over in our own code (harness/run.py): Hydra's --multirun keeps no
state and could not resume. So a comma list in `model=` or `dataset=` is composed once per name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from reportcard.api import Json, ReportCardError
from reportcard.config.overrides import belongs, choice, is_of_annotators, split_lists, with_quotes
from reportcard.config.paths import conf_dir, names
from reportcard.config.settings import (
    EngineSettings,
    Interval,
    JudgeSettings,
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


def load(overrides: Sequence[str] = ()) -> RunConfig:
    """Compose the configuration.

    overrides: Hydra overrides (`key=value`); `model`, `dataset` and `metrics` may be comma lists.
    Raises ReportCardError with a suggestion for an unknown name, key or value.
    """
    chosen, rest = split_lists(overrides)
    base = [o for o in rest if not any(belongs(o, g) for g in ("model", "dataset", "annotator"))]
    node = _compose(base)
    for path in node["plugins"]:
        registry.add_plugin_file(Path(path))
    suite = node["suite"]
    protocol = _protocol(node["protocol"], choice(rest, "protocol", "reportcard"))
    wanted = {
        group: chosen.get(group) or list(suite[f"{group.removesuffix('s')}s"])
        for group in ("model", "dataset", "metrics")
    }
    plugins = _plugins(wanted, rest)
    labels = [model.label for model in plugins["model"]]
    if len(set(labels)) < len(labels):
        raise ReportCardError(f"Two models share one label: {', '.join(labels)}. Set model.label=…")
    limit = None if node["limit"] is None else _whole("limit", node["limit"])
    return RunConfig(
        models=plugins["model"],
        datasets=plugins["dataset"],
        metrics=with_protocol(plugins["metrics"], protocol),
        protocol=protocol,
        stats=_stats(node["stats"]),
        results_dir=Path(node["results_dir"]),
        engine=EngineSettings(**node["engine"]),
        limit=limit,
        shard=None if node["shard"] is None else Shard.parse(str(node["shard"])),
        overrides=tuple(o for o in rest if is_of_annotators(o)),
        tracking=Tracking(**node["tracking"]),
        suite=choice(rest, "suite", "default"),
        marks=_marks(node["marks"]),
        models_named="model" in chosen,
        text=_text(node["text"]),
    )


def _text(value: object) -> Literal["open", "on", "off"]:
    # YAML reads a bare on and off as true and false.
    known: dict[object, Literal["open", "on", "off"]] = {
        **{"open": "open", "on": "on", "off": "off"},
        **{True: "on", False: "off"},
    }
    if value not in known:
        raise ReportCardError(f"text is open, on or off, not {value!r}.")
    return known[value]


def load_protocol(name: str) -> Protocol:
    """A protocol of conf/protocol by name."""
    return _protocol(_compose([f"protocol={name}"])["protocol"], name)


def load_metrics(wanted: Sequence[str], protocol: Protocol) -> tuple[Plugin, ...]:
    """Metrics by name, with the options that the protocol fixes."""
    return with_protocol(_plugins({"metrics": wanted}, ())["metrics"], protocol)


def load_annotators(wanted: Sequence[str], overrides: Sequence[str]) -> tuple[Plugin, ...]:
    """Annotators by id; an id's "-" is "_" in its file name."""
    names = [name.replace("-", "_") for name in wanted]
    return _plugins({"annotator": names}, [with_quotes(o) for o in overrides])["annotator"]


def load_judge(overrides: Sequence[str]) -> Json:
    """The options of the chosen judge, as conf/judge and `judge.…` overrides say."""
    about = [o for o in overrides if o.startswith("judge=") or belongs(o, "judge")]
    chosen = [with_quotes(o) for o in about]
    judge: Json = _compose(chosen)["judge"]
    return judge


def with_protocol(metrics: Sequence[Plugin], protocol: Protocol) -> tuple[Plugin, ...]:
    return tuple(
        replace(m, options={**m.options, **protocol.metrics.get(m.label, {})}) for m in metrics
    )


def _protocol(node: Json, name: str) -> Protocol:
    return Protocol(
        name=name,
        normalise=node["normalise"],
        options=node.get("options", {}),
        sections=tuple(node["sections"]),
        labels=node.get("labels", {}),
        metrics=node["metrics"],
        intervals={k: Interval(**v) for k, v in node.get("intervals", {}).items()},
        primary=tuple(node.get("primary", ())),
        columns=node.get("columns", {}),
        left_out=node.get("left_out", {}),
    )


def _plugins(
    wanted: Mapping[str, Sequence[str]], rest: Sequence[str]
) -> dict[str, tuple[Plugin, ...]]:
    """Every chosen option of the groups, each under a package of its own, in one composition.

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
    """`model.x=1` → `_model.<name>.x=1` for each member of the group that has the option x.

    `annotator.chexbert.device=cpu` is for that member alone. A label is legal for all,
    `+model.x=1` adds the option to all, and an option that nobody has goes to the first, so that
    the error names it.
    """
    option = override.lstrip("+~").removeprefix(f"{group}.").partition("=")[0].split(".")[0]
    takers = [name for name, node in nodes.items() if option in node]
    if option in nodes and not takers:
        return [override.replace(f"{group}.", f"_{group}.", 1)]
    if option == "label" or override[0] in "+~":
        takers = list(nodes)
    sign = "++" if option == "label" else ""
    return [
        sign + override.replace(f"{group}.", f"_{group}.{name}.", 1)
        for name in takers or list(nodes)[:1]
    ]


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
    """A name is a YAML file of the group or a plugin; a plugin alone has no options."""
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
    _store_empty(group, name)


def _store_empty(group: str, name: str) -> None:
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(group=group, name=name, node={"plugin": name})


def _compose(overrides: Sequence[str], whole: bool = True) -> Json:
    """The composed configuration. whole: a required value that is not set is an error."""
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
            raise ReportCardError(_explain(error)) from None
    assert isinstance(value, dict)
    return {str(k): v for k, v in value.items()}


def _explain(error: Exception) -> str:
    """Hydra's messages in one line, with a suggestion where a name is close to a known one."""
    message = " ".join(str(error).split())
    if "Missing mandatory value" in message:
        key = message.rsplit("full_key:", 1)[-1].split()[0]
        if key.startswith("_"):
            group, _, option = key.removeprefix("_").split(".", 2)
            key = f"{group}.{option}"
        return f"{key} is required and not set. Give it on the command line: {key}=…"
    for group in ("suite", "protocol", "engine", "tracking", "dataset", "model", "judge", "marks"):
        if f"'{group}/" in message:
            bad = message.split(f"'{group}/", 1)[1].split("'", 1)[0]
            hint = registry.did_you_mean(bad, names(group))
            return f"Unknown {group} '{bad}'.{hint} Known: {', '.join(names(group))}."
    if "Could not override" in message:
        key = message.split("Could not override", 1)[1].split("'")[1]
        group, _, tail = key.removeprefix("_").partition(".")
        if key.startswith("_"):
            name, _, option = tail.partition(".")
            return f"{group} {name} has no option '{option}' (conf/{group}/{name}.yaml lists them)"
        if group == "judge" and tail:
            hint = registry.did_you_mean(tail, (field.name for field in fields(JudgeSettings)))
            return f"A judge has no option '{tail}'.{hint} (conf/judge/none.yaml lists them)"
        hint = registry.did_you_mean(key, _top_keys())
        return f"Unknown setting '{key}'.{hint} (conf/config.yaml lists them)"
    return f"Bad configuration: {message}"


def _top_keys() -> list[str]:
    text = (conf_dir() / "config.yaml").read_text(encoding="utf-8")
    return [line.split(":")[0] for line in text.splitlines() if line[:1].isalpha()] + [
        *("model", "dataset", "metrics", "suite", "protocol", "engine", "judge", "tracking"),
        *("marks", "stats.resamples", "stats.seed", "stats.confidence"),
        *("engine.batch_size", "engine.exact_buckets"),
    ]


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ReportCardError(f"{name} must be a whole number from 1 up, not {value!r}.")
    return value


def _marks(node: Json) -> Marks | None:
    if node["mode"] == "none":
        return None
    return Marks(Path(str(node["folder"])), node["mode"], node["outline"], node["numbers"])


def _stats(node: Json) -> Stats:
    try:
        seed = None if node["seed"] is None else int(node["seed"])
        return Stats(int(node["resamples"]), seed, float(node["confidence"]))
    except (TypeError, ValueError) as error:
        raise ReportCardError(f"stats: {error}") from None
