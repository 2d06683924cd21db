"""A published chat model out of its folder: processor, weights, and when its answer ends.

Only classes of transformers itself: code in a checkpoint is never run, nor asked about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from reportcard.api import ReportCardError
from reportcard.core.files import read_json
from reportcard.models.staged import Prepared, StagedAdapter, resolved_dtype

PROMPT_TOKENS = 4096  # allowed for one request, images and text
LOCAL: Mapping[str, Any] = {"trust_remote_code": False, "local_files_only": True}


@dataclass(frozen=True, slots=True)
class Answer:
    """Ids up to the end, whether there was one, and the length of the prompt without padding."""

    ids: tuple[int, ...]
    finished: bool
    tokens_in: int


def model_type(folder: Path) -> str:
    """As config.json names the architecture: gemma3, qwen2_5_vl, …"""
    return str(read_json(folder / "config.json").get("model_type", ""))


def check(folder: Path, adapter: StagedAdapter) -> None:
    """What can be known before the weights are read. Raises ReportCardError.

    Gemma 3 overflows float16: empty or NaN answers (huggingface/transformers#36822).
    """
    from reportcard.model_adapters._torch import device_of

    device_of(adapter)
    if resolved_dtype(adapter) == "float16" and model_type(folder).startswith("gemma3"):
        raise ReportCardError(
            "Gemma 3 overflows in float16 and answers with nothing: say model.dtype=bfloat16, or"
            " float32 on a GPU without bfloat16 (V100, T4)."
        )
    processor_of(folder)


def memory(folder: Path, adapter: StagedAdapter) -> str | None:
    """A sentence when weights and one batch would not fit on the GPU."""
    from reportcard.model_adapters._torch import checked_memory

    dtype = resolved_dtype(adapter)
    tokens = PROMPT_TOKENS + (adapter.max_new_tokens or 0)
    return checked_memory(
        adapter, _weight_bytes(folder, dtype), _bytes_per_token(folder, dtype), tokens
    )


def _weight_bytes(folder: Path, dtype: str) -> int:
    """Bytes of the parameters once they are held in `dtype`."""
    from reportcard.models.checkpoints import safetensors_shapes

    width = 4 if dtype == "float32" else 2
    total = 0
    for path in folder.glob("*.safetensors"):
        for shape in safetensors_shapes(path).values():
            size = width
            for side in shape:
                size *= side
            total += size
    return total


def _bytes_per_token(folder: Path, dtype: str) -> int:
    """Bytes of keys and values of a token, out of config.json; 0 where it does not say."""
    config = read_json(folder / "config.json")
    text = config.get("text_config") or config
    try:
        layers, heads = int(text["num_hidden_layers"]), int(text["num_attention_heads"])
        pairs = int(text.get("num_key_value_heads") or heads)
        width = int(text.get("head_dim") or int(text["hidden_size"]) // heads)
    except (KeyError, TypeError, ValueError):
        return 0
    return 2 * layers * pairs * width * (4 if dtype == "float32" else 2)


@cache
def processor_of(folder: Path) -> Any:
    """Tokenizer and image processor of a folder, the latter always on PIL.

    transformers takes torchvision where it is installed, which scales to other pixels, and asks
    for it where a model also takes videos. So the video part is left out. Raises ReportCardError.
    """
    from transformers import AutoConfig
    from transformers.models.auto.processing_auto import (
        PROCESSOR_MAPPING,
        processor_class_from_name,
    )

    from reportcard.model_adapters._torch import quiet

    try:
        with quiet():
            named = _processor_class(folder)
            published = processor_class_from_name(named) if named else None
            if published is None:
                published = PROCESSOR_MAPPING[type(AutoConfig.from_pretrained(folder, **LOCAL))]
            made = _images_only(published).from_pretrained(folder, backend="pil", **LOCAL)
    except Exception as error:  # of many kinds: a missing package, file, field or class
        said = " ".join(str(error).split())[:300]
        raise ReportCardError(
            f"model.weights: {folder} has no processor for images and text that transformers can"
            f" build here: {type(error).__name__}: {said}"
        ) from None
    if not made.chat_template and not made.tokenizer.chat_template:
        raise ReportCardError(
            f"model.weights: {folder} has no chat template (chat_template.jinja, or in"
            " tokenizer_config.json): it is no chat model, or half a download."
        )
    made.tokenizer.padding_side = "left"
    if made.tokenizer.pad_token is None:
        made.tokenizer.pad_token = made.tokenizer.eos_token
    return made


def processor_options(processor: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Padding, and the preset's options; min_pixels and max_pixels, as Qwen's papers name them, are
    the edges of `size` in transformers from 5.23 on."""
    found = {"padding": True, **options}
    edges = {"shortest_edge": "min_pixels", "longest_edge": "max_pixels"}
    if any(name in options for name in edges.values()):
        size = processor.image_processor.size
        found["size"] = {edge: found.pop(name, None) or size[edge] for edge, name in edges.items()}
    return found


def _processor_class(folder: Path) -> str | None:
    for name in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        if (folder / name).is_file() and (found := read_json(folder / name).get("processor_class")):
            return str(found)
    return None


def _images_only(published: Any) -> Any:
    """The processor without its last part, videos. Their arguments follow images and text."""
    attributes = published.get_attributes()
    if attributes[-1:] != ["video_processor"]:
        return published
    kept = classmethod(lambda cls: attributes[:-1])
    return type(published.__name__, (published,), {"get_attributes": kept})


def load_model(folder: Path, adapter: StagedAdapter) -> tuple[Any, tuple[int, ...]]:
    """The model on its device, and the ids that end an answer: those of the checkpoint's
    generation_config and the tokenizer's. All else of generation_config (sampling, penalties,
    lengths) is dropped. Raises ReportCardError unless every tensor is there and fits."""
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        GenerationConfig,
    )
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as NAMES,
    )

    from reportcard.model_adapters._torch import check_rotary, device_of, dtype_of, quiet

    auto = AutoModelForImageTextToText if model_type(folder) in NAMES else AutoModelForCausalLM
    try:
        with quiet():
            model, info = auto.from_pretrained(
                folder,
                dtype=dtype_of(adapter),
                use_safetensors=True,
                output_loading_info=True,
                **LOCAL,
            )
    except (RuntimeError, ValueError, OSError, ImportError, KeyError) as error:
        said = " ".join(str(error).split())[:300]
        raise ReportCardError(f"model.weights: {folder} cannot be loaded: {said}") from None
    problems = {kind: sorted(map(str, keys)) for kind, keys in info.items() if keys}
    if problems:
        said = "; ".join(f"{len(k)} {kind}: {', '.join(k[:3])}" for kind, k in problems.items())
        raise ReportCardError(f"model.weights: {folder} is not a whole checkpoint: {said}.")
    check_rotary(model, "model.weights")
    ends = model.generation_config.eos_token_id
    ends = list(ends) if isinstance(ends, list | tuple) else [ends]
    ends.append(processor_of(folder).tokenizer.eos_token_id)
    model.generation_config = GenerationConfig()
    known = tuple(dict.fromkeys(end for end in ends if end is not None))
    return model.eval().to(device_of(adapter)), known


def answers(
    adapter: StagedAdapter,
    model: Any,
    inputs: Any,
    batch: Sequence[Prepared],
    ends: Sequence[int],
    tokenizer: Any,
) -> list[Answer]:
    """Generate for what the processor made of a batch. Raises ReportCardError where it padded on
    the right, which answers another question for all rows but the longest, or doubled bos."""
    import torch
    from transformers import LogitsProcessorList

    from reportcard.model_adapters._torch import SeededSampling, cache_of

    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    if not bool(mask[:, -1].all()):
        raise ReportCardError("the checkpoint's processor pads on the right; it cannot be batched.")
    for row, real in zip(ids.tolist(), mask.sum(1).tolist(), strict=True):
        if row[len(row) - real :][:2] == [tokenizer.bos_token_id] * 2:
            raise ReportCardError("the chat template and the tokenizer both put bos at the start.")
    processors = LogitsProcessorList()
    if adapter.sampling:
        processors.append(SeededSampling(adapter.sampling, batch))
    with torch.inference_mode():
        found = model.generate(
            **inputs.to(model.device, dtype=model.dtype),
            do_sample=False,
            num_beams=1,
            max_new_tokens=adapter.max_new_tokens,
            eos_token_id=list(ends),
            pad_token_id=tokenizer.pad_token_id,
            logits_processor=processors,
            cache_implementation=cache_of(adapter),
        )
    return [
        _answer(row, set(ends), int(real))
        for row, real in zip(found[:, ids.shape[1] :].tolist(), mask.sum(1), strict=True)
    ]


def _answer(ids: list[int], ends: set[int], tokens_in: int) -> Answer:
    end = next((n for n, token in enumerate(ids) if token in ends), None)
    return Answer(tuple(ids[:end]), end is not None, tokens_in)
