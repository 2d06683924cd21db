"""Opens a published chat model from its folder: the processor, the weights, the end tokens.

It uses only classes of transformers itself and never runs code from a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from reportcard.api import ReportCardError
from reportcard.core.files import read_json
from reportcard.core.model_answer import is_mark
from reportcard.models.staged import Prepared, StagedAdapter, resolved_dtype

PROMPT_TOKENS = 4096  # allowed for one request, images and text
LOCAL: Mapping[str, Any] = {"trust_remote_code": False, "local_files_only": True}


@dataclass(frozen=True, slots=True)
class GeneratedIds:
    """GeneratedIds holds an answer's ids, whether it ended by itself, and the prompt's length."""

    ids: tuple[int, ...]
    finished: bool
    tokens_in: int


def model_type(folder: Path) -> str:
    """Return the architecture's name in config.json: gemma3, qwen2_5_vl, …"""
    return str(read_json(folder / "config.json").get("model_type", ""))


def check(folder: Path, adapter: StagedAdapter) -> None:
    """Raise ReportCardError if device, dtype or processor do not fit; the weights are not read.

    Gemma 3 overflows float16: empty or NaN answers (huggingface/transformers#36822).
    """
    from reportcard.model_adapters._shared.torch_runtime import device_of

    device_of(adapter)
    if resolved_dtype(adapter) == "float16" and model_type(folder).startswith("gemma3"):
        raise ReportCardError(
            "Gemma 3 overflows in float16 and answers with nothing: say model.dtype=bfloat16, or"
            " float32 on a GPU without bfloat16 (V100, T4)."
        )
    processor_of(folder)


def memory_problem(folder: Path, adapter: StagedAdapter) -> str | None:
    """Return a sentence if the weights and one batch do not fit on the GPU, else None."""
    from reportcard.model_adapters._shared.torch_runtime import gpu_memory_problem

    dtype = resolved_dtype(adapter)
    tokens = PROMPT_TOKENS + (adapter.max_new_tokens or 0)
    return gpu_memory_problem(
        adapter, _weight_bytes(folder, dtype), _bytes_per_token(folder, dtype), tokens
    )


def _weight_bytes(folder: Path, dtype: str) -> int:
    """Return the size of the parameters in `dtype`, in bytes."""
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
    """Return the size of one token's keys and values in bytes; 0 if config.json does not say."""
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
    """Open tokenizer and image processor of a folder, the latter always on PIL.

    transformers would use torchvision if it is installed, which gives other pixels, and requires it
    for models that also take videos. So the video part is left out. Raises ReportCardError.
    """
    from transformers import AutoConfig
    from transformers.models.auto.processing_auto import (
        PROCESSOR_MAPPING,
        processor_class_from_name,
    )

    from reportcard.model_adapters._shared.torch_runtime import quiet_transformers

    try:
        with quiet_transformers():
            named = _processor_class(folder)
            published = processor_class_from_name(named) if named else None
            if published is None:
                published = PROCESSOR_MAPPING[type(AutoConfig.from_pretrained(folder, **LOCAL))]
            made = _images_only(published).from_pretrained(folder, backend="pil", **LOCAL)
    except Exception as error:  # a missing package, file, field or class: many types
        said = " ".join(str(error).split())[:300]
        raise ReportCardError(
            f"model.weights: {folder} has no processor for images and text that transformers can"
            f" build here: {type(error).__name__}: {said}"
        ) from None
    if not made.chat_template and not made.tokenizer.chat_template:
        raise ReportCardError(
            f"model.weights: {folder} has no chat template (chat_template.jinja, or in"
            " tokenizer_config.json): it is not a chat model, or the download is incomplete."
        )
    made.tokenizer.padding_side = "left"
    if made.tokenizer.pad_token is None:
        made.tokenizer.pad_token = made.tokenizer.eos_token
    return made


def processor_options(processor: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the processor's options: padding, and those of the preset.

    min_pixels and max_pixels, which Qwen's papers name, are the edges of `size` in transformers
    from 5.23 on.
    """
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
    """Return the processor class without its last part, videos, whose arguments come last."""
    attributes = published.get_attributes()
    if attributes[-1:] != ["video_processor"]:
        return published
    kept = classmethod(lambda cls: attributes[:-1])
    return type(published.__name__, (published,), {"get_attributes": kept})


def load_model(folder: Path, adapter: StagedAdapter) -> tuple[Any, tuple[int, ...]]:
    """Load the model on its device; return it with the ids that end an answer.

    These ids are the tokenizer's and those of the checkpoint's generation_config, whose other
    fields (sampling, penalties, lengths) are not used. Raises ReportCardError unless every tensor
    is there and fits.
    """
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        GenerationConfig,
    )
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as NAMES,
    )

    from reportcard.model_adapters._shared.torch_runtime import (
        check_rotary,
        device_of,
        dtype_of,
        quiet_transformers,
    )

    auto = AutoModelForImageTextToText if model_type(folder) in NAMES else AutoModelForCausalLM
    try:
        with quiet_transformers():
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


def generate_answers(
    adapter: StagedAdapter,
    model: Any,
    inputs: Any,
    batch: Sequence[Prepared],
    ends: Sequence[int],
    tokenizer: Any,
) -> list[GeneratedIds]:
    """Generate answers for a batch that the processor prepared.

    Args:
        adapter: the model's settings.
        model: the model.
        inputs: the output of the processor.
        batch: the requests.
        ends: the ids that end an answer.
        tokenizer: the processor's tokenizer.

    Raises ReportCardError if the processor padded on the right, which changes the answer of all
    rows but the longest, or put bos twice.
    """
    import torch
    from transformers import LogitsProcessorList

    from reportcard.model_adapters._shared.torch_runtime import SeededSampling, cache_implementation

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
            cache_implementation=cache_implementation(adapter),
        )
    return [
        _generated(row, set(ends), int(real))
        for row, real in zip(found[:, ids.shape[1] :].tolist(), mask.sum(1), strict=True)
    ]


def _generated(ids: list[int], ends: set[int], tokens_in: int) -> GeneratedIds:
    end = next((n for n, token in enumerate(ids) if token in ends), None)
    return GeneratedIds(tuple(ids[:end]), end is not None, tokens_in)


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """Return the text of an answer without special tokens, but with those that mark thoughts.

    Magistral's [THINK] is one: without it nobody could tell its thoughts from its answer.
    """
    added = tokenizer.added_tokens_decoder.items()
    marks = {i: t.content for i, t in added if t.special and is_mark(t.content)}
    if marks.keys().isdisjoint(ids):
        return str(tokenizer.decode(ids, skip_special_tokens=True))
    pieces = [
        "".join(marks[i] for i in run) if mark else tokenizer.decode(run, skip_special_tokens=True)
        for mark, run in ((k, list(group)) for k, group in groupby(ids, marks.__contains__))
    ]
    return "".join(pieces)
