"""Runs CheXagent-2, whose tokenizer reads the images from paths in the text.

Without the tokenizer's `from_list_format` the model would write a fluent report of no image, so a
checkpoint without it is refused. Upstream drops the last token of every answer; here it is dropped
only if it is the end token.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def load(settings: dict[str, Any]) -> tuple[Any, ...]:
    weights = settings["weights"]
    tokenizer = AutoTokenizer.from_pretrained(weights, trust_remote_code=True)
    if not hasattr(tokenizer, "from_list_format"):
        raise RuntimeError("the tokenizer has no from_list_format: not a CheXagent-2 checkpoint")
    model = AutoModelForCausalLM.from_pretrained(weights, trust_remote_code=True)
    model = model.to(getattr(torch, settings["dtype"])).to(settings["device"]).eval()
    return tokenizer, model, settings


def answer(state: tuple[Any, ...], tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_one(state, task) for task in tasks]


@torch.inference_mode()
def _one(state: tuple[Any, ...], task: dict[str, Any]) -> dict[str, Any]:
    tokenizer, model, settings = state
    parts = [{"image": path} for path in task["images"]] + [{"text": task["prompt"]}]
    turns = [
        {"from": "system", "value": "You are a helpful assistant."},
        {"from": "human", "value": tokenizer.from_list_format(parts)},
    ]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")
    output = model.generate(
        ids.to(settings["device"]),
        do_sample=False,
        num_beams=1,
        use_cache=True,
        max_new_tokens=settings["max_new_tokens"],
    )[0]
    new = output[ids.size(1) :].tolist()
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends, tokenizer.eos_token_id]
    finished = bool(new) and (new[-1] in ends or len(new) < settings["max_new_tokens"])
    text = tokenizer.decode(new[:-1] if finished and new[-1] in ends else new)
    boxes = [part["box"] for part in tokenizer.to_list_format(text) if "box" in part]
    return {
        "text": text,
        "boxes": boxes,
        "finished": finished,
        "tokens_in": int(ids.size(1)),
        "tokens_out": len(new),
    }
