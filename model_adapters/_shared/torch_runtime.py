"""Runs models with torch: device, loading of weights, memory estimate, sampling, generation.

The ports share one pattern: the vision tower and the projector make embeddings, the prompt's tokens
make embeddings, and `LlamaForCausalLM.generate` continues from both. Only transformers' public API
is used, so that a new version cannot break a port silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from reportcard.api import ReportCardError
from reportcard.models.staged import Completion, Prepared, Sampling, StagedAdapter, resolved_dtype


def device_of(adapter: StagedAdapter) -> torch.device:
    """Return the adapter's device. Raises ReportCardError if this machine does not have it."""
    name = adapter.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ReportCardError(
            f"model.device: there is no device {name!r}; say auto, cpu, cuda or cuda:N."
        ) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ReportCardError(
            "model.device: CUDA is not available here (no NVIDIA GPU, or a torch built without"
            " CUDA). Say model.device=cpu, or leave it to auto."
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ReportCardError(
            f"model.device: there are {torch.cuda.device_count()} GPUs, no {name}."
        )
    return device


def dtype_of(adapter: StagedAdapter) -> torch.dtype:
    """Return the type that the adapter's parameters have on this machine."""
    dtype = getattr(torch, resolved_dtype(adapter))
    assert isinstance(dtype, torch.dtype)
    return dtype


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors, .bin or .pt file; no pickled code is run.

    The file is mapped into memory instead of copied.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        found: dict[str, Tensor] = load_file(path)
        return found
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise ReportCardError(
            f"{path} cannot be read as a checkpoint of plain tensors ({type(error).__name__})."
        ) from None
    return found


def read_shards(folder: Path, patterns: Sequence[str]) -> dict[str, Tensor]:
    """Read the tensors of all files that match the first pattern with a match."""
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if found:
            return {k: v for path in found for k, v in read_tensors(path).items()}
    raise ReportCardError(f"{folder} has none of {', '.join(patterns)}.")


def build_model(
    cls: Any, config: Any, state: Mapping[str, Tensor], dtype: torch.dtype, what: str
) -> Any:
    """Build a model of transformers with exactly these tensors.

    transformers applies the renames that its version needs, and leaves buffers as computed:
    `module.to(bfloat16)` would round RoPE's inv_freq, a phase error of 1.7 rad at position 1,400.

    Args:
        cls: the class of the model.
        config: its config.
        state: its tensors.
        dtype: of the parameters.
        what: the name of the checkpoint in messages.

    Raises ReportCardError for a tensor that is missing, unexpected or of another shape.
    """
    # Tensors of another shape are listed by name below.
    loading = {"dtype": dtype, "output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        with quiet_transformers():
            model, info = cls.from_pretrained(
                None, config=config, state_dict=dict(state), **loading
            )
    except (RuntimeError, ValueError) as error:
        raise ReportCardError(f"{what}: {' '.join(str(error).split())[:300]}") from None
    wrong = info.pop("mismatched_keys")
    info["misshapen"] = [f"{k} is {tuple(a)} and not {tuple(b)}" for k, a, b in wrong]
    problems = {kind: sorted(map(str, keys)) for kind, keys in info.items() if keys}
    if problems:
        said = "; ".join(
            f"{len(keys)} {kind.replace('_', ' ')}: {', '.join(keys[:3])}"
            for kind, keys in problems.items()
        )
        raise ReportCardError(f"{what}: not the checkpoint of this model: {said}.")
    check_rotary(model, what)
    return model.eval()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' load report and progress bars; errors are raised as sentences."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_exactly(module: torch.nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Fill one of our own modules. Raises ReportCardError unless all names and shapes agree."""
    own = module.state_dict()
    wrong = [
        *(f"missing {k}" for k in own.keys() - state.keys()),
        *(f"unexpected {k}" for k in state.keys() - own.keys()),
        *(
            f"{k} is {tuple(state[k].shape)} and not {tuple(own[k].shape)}"
            for k in own.keys() & state.keys()
            if own[k].shape != state[k].shape
        ),
    ]
    if wrong:
        raise ReportCardError(
            f"{what}: not the checkpoint of this model: {len(wrong)} tensors differ,"
            f" {', '.join(sorted(wrong)[:3])}."
        )
    module.load_state_dict(dict(state), strict=True)


def cast_parameters(module: torch.nn.Module, dtype: torch.dtype) -> None:
    """Cast the parameters and leave the buffers alone (see `build_model`)."""
    for parameter in module.parameters():
        parameter.data = parameter.data.to(dtype)


def check_rotary(module: torch.nn.Module, what: str) -> None:
    """Raise ReportCardError if a rotary frequency was rounded to half precision."""
    for name, buffer in module.named_buffers():
        if name.endswith("inv_freq") and buffer.dtype != torch.float32:
            raise ReportCardError(f"{what}: {name} is {buffer.dtype}; RoPE needs float32.")


def memory_problem(weights: int, per_request: int, batch_size: int, free: int) -> str | None:
    """Return a sentence if weights and one batch do not fit on the GPU, else None.

    This is an estimate: weights, KV cache and a tenth on top.

    Args:
        weights: bytes of the weights.
        per_request: bytes of the KV cache of one request.
        batch_size: requests per batch.
        free: free bytes of the GPU.
    """
    if 1.1 * (weights + per_request * batch_size) <= free:
        return None
    gib = 2**30
    fits = int((free / 1.1 - weights) // per_request) if per_request else 0
    if fits < 1:
        return (
            f"the GPU has {free / gib:.1f} GiB free; the weights take {weights / gib:.1f} GiB and"
            f" one study {per_request / gib:.2f} GiB. Use a larger GPU, or model.device=cpu."
        )
    return (
        f"the GPU has {free / gib:.1f} GiB free, too little for model.batch_size={batch_size}:"
        f" model.batch_size={fits} would fit."
    )


def gpu_memory_problem(
    adapter: StagedAdapter, weight_bytes: int, kv_bytes_per_token: int, tokens: int
) -> str | None:
    """Return `memory_problem` for the GPU that the adapter runs on, or None without a GPU.

    Args:
        adapter: the model, whose device and batch_size count.
        weight_bytes: bytes of the weights in their dtype.
        kv_bytes_per_token: 2 · layers · width of the keys · bytes of a number.
        tokens: the length of the longest request with its answer.
    """
    device = device_of(adapter)
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return memory_problem(weight_bytes, kv_bytes_per_token * tokens, adapter.batch_size, free)


class SeededSampling(LogitsProcessor):
    """SeededSampling samples by an argmax: temperature, nucleus, then seeded Gumbel noise.

    Each request has its own generator. So an answer depends on (seed, study, draw), and not on the
    batch or on the device's random numbers. Greedy decoding of the noisy scores draws from the
    softmax (the Gumbel-max trick).
    """

    def __init__(self, sampling: Sampling, batch: Sequence[Prepared]) -> None:
        from reportcard.core.files import digest

        self._sampling = sampling
        self._generators = []
        for prepared in batch:
            request = prepared.request
            key = digest([sampling.seed, request.study_id, request.draw])
            self._generators.append(torch.Generator().manual_seed(int(key[:15], 16)))

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.float() / self._sampling.temperature
        ranked, order = scores.sort(dim=-1, descending=True)
        share = ranked.softmax(-1)
        outside = share.cumsum(-1) - share >= self._sampling.top_p  # the first is always inside
        scores = scores.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
        noise = torch.stack(
            [torch.rand(scores.shape[-1], generator=g) for g in self._generators]
        ).to(scores.device)
        return scores - (-noise.clamp_min(1e-20).log()).log()


def cache_implementation(adapter: StagedAdapter) -> str | None:
    """Return `kv_cache` in the form that transformers' `generate` takes."""
    return "static" if adapter.kv_cache == "static" else None


@torch.inference_mode()
def generate_from_embeddings(
    adapter: StagedAdapter,
    model: Any,
    rows: Sequence[Tensor],
    batch: Sequence[Prepared],
    eos: Sequence[int],
    decode: Callable[[list[int]], str],
) -> list[Completion]:
    """Generate answers from embeddings.

    The padding is on the left, so that the last position of every row is a real token. With padding
    on the right, all rows but the longest would get another answer. The checkpoint's own
    generation_config is not used.

    Args:
        adapter: the model, whose sampling and kv_cache count.
        model: the language model.
        rows: the embeddings (tokens, width) of each request.
        batch: the requests.
        eos: the ids that end an answer.
        decode: turns ids into text.
    """
    longest = max(len(row) for row in rows)
    width, device, dtype = rows[0].shape[1], rows[0].device, rows[0].dtype
    embeddings = torch.zeros(len(rows), longest, width, device=device, dtype=dtype)
    mask = torch.zeros(len(rows), longest, device=device, dtype=torch.long)
    for n, row in enumerate(rows):
        embeddings[n, longest - len(row) :] = row
        mask[n, longest - len(row) :] = 1
    assert bool(mask[:, -1].all())
    limits = [prepared.prompt.max_new_tokens for prepared in batch]
    processors = LogitsProcessorList()
    if adapter.sampling:
        processors.append(SeededSampling(adapter.sampling, batch))
    model.generation_config = GenerationConfig()
    answers = model.generate(
        inputs_embeds=embeddings,
        attention_mask=mask,
        do_sample=False,
        num_beams=1,
        max_new_tokens=max(limits),
        eos_token_id=list(eos),
        pad_token_id=eos[0],
        logits_processor=processors,
        cache_implementation=cache_implementation(adapter),
    )
    return [
        _completion(ids[:limit], set(eos), len(row), decode)
        for ids, limit, row in zip(answers.tolist(), limits, rows, strict=True)
    ]


def _completion(
    ids: list[int], eos: set[int], tokens_in: int, decode: Callable[[list[int]], str]
) -> Completion:
    end = next((n for n, token in enumerate(ids) if token in eos), None)
    kept = ids if end is None else ids[:end]
    return Completion(decode(kept), tuple(kept), end is not None, tokens_in)
