"""Turn the errors of Hydra and OmegaConf into one sentence that says what to type instead."""

from __future__ import annotations

from dataclasses import fields

from reportcard.config.endpoint_settings import JudgeSettings
from reportcard.config.paths import conf_dir, names
from reportcard.core.registry import did_you_mean

GROUPS = ("suite", "protocol", "engine", "tracking", "dataset", "model", "judge", "marks")


def explain_hydra(error: Exception) -> str:
    """Say which setting is wrong, with a suggestion where its name is close to a known one."""
    message = " ".join(str(error).split())
    if "Missing mandatory value" in message:
        key = message.rsplit("full_key:", 1)[-1].split()[0]
        if key.startswith("_"):
            group, _, option = key.removeprefix("_").split(".", 2)
            key = f"{group}.{option}"
        return f"{key} is required and not set. Give it on the command line: {key}=…"
    for group in GROUPS:
        if f"'{group}/" in message:
            bad = message.split(f"'{group}/", 1)[1].split("'", 1)[0]
            hint = did_you_mean(bad, names(group))
            return f"Unknown {group} '{bad}'.{hint} Known: {', '.join(names(group))}."
    if "Could not override" in message:
        return _unknown_setting(message.split("Could not override", 1)[1].split("'")[1])
    return f"Bad configuration: {message}"


def _unknown_setting(key: str) -> str:
    group, _, tail = key.removeprefix("_").partition(".")
    if key.startswith("_"):
        name, _, option = tail.partition(".")
        return f"{group} {name} has no option '{option}' (conf/{group}/{name}.yaml lists them)"
    if group == "judge" and tail:
        hint = did_you_mean(tail, (field.name for field in fields(JudgeSettings)))
        return f"A judge has no option '{tail}'.{hint} (conf/judge/none.yaml lists them)"
    hint = did_you_mean(key, _top_keys())
    return f"Unknown setting '{key}'.{hint} (conf/config.yaml lists them)"


def _top_keys() -> list[str]:
    """The settings of conf/config.yaml, and the groups and options that users mistype most."""
    text = (conf_dir() / "config.yaml").read_text(encoding="utf-8")
    return [line.split(":")[0] for line in text.splitlines() if line[:1].isalpha()] + [
        *("model", "dataset", "metrics", "suite", "protocol", "engine", "judge", "tracking"),
        *("marks", "stats.resamples", "stats.seed", "stats.confidence"),
        *("engine.batch_size", "engine.exact_buckets"),
    ]
