"""Runs Libra with its own package: a current and a prior frontal image, always two.

Without a prior, the current image is shown twice, as upstream does. All decoding options are given
here, because upstream's single and batched scripts have not always agreed on no_repeat_ngram_size.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from PIL import Image


def load(settings: dict[str, Any]) -> tuple[Any, ...]:
    sys.path.insert(0, settings["code"])
    if not settings["device"].startswith("cuda"):
        raise RuntimeError("Libra's package calls .cuda() itself: it needs a GPU")
    from libra.eval.run_libra import load_model

    tokenizer, model, processor, _ = load_model(settings["weights"], None)
    model = model.to(getattr(torch, settings["dtype"])).eval()
    return tokenizer, model, processor, settings


def answer(state: tuple[Any, ...], tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_one(state, task) for task in tasks]


@torch.inference_mode()
def _one(state: tuple[Any, ...], task: dict[str, Any]) -> dict[str, Any]:
    from libra.constants import DEFAULT_IMAGE_TOKEN, IMAGE_TOKEN_INDEX
    from libra.conversation import conv_templates
    from libra.mm_utils import process_images, tokenizer_image_token

    tokenizer, model, processor, settings = state
    talk = conv_templates[settings["conversation"]].copy()
    talk.append_message(talk.roles[0], DEFAULT_IMAGE_TOKEN + "\n" + task["prompt"])
    talk.append_message(talk.roles[1], None)
    prompt = talk.get_prompt()
    ids = tokenizer_image_token(prompt, tokenizer, IMAGE_TOKEN_INDEX, return_tensors="pt")
    ids = ids.unsqueeze(0).to(model.device)
    both = (task["images"] * 2)[:2]
    pixels = [
        process_images([Image.open(path).convert("RGB")], processor, model.config)[0]
        for path in both
    ]
    pixels = [p.to(model.device, next(model.parameters()).dtype)[None] for p in pixels]
    output = model.generate(
        input_ids=ids,
        images=torch.stack(pixels),
        attention_mask=torch.ones_like(ids),
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
        num_beams=settings["num_beams"],
        no_repeat_ngram_size=settings["no_repeat_ngram_size"],
        max_new_tokens=settings["max_new_tokens"],
        use_cache=True,
    )[0].tolist()
    new = output[ids.shape[1] :] if output[: ids.shape[1]] == ids[0].tolist() else output
    return {
        "text": tokenizer.decode(new, skip_special_tokens=True).strip(),
        "finished": len(new) < settings["max_new_tokens"],
        "tokens_in": int(ids.shape[1]),
        "tokens_out": len(new),
    }
