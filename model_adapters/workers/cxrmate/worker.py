"""Runs the CXRMate family with the checkpoints' own code, one study at a time.

style   rrg24           generate(pixel_values), sections split by the model
        tf              single_tf and multi_tf: the separator token is given by hand
        longitudinal    cxrmate: the prior report as prompt tokens before the report
        two             cxrmate-2: a processor does all
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from PIL import Image
from torchvision.transforms import v2


def load(settings: dict[str, Any]) -> tuple[Any, ...]:
    import transformers

    weights, remote = settings["weights"], {"trust_remote_code": True}
    if settings["style"] == "two":
        model = transformers.AutoModelForCausalLM.from_pretrained(weights, **remote)
        tool = transformers.AutoProcessor.from_pretrained(weights, **remote)
    else:
        model = transformers.AutoModel.from_pretrained(weights, **remote)
        tool = transformers.AutoTokenizer.from_pretrained(weights, **remote)
    model = model.to(getattr(torch, settings["dtype"])).to(settings["device"]).eval()
    return model, tool, settings


def answer(state: tuple[Any, ...], tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_one(state, task) for task in tasks]


@torch.inference_mode()
def _one(state: tuple[Any, ...], task: dict[str, Any]) -> dict[str, Any]:
    model, tool, settings = state
    images = [Image.open(path).convert("RGB") for path in task["images"]]
    if settings["style"] == "two":
        return _two(model, tool, settings, images)
    pixels = torch.stack([_transform(model.config.encoder)(image) for image in images])[None]
    pixels = pixels.to(model.device, next(model.parameters()).dtype)
    limit = {"max_length": settings["max_new_tokens"], "num_beams": settings["num_beams"]}
    tokens = {
        "bos_token_id": tool.bos_token_id,
        "eos_token_id": tool.eos_token_id,
        "pad_token_id": tool.pad_token_id,
    }
    ends = [tool.sep_token_id, tool.eos_token_id]
    if settings["style"] == "rrg24":
        absent = tool.convert_tokens_to_ids(["[NF]", "[NI]"])  # "no findings", "no impression"
        words = [[token] for token in absent]
        ids = model.generate(pixel_values=pixels, bad_words_ids=words, **limit)
        findings, impression = model.split_and_decode_sections(ids, tool)
    elif settings["style"] == "tf":
        ids = model.generate(
            pixel_values=pixels, special_token_ids=[tool.sep_token_id], **tokens, **limit
        )
        findings, impression = model.split_and_decode_sections(ids, ends, tool)
    else:
        prior = {
            "previous_findings": [task["prior_findings"]],
            "previous_impression": [task["prior_impression"]],
            "tokenizer": tool,
            "max_len": 256,
            "add_bos_token_id": True,
        }
        takes = inspect.signature(model.tokenize_prompt).parameters
        prompt = model.tokenize_prompt(**{k: v for k, v in prior.items() if k in takes})
        middle = tool.convert_tokens_to_ids("[PMT-SEP]")
        start = prompt["input_ids"].to(model.device)
        ids = model.generate(
            pixel_values=pixels,
            decoder_input_ids=start,
            special_token_ids=[middle, tool.bos_token_id, tool.sep_token_id],
            mask_token_id=tool.pad_token_id,
            **dict(tokens, **dict(limit, max_length=limit["max_length"] + start.shape[1])),
        )
        _, findings, impression = model.split_and_decode_sections(
            ids, [tool.bos_token_id, *ends], tool
        )
    return _answer(findings, impression, tool.eos_token_id in ids[0].tolist(), ids.shape[1])


def _two(
    model: Any, tool: Any, settings: dict[str, Any], images: list[Image.Image]
) -> dict[str, Any]:
    from transformers import GenerationConfig

    config = GenerationConfig.from_pretrained(settings["weights"], trust_remote_code=True)
    config.max_new_tokens = settings["max_new_tokens"]
    given = tool(images=images).to(model.device)
    ids = model.generate(**given, generation_config=config)
    findings, impression = tool.split_and_decode_sections(ids)
    return _answer(findings, impression, tool.tokenizer.eos_token_id in ids[0].tolist(), None)


def _answer(
    findings: list[str], impression: list[str], finished: bool, length: int | None
) -> dict[str, Any]:
    return {
        "text": (findings[0] + "\n" + impression[0]).strip(),
        "findings": findings[0],
        "impression": impression[0],
        "finished": finished,
        "tokens_out": length,
    }


def _transform(encoder: Any) -> Any:
    size = encoder.image_size
    size = size[0] if isinstance(size, (list, tuple)) else size
    return v2.Compose(
        [
            v2.PILToTensor(),
            v2.Grayscale(num_output_channels=3),
            v2.Resize(size=size, antialias=True),
            v2.CenterCrop(size=[size, size]),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=encoder.image_mean, std=encoder.image_std),
        ]
    )
