"""Runs R2Gen with its own code; the vocabulary is rebuilt from its training's annotation file.

The arguments are the defaults of main_test.py with those of test_<dataset>.sh. A vocabulary of
another size than the checkpoint's is refused, because every word would be a wrong one.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

import torch
from PIL import Image
from torchvision import transforms

SHARED = {
    "visual_extractor": "resnet101",
    "visual_extractor_pretrained": False,  # the checkpoint holds them
    "d_model": 512,
    "d_ff": 512,
    "d_vf": 2048,
    "num_heads": 8,
    "num_layers": 3,
    "dropout": 0.1,
    "logit_layers": 1,
    "bos_idx": 0,
    "eos_idx": 0,
    "pad_idx": 0,
    "use_bn": 0,
    "drop_prob_lm": 0.5,
    "rm_num_slots": 3,
    "rm_num_heads": 8,
    "rm_d_model": 512,
    "sample_method": "beam_search",
    "temperature": 1.0,
    "sample_n": 1,
    "group_size": 1,
    "output_logsoftmax": 1,
    "decoding_constraint": 0,
    "block_trigrams": 1,
}
TRANSFORM = transforms.Compose(
    [
        transforms.Resize((224, 224)),  # without keeping the aspect ratio, as upstream
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
)


def load(settings: dict[str, Any]) -> tuple[Any, ...]:
    sys.path.insert(0, settings["code"])
    from models.r2gen import R2GenModel
    from modules.tokenizers import Tokenizer

    args = Namespace(
        ann_path=settings["annotation"],
        dataset_name=settings["trained_on"],
        threshold=settings["threshold"],
        max_seq_length=settings["max_new_tokens"],
        beam_size=settings["beam_size"],
        **SHARED,
    )
    tokenizer = Tokenizer(args)
    model = R2GenModel(args, tokenizer)
    path = settings["weights"] + "/" + settings["checkpoint"]
    state = torch.load(path, map_location="cpu")["state_dict"]
    words, known = len(tokenizer.idx2token), state["encoder_decoder.logit.weight"].shape[0] - 1
    if words != known:
        raise RuntimeError(
            f"the annotation file makes a vocabulary of {words} words and the checkpoint has"
            f" {known}: it is not the file that the model was trained on"
        )
    model.load_state_dict(state)
    return model.to(settings["device"]).eval(), tokenizer, settings


def answer(state: tuple[Any, ...], tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    model, tokenizer, settings = state
    found = []
    for task in tasks:
        tensors = [TRANSFORM(Image.open(path).convert("RGB")) for path in task["images"]]
        pixels = (
            torch.stack(tensors)[None] if settings["trained_on"] == "iu_xray" else tensors[0][None]
        )
        with torch.no_grad():
            ids = model(pixels.to(settings["device"]), mode="sample").cpu().numpy()
        length = int((ids[0] > 0).sum())
        text = tokenizer.decode_batch(ids)[0]
        finished = length < settings["max_new_tokens"]
        found.append({"text": text, "finished": finished, "tokens_out": length})
    return found
