"""Shows the prompt and images that a model gets for one study, without its weights.

This is `reportcard prompt`. A model in stages (models/staged.py) builds it in its `prompt` method.
Any other adapter may have `shown(request) -> Mapping` with the text under "prompt" and everything
else that it sends by name. An adapter with neither takes no prompt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from reportcard.api import Image, Json, ModelAdapter, ReportCardError, Request
from reportcard.config import compose as config
from reportcard.config.settings import Plugin
from reportcard.core import registry
from reportcard.core.registry import did_you_mean
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.models.staged import StagedAdapter
from reportcard.predict.engines.failures import explain
from reportcard.predict.system import missing

Say = Callable[[str], None]


def show_prompts(overrides: Sequence[str], as_json: bool, say: Say) -> int:
    """Print the prompt of every named model for one study.

    The study is `study=ID` of the first dataset, or else its first study; the dataset is phantom
    when none is named. Returns 2 when a model could not show its prompt.
    """
    wanted = [word.partition("=")[2] for word in overrides if word.startswith("study=")]
    rest = [word for word in overrides if not word.startswith("study=")]
    if not any(word.startswith("dataset=") for word in rest):
        rest = [*rest, "dataset=phantom"]
    chosen = config.load(rest)
    if not chosen.models_named:
        raise ReportCardError("prompt needs a model: reportcard prompt model=NAME [study=ID]")
    cohort = load_cohort(chosen.datasets[0], chosen.limit)
    request = _study(cohort, wanted[-1] if wanted else None)
    found = [_entry(plugin, cohort, request) for plugin in chosen.models]
    if as_json:
        say(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for entry in found:
            _print(entry, say)
    return 2 if any("error" in entry for entry in found) else 0


def _study(cohort: Cohort, wanted: str | None) -> Request:
    if wanted is None:
        return cohort.test[0].request
    requests = {study.study_id: study.request for study in cohort.test}
    if wanted not in requests:
        near = did_you_mean(wanted, requests) or f" The first is {cohort.test[0].study_id}."
        raise ReportCardError(f"{cohort.name} has no study {wanted}.{near}")
    return requests[wanted]


def _entry(plugin: Plugin, cohort: Cohort, request: Request) -> Json:
    """Return what one model is given, or its error, which does not stop the others."""
    entry: Json = {"model": plugin.label, "dataset": cohort.name, "study": request.study_id}
    try:
        # Built without its fingerprint, which would read all weights to digest them.
        adapter = registry.models.build(plugin.plugin, plugin.options, plugin.label)
        return {**entry, **shown(adapter, request)}
    except Exception as error:  # an adapter may raise anything
        return {**entry, "error": explain(error, quote=True)}


def shown(adapter: ModelAdapter, request: Request) -> Json:
    """Return what a model is given for a request, as JSON. Raises what `prompt` raises."""
    own = getattr(adapter, "shown", None)
    if own is not None:
        return dict(own(request))
    if not isinstance(adapter, StagedAdapter):
        return {"takes_no_prompt": "it takes no prompt", "inputs": list(adapter.card.inputs)}
    prompt = adapter.prompt(request)
    found: Json = {
        "images": [_image(image) for image in prompt.images],
        "used": list(prompt.used),
        "left_out": dict(prompt.left_out),
        "prompt": prompt.text,
        "max_new_tokens": prompt.max_new_tokens,
    }
    if prompt.ids is not None:
        return {**found, "token_ids": list(prompt.ids)}
    reason = missing(adapter) or "this adapter gives none before its weights are loaded"
    return {**found, "token_ids": None, "no_token_ids": reason}


def _image(image: Image) -> Json:
    return {"image": image.image_id, "view": image.view, "here": image.available}


def _print(entry: Json, say: Say) -> None:
    say(f"{entry['model']} on {entry['dataset']}, study {entry['study']}")
    if "error" in entry:
        say(f"  cannot be asked: {entry['error']}\n")
        return
    for key, value in entry.items():
        if key not in ("model", "dataset", "study", "prompt"):
            for line in _lines(key, value):
                say(f"  {line}")
    if "prompt" in entry:
        # Verbatim and between rules, so that spaces at either end and empty lines are visible.
        say(f"  prompt, {len(entry['prompt']):,} characters between the rules:")
        say(f"{'─' * 8}\n{entry['prompt']}\n{'─' * 8}")
    say("")


def _lines(key: str, value: Any) -> list[str]:
    name = key.replace("_", " ")
    if key == "images":
        views = [f"{i['view']} {i['image']}{'' if i['here'] else ' (absent)'}" for i in value]
        return [f"image {n}: {text}" for n, text in enumerate(views, start=1)] or ["images: none"]
    if key == "takes_no_prompt":
        return [str(value)]
    if isinstance(value, dict):
        return [f"{name}: {k}: {v}" for k, v in value.items()]
    if key == "token_ids":
        return [f"{len(value)} token ids: {' '.join(map(str, value))}"] if value else []
    if isinstance(value, list):
        return [f"{name}: {', '.join(map(str, value)) or 'none'}"]
    return [f"{name}: {value}"]
