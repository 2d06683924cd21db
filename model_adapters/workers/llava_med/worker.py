"""Runs LLaVA-Med v1.5 with its own `llava` package, one study at a time as upstream does.

Its vision encoder may stay unloaded without an error (MedEvalKit issue 13), so it is checked before
the first answer.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from PIL import Image


def load(settings: dict[str, Any]) -> tuple[Any, ...]:
    sys.path.insert(0, settings["code"])
    from llava.mm_utils import get_model_name_from_path
    from llava.model.builder import load_pretrained_model

    weights = settings["weights"]
    name = settings["model_name"] or get_model_name_from_path(weights)
    tokenizer, model, processor, _ = load_pretrained_model(
        weights, None, name, device=settings["device"]
    )
    tower = model.get_vision_tower()
    if not tower.is_loaded or not any(p.abs().sum() > 0 for p in tower.parameters()):
        raise RuntimeError("the vision encoder is not loaded: the model would answer blind")
    model = model.to(getattr(torch, settings["dtype"])).eval()
    return tokenizer, model, processor, settings


def answer(state: tuple[Any, ...], tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_one(state, task) for task in tasks]


@torch.inference_mode()
def _one(state: tuple[Any, ...], task: dict[str, Any]) -> dict[str, Any]:
    from llava.constants import DEFAULT_IMAGE_TOKEN, IMAGE_TOKEN_INDEX
    from llava.conversation import conv_templates
    from llava.mm_utils import process_images, tokenizer_image_token

    tokenizer, model, processor, settings = state
    image = Image.open(task["images"][0]).convert("RGB")
    pixels = process_images([image], processor, model.config)[0].unsqueeze(0)
    talk = conv_templates["mistral_instruct"].copy()
    talk.append_message(talk.roles[0], DEFAULT_IMAGE_TOKEN + "\n" + task["prompt"])
    talk.append_message(talk.roles[1], None)
    prompt = talk.get_prompt()
    ids = tokenizer_image_token(prompt, tokenizer, IMAGE_TOKEN_INDEX, return_tensors="pt")
    output = model.generate(
        ids.unsqueeze(0).to(model.device),
        images=pixels.to(model.device, next(model.parameters()).dtype),
        do_sample=False,
        num_beams=1,
        max_new_tokens=settings["max_new_tokens"],
        use_cache=True,
    )[0].tolist()
    return {
        "text": tokenizer.decode(output, skip_special_tokens=True).strip(),
        "finished": len(output) < settings["max_new_tokens"],
        "tokens_out": len(output),
    }
