"""Tiny random chat models with images, saved as transformers saves the published ones.

Names of classes, files and config fields are those of llava-hf/llava-1.5-7b-hf, google/medgemma-4b,
meta-llama/Llama-3.2-11B-Vision, Qwen/Qwen2.5-VL and llava-hf/llava-onevision; widths are tiny.
`initializer_range` 0.3: with the default a random model repeats one token, and equality proves
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

WORDS = """The lungs are clear. No pleural effusion or pneumothorax. Heart size is normal.
Small left basal opacity, likely atelectasis. Findings: Impression: Indication: chest pain, cough.
Write an example findings section for the CXR. Describe the findings of this chest X-ray.
""".splitlines()

SPECIAL = {
    "llava": "<unk> <s> </s> <pad> <image>",
    "gemma3": "<pad> <eos> <bos> <unk> <start_of_turn> <end_of_turn> <start_of_image>"
    " <end_of_image> <image_soft_token>",
    "mllama": "<|begin_of_text|> <|end_of_text|> <|eot_id|> <|finetune_right_pad_id|> <|image|>",
    "qwen2_5_vl": "<|endoftext|> <|im_start|> <|im_end|> <|vision_start|> <|vision_end|>"
    " <|image_pad|> <|video_pad|>",
    "llava_onevision": "<|endoftext|> <|im_start|> <|im_end|> <image> <video>",
}
VISION = "<|vision_start|><|image_pad|><|vision_end|>"
# bos, eos, pad, the mark of an image
ROLES = {
    "llava": ("<s>", "</s>", "<pad>", "<image>"),
    "gemma3": ("<bos>", "<eos>", "<pad>", "<start_of_image>"),
    "mllama": ("<|begin_of_text|>", "<|eot_id|>", "<|finetune_right_pad_id|>", "<|image|>"),
    "qwen2_5_vl": (
        None,
        "<|im_end|>",
        "<|endoftext|>",
        VISION,
    ),
    "llava_onevision": (None, "<|im_end|>", "<|endoftext|>", "<image>"),
}


def tokenizer(kind: str, **extra: str) -> Any:
    """A byte-level BPE with the model's own special tokens and its chat template."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL[kind].split(),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(WORDS, trainer)
    bos, eos, pad, _ = ROLES[kind]
    if bos:  # as published: encoding a text puts bos before it
        from tokenizers.processors import TemplateProcessing

        core.post_processor = TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, core.token_to_id(bos))]
        )
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=bos, eos_token=eos, pad_token=pad, **extra
    )
    made.chat_template = template(kind)
    return made


def template(kind: str) -> str:
    """Bos, then role and content of each message, then the assistant's turn."""
    bos, _, _, image = ROLES[kind]
    begin = "{{ bos_token }}" if bos else ""
    return (
        begin + "{% for m in messages %}{{ m['role'] | upper }}: {% for c in m['content'] %}"
        "{% if c['type'] == 'image' %}" + image + "{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
        "{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
    )


LM = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "initializer_range": 0.3,
}


def _ids(made: Any, kind: str) -> dict[str, Any]:
    bos, eos, pad, _ = ROLES[kind]
    ids = made.convert_tokens_to_ids
    return {
        "vocab_size": len(made),
        "bos_token_id": ids(bos) if bos else None,
        "eos_token_id": ids(eos),
        "pad_token_id": ids(pad),
    }


def _save(folder: Path, model: Any, made: Any, kind: str, image: dict[str, Any], rest: Any) -> Path:
    """Weights, generation_config with traps of the published ones, tokenizer, processors."""
    generation = model.generation_config
    generation.do_sample, generation.temperature, generation.top_p = True, 0.7, 0.9
    generation.eos_token_id = [made.convert_tokens_to_ids(ROLES[kind][1])]
    generation.pad_token_id = made.pad_token_id
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(image))
    (folder / "processor_config.json").write_text(json.dumps(rest))
    return folder


def llava(folder: Path) -> Path:
    made = tokenizer("llava", image_token="<image>")
    vision = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        image_size=56, patch_size=14, initializer_range=0.3,
    )  # fmt: skip
    config = transformers.LlavaConfig(
        vision_config=vision,
        text_config=transformers.LlamaConfig(**LM, **_ids(made, "llava")),
        image_token_index=made.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    torch.manual_seed(0)
    image = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 56},
        "crop_size": {"height": 56, "width": 56},
        "do_convert_rgb": True,
    }
    rest = {
        "processor_class": "LlavaProcessor",
        "patch_size": 14,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
        "image_token": "<image>",
    }
    model = transformers.LlavaForConditionalGeneration(config)
    return _save(folder, model, made, "llava", image, rest)


def gemma3(folder: Path) -> Path:
    made = tokenizer(
        "gemma3",
        image_token="<image_soft_token>",
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
    )
    ids = made.convert_tokens_to_ids
    config = transformers.Gemma3Config(
        text_config=transformers.Gemma3TextConfig(
            **LM, **_ids(made, "gemma3"), head_dim=8, sliding_window=64
        ),
        vision_config=transformers.SiglipVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            image_size=56, patch_size=14,
        ),
        mm_tokens_per_image=4,
        boi_token_index=ids("<start_of_image>"),
        eoi_token_index=ids("<end_of_image>"),
        image_token_index=ids("<image_soft_token>"),
        initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    image = {
        "image_processor_type": "Gemma3ImageProcessor",
        "size": {"height": 56, "width": 56},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    rest = {"processor_class": "Gemma3Processor", "image_seq_length": 4}
    model = transformers.Gemma3ForConditionalGeneration(config)
    return _save(folder, model, made, "gemma3", image, rest)


def mllama(folder: Path) -> Path:
    made = tokenizer("mllama")
    vision = transformers.models.mllama.MllamaVisionConfig(
        hidden_size=16, attention_heads=2, num_hidden_layers=2, num_global_layers=1,
        intermediate_size=32, vision_output_dim=32, image_size=56, patch_size=14, max_num_tiles=4,
        intermediate_layers_indices=[0], initializer_range=0.3,
        supported_aspect_ratios=[[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
    )  # fmt: skip
    text = transformers.models.mllama.MllamaTextConfig(
        **{**LM, "num_hidden_layers": 3}, **_ids(made, "mllama"), cross_attention_layers=[1],
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )  # fmt: skip
    config = transformers.MllamaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=made.convert_tokens_to_ids("<|image|>"),
    )
    torch.manual_seed(0)
    model = transformers.MllamaForConditionalGeneration(config)
    for name, parameter in model.named_parameters():  # gates start at zero: images would not count
        if "gate" in name and parameter.numel() == 1:
            parameter.data.fill_(0.7)
    image = {
        "image_processor_type": "MllamaImageProcessor",
        "size": {"height": 56, "width": 56},
        "max_image_tiles": 4,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    return _save(folder, model, made, "mllama", image, {"processor_class": "MllamaProcessor"})


def qwen2_5_vl(folder: Path) -> Path:
    made = tokenizer("qwen2_5_vl", image_token="<|image_pad|>", video_token="<|video_pad|>")
    ids = made.convert_tokens_to_ids
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            **LM, **_ids(made, "qwen2_5_vl"),
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]},
        },
        vision_config={
            "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2,
            "out_hidden_size": 32, "fullatt_block_indexes": [1], "window_size": 56,
            "initializer_range": 0.3,
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )  # fmt: skip
    torch.manual_seed(0)
    image = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "min_pixels": 28 * 28 * 4,
        "max_pixels": 28 * 28 * 16,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
    }
    rest = {"processor_class": "Qwen2_5_VLProcessor"}
    model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    return _save(folder, model, made, "qwen2_5_vl", image, rest)


def llava_onevision(folder: Path) -> Path:
    made = tokenizer("llava_onevision", image_token="<image>", video_token="<video>")
    ids = made.convert_tokens_to_ids
    pinpoints = [[56, 56], [56, 112], [112, 56], [112, 112]]
    config = transformers.LlavaOnevisionConfig(
        vision_config=transformers.SiglipVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            image_size=56, patch_size=14, vision_use_head=False,
        ),
        text_config=transformers.Qwen2Config(**LM, **_ids(made, "llava_onevision")),
        image_token_index=ids("<image>"),
        video_token_index=ids("<video>"),
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-1,
        vision_aspect_ratio="anyres_max_9",
    )  # fmt: skip
    torch.manual_seed(0)
    image = {
        "image_processor_type": "LlavaOnevisionImageProcessor",
        "size": {"height": 56, "width": 56},
        "image_grid_pinpoints": pinpoints,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    rest = {
        "processor_class": "LlavaOnevisionProcessor",
        "num_image_tokens": 16,
        "vision_feature_select_strategy": "full",
        "image_token": "<image>",
        "video_token": "<video>",
        "vision_aspect_ratio": "anyres_max_9",
    }
    model = transformers.LlavaOnevisionForConditionalGeneration(config)
    return _save(folder, model, made, "llava_onevision", image, rest)


WRITERS: dict[str, Callable[[Path], Path]] = {
    f.__name__: f for f in (llava, gemma3, mllama, qwen2_5_vl, llava_onevision)
}
