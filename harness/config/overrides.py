"""`key=value` on the command line: taken apart, put in quotes, and told what it is about."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reportcard.api import ReportCardError

# What Hydra's grammar reads as a plain word; other values (blanks, commas, accents) are quoted.
PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:@%+?\\-]*")


def split_lists(overrides: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Take `model=a,b`, `dataset=…`, `metrics=…` out of the overrides, as lists of names."""
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


def is_of_annotators(override: str) -> bool:
    """Whether a `key=value` is about annotators, their weights or their judge."""
    groups = ("weights", "annotator", "judge")
    return override.startswith("judge=") or any(belongs(override, group) for group in groups)


def belongs(override: str, group: str) -> bool:
    return override.lstrip("+~").startswith(f"{group}.")


def with_quotes(override: str) -> str:
    """`key=value` whose value Hydra's grammar would misread, quoted; done twice it is as once."""
    key, _, value = override.partition("=")
    if key.lstrip("+") == "judge.prices" and value[:1] == "{":
        return f"judge.prices={quoted(value)}"  # as text: reportcard.llm.judge.open_judge reads it
    if PLAIN_VALUE.fullmatch(value) or value[:1] in "[{'\"":
        return override
    return f"{key}={quoted(value)}"


def quoted(value: str) -> str:
    """A Hydra string: quotes inside are escaped."""
    return "'" + value.replace("'", r"\'") + "'"


def choice(rest: Sequence[str], group: str, default: str) -> str:
    picked = [o.split("=", 1)[1] for o in rest if o.startswith(f"{group}=")]
    return picked[-1] if picked else default
