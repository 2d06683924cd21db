"""Runs RaDialog v2 with its LLaVA fork, one study at a time.

The pre-processing is BioViL-T's: grey values are stretched to 0..255, the short side is scaled to
512, and the centre of 448 is cropped. The prompt already contains the classifier's findings.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from PIL import Image


def load(settings: dict[str, Any]) -> tuple[Any, ...]:
    sys.path.insert(0, settings["code"])
    from LLAVA_Biovil.llava.mm_utils import get_model_name_from_path
    from LLAVA_Biovil.llava.model.builder import load_pretrained_model

    weights = settings["weights"]
    name = settings["model_name"] or get_model_name_from_path(weights)
    tokenizer, model, _, _ = load_pretrained_model(weights, None, name, device=settings["device"])
    return tokenizer, model.to(getattr(torch, settings["dtype"])).eval(), settings


def answer(state: tuple[Any, ...], tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_one(state, task) for task in tasks]


@torch.inference_mode()
def _one(state: tuple[Any, ...], task: dict[str, Any]) -> dict[str, Any]:
    from LLAVA_Biovil.llava.constants import IMAGE_TOKEN_INDEX
    from LLAVA_Biovil.llava.conversation import conv_vicuna_v1
    from LLAVA_Biovil.llava.mm_utils import tokenizer_image_token

    tokenizer, model, settings = state
    talk = conv_vicuna_v1.copy()
    talk.append_message("USER", task["prompt"])
    talk.append_message("ASSISTANT", None)
    ids = tokenizer_image_token(
        talk.get_prompt(), tokenizer, IMAGE_TOKEN_INDEX, return_tensors="pt"
    )[None].to(model.device)
    pixels = _pixels(task["images"][0]).to(model.device, next(model.parameters()).dtype)
    output = model.generate(
        ids,
        images=pixels[None],
        do_sample=False,
        use_cache=True,
        max_new_tokens=settings["max_new_tokens"],
        pad_token_id=tokenizer.pad_token_id,
    )[0].tolist()
    new = output[ids.shape[1] :] if output[: ids.shape[1]] == ids[0].tolist() else output
    return {
        "text": tokenizer.decode(new, skip_special_tokens=True).strip(),
        "finished": len(new) < settings["max_new_tokens"],
        "tokens_out": len(new),
    }


def _pixels(path: str) -> torch.Tensor:
    grey = np.array(Image.open(path).convert("L")).astype(np.float32)
    grey = (grey - grey.min()) / max(float(grey.max() - grey.min()), 1e-6) * 255
    image = Image.fromarray(grey.astype(np.uint8))
    scale = 512 / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BILINEAR)
    left, top = ((side - 448) // 2 for side in image.size)
    cut = np.array(image.crop((left, top, left + 448, top + 448)), dtype=np.float32) / 255
    return torch.from_numpy(cut).expand(3, -1, -1)
