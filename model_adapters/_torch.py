"""What the models that run in this process share on torch's side: device, loading, decoding.

Every port is the same few lines: vision tower and projector make embeddings, the prompt's tokens
make embeddings, both are strung together, and a stock `LlamaForCausalLM.generate` goes on from
there. Only public API of transformers is used, so that a new version breaks nothing in silence.
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
    """Raises ReportCardError for a device that this machine does not have."""
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
    dtype = getattr(torch, resolved_dtype(adapter))
    assert isinstance(dtype, torch.dtype)
    return dtype


def tensors(path: Path) -> dict[str, Tensor]:
    """Name → tensor of a .safetensors, .bin or .pt file, mapped and not copied; no pickled code."""
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


def sharded(folder: Path, patterns: Sequence[str]) -> dict[str, Tensor]:
    """All tensors of the files that match the first pattern that matches any."""
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if found:
            return {k: v for path in found for k, v in tensors(path).items()}
    raise ReportCardError(f"{folder} has none of {', '.join(patterns)}.")


def built(cls: Any, config: Any, state: Mapping[str, Tensor], dtype: torch.dtype, what: str) -> Any:
    """`cls` with exactly these tensors. transformers applies the renames that its version needs and
    keeps buffers as they are computed: `module.to(bfloat16)` would round RoPE's inv_freq, a phase
    error of 1.7 rad at position 1,400.

    Raises ReportCardError for a missing, an unexpected or a misshapen tensor.
    """
    # What is misshapen is told below, by name.
    loading = {"dtype": dtype, "output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        with quiet():
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
def quiet() -> Iterator[None]:
    """transformers without its load report and bars: what is wrong is raised by us in words."""
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
    """Fill a module of our own. Raises ReportCardError unless all names and shapes agree."""
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
    """Parameters only, never buffers (see `built`)."""
    for parameter in module.parameters():
        parameter.data = parameter.data.to(dtype)


def check_rotary(module: torch.nn.Module, what: str) -> None:
    """Raises ReportCardError when a rotary frequency was rounded to half precision."""
    for name, buffer in module.named_buffers():
        if name.endswith("inv_freq") and buffer.dtype != torch.float32:
            raise ReportCardError(f"{what}: {name} is {buffer.dtype}; RoPE needs float32.")


def memory_problem(weights: int, per_request: int, batch_size: int, free: int) -> str | None:
    """A sentence when weights and one batch do not fit into `free` bytes of the device, with the
    batch that would. An estimate: weights, KV cache and a tenth on top."""
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


def checked_memory(
    adapter: StagedAdapter, weight_bytes: int, kv_bytes_per_token: int, tokens: int
) -> str | None:
    """`memory_problem` of this adapter on the GPU it would run on; None where that is no GPU.

    weight_bytes: as held. tokens: of the longest request, answer included.
    kv_bytes_per_token: 2 · layers · width of the keys · bytes of a number.
    """
    device = device_of(adapter)
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return memory_problem(weight_bytes, kv_bytes_per_token * tokens, adapter.batch_size, free)


class SeededSampling(LogitsProcessor):
    """Sampling as an argmax: temperature, nucleus, then Gumbel noise of a generator per request.

    So an answer depends on (seed, study, draw) and neither on the batch nor on the device's kernels
    for drawing. Greedy decoding of the result draws from the softmax (Gumbel-max).
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


def cache_of(adapter: StagedAdapter) -> str | None:
    """`kv_cache` as `generate` takes it."""
    return "static" if adapter.kv_cache == "static" else None


@torch.inference_mode()
def complete(
    adapter: StagedAdapter,
    model: Any,
    rows: Sequence[Tensor],
    batch: Sequence[Prepared],
    eos: Sequence[int],
    decode: Callable[[list[int]], str],
) -> list[Completion]:
    """Generate from embeddings, one (tokens, width) tensor per request.

    Padding goes to the left, and the last position of every row is real: right padding answers
    another question for all rows but the longest. Nothing of the checkpoint's own
    generation_config is used.
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
        cache_implementation=cache_of(adapter),
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
